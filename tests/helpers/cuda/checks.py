"""Checks of a file of kernels that can be repeated for each mistake that is planted in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minitrain.backend.cuda.launch import Source
from minitrain.ops import Into, dropout_backward, dropout_forward, rope_backward, rope_forward
from minitrain.ops.linear.dropout import DropoutCache
from minitrain.ops.linear.fold_keys import END, fold_keys
from minitrain.optim.clip import sum_of_squares
from minitrain.optim.rules.adam import adam_update
from minitrain.optim.rules.lion import lion_update
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from minitrain.random import Key, path_words
from minitrain.testing.cases import CASES, SMALL, TILES, Call
from minitrain.testing.cases.base import Extent
from minitrain.testing.cuda import Emulator, EmulatorError, emulate
from tests.helpers.cuda import backward, run_cuda
from tests.helpers.op_runs import Result, cotangents, run

OPERATIONS = {  # files of kernels, and the operations that run them
    "activations/elementwise.cu": ("gelu", "swiglu", "geglu"),
    "activations/softmax.cu": ("softmax",),
    "classification/cross_entropy.cu": ("cross_entropy",),
    "classification/linear_cross_entropy.cu": ("linear_cross_entropy",),
    "linear/column_sums.cu": ("linear",),
    "linear/dropout.cu": ("dropout",),
    "linear/embedding.cu": ("embedding",),
    "linear/gelu_linear.cu": ("gelu_linear",),
    "norms/layer_norm.cu": ("layer_norm", "residual_layer_norm"),
    "norms/rms_norm.cu": ("rms_norm", "residual_rms_norm"),
}


class Example(NamedTuple):
    """A call, and what it should give."""

    call: Call
    exact: Result
    allowed: list[float]  # for each array: a few times the error of the reference in single precision


def special_calls(name: str) -> list[Call]:
    """Calls of sizes that cases do not draw: rows for several warps, more rows than there are warps, late samples."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    if name == "cross_entropy":
        plain = [Call((3 * normal(3, V), rng.integers(0, V, 3)), {}) for V in (300, 1030)]
        weighted = (3 * normal(4, 520), np.array([1, 519, -100, 7]), abs(normal(520)))
        return [*plain, Call(weighted, {"label_smoothing": 0.1, "z_loss": 1e-2})]
    if name == "softmax":
        return [Call((3 * normal(3, C),), {}) for C in (300, 1030)]
    if name == "dropout":
        keys = [Key.from_seed(3), Key.from_seed(4).at_sample(2**33 + 1)]
        return [
            Call((normal(*shape),), {"p": 0.3, "key": key}) for key in keys for shape in ((3, 5), (2, 2100), (2, 8))
        ]
    if name == "layer_norm":
        return [Call((normal(1100, 5), normal(5), normal(5)), {})]
    if name == "rms_norm":
        return [Call((normal(1100, 5), normal(5)), {})]
    if name == "embedding":
        return [Call((rng.integers(0, 3, 70), normal(5, 200)), {}), Call((rng.integers(0, 40, 9), normal(40, 130)), {})]
    return []


def example_of(name: str, call: Call) -> Example:
    """A call with its results by the reference, in double and in single precision."""
    exact = run(CASES[name], call.astype(np.float64), "reference").copy()
    rough = run(CASES[name], call, "reference")
    pairs = zip(exact.arrays(), rough.arrays(), strict=True)
    allowed = [max(4 * abs(r - e).max(initial=0), 3e-6 * max(1.0, abs(e).max(initial=0))) for e, r in pairs]
    return Example(call, exact, allowed)


@functools.cache
def examples(name: str, drawn: bool = True) -> list[Example]:
    """Calls of an operation, the same each time: special ones, and small and large ones as cases draw them."""
    special = [example_of(name, call) for call in special_calls(name)]
    return special + collected(name, SMALL) + collected(name, TILES) if drawn else special


def collected(name: str, extent: Extent) -> list[Example]:
    found: list[Example] = []
    case = CASES[name]

    @settings(
        max_examples=6,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def collect(data: Any) -> None:
        found.append(example_of(name, data.draw(case.calls(extent)).astype(np.float32)))

    collect()
    return found


def check_operation(name: str, drawn: bool = True) -> None:
    """Outputs, gradients, and gradients added to what is there are right, in the emulator that is set.

    Args:
        name: of the operation.
        drawn: whether to check calls that its case draws, too.
    """
    case = CASES[name]
    for call, exact, allowed in examples(name, drawn):
        twin = run_cuda(case, call)
        if twin is None:
            continue
        for e, t, limit in zip(exact.arrays(), twin.arrays(), allowed, strict=True):
            with np.errstate(invalid="ignore"):  # a mistake may give infinities
                assert abs(t - e).max(initial=0) <= limit, name
        result = case.pair.forward.reference(*call.inputs, **call.options)  # type: ignore[attr-defined]
        buffers = [None if g is None else np.full(g.shape, 0.5, np.float32) for g in exact.gradients]
        into = [None if b is None else Into(b, accumulate=True) for b in buffers]
        backward(case, cotangents(case, case.outputs(result)), result[-1], into)
        limits = iter(allowed[len(exact.outputs) :])
        for e, b in zip(exact.gradients, buffers, strict=True):
            assert e is None or abs(b - 0.5 - e).max(initial=0) <= next(limits) + 1e-6 * max(1, abs(e).max(initial=0))


def check_update(update: Any, count: int, sizes: tuple[Any, ...], **options: Any) -> None:
    """An optimizer's update changes its arrays as the reference does."""
    for size in sizes:
        rng = np.random.default_rng(0)
        given_ = [abs(rng.standard_normal(size, np.float32)) + 0.1 for _ in range(count)]
        given_[0] -= 1
        expected, found = [x.astype(np.float64) for x in given_], [x.copy() for x in given_]
        update.reference(*expected, **options)
        update.twin("cuda")(*found, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def check_packed_heads() -> None:
    """Rotary positions read and write slices of packed heads in place."""
    B, T, H, D = 2, 5, 3, 8
    rng = np.random.default_rng(0)
    packed, into = (rng.standard_normal((B, T, H, 3, D), np.float32) for _ in range(2))
    keys, gradient, before = packed[:, :, :, 1], into[:, :, :, 1], into.copy()
    expected, cache = rope_forward.reference(keys, np.arange(T))
    out, _ = rope_forward.twin("cuda")(keys, np.arange(T))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    dx, _ = rope_backward.reference(keys, cache)
    assert rope_backward.twin("cuda")(keys, cache, into=(Into(gradient, accumulate=True), None))[0] is gradient
    before[:, :, :, 1] += dx
    np.testing.assert_allclose(into, before, atol=1e-6)  # the neighbours keep what they hold


RATES = {"lr": 1e-2, "weight_decay": 0.1, "grad_scale": 0.5}
FLAT = (1, 31, 1024, 2053)


LATE = np.array([0.02, 0.003, 0.9, 0.6])
"""Numbers of an update as a captured step reads them from memory; those that are given besides do not count then."""


def check_adam() -> None:
    for kind in ({"decoupled": True}, {"mix": (1.1, 0.3)}, {"decoupled": True, "mix": (1.1, 0.3), "late": LATE}):
        check_update(adam_update, 4, FLAT, step=3, beta1=0.9, beta2=0.99, eps=1e-3, **kind, **RATES)


def check_lion() -> None:
    for more in ({}, {"late": LATE}):
        check_update(lion_update, 3, FLAT, beta1=0.9, beta2=0.99, **more, **RATES)


def check_muon() -> None:
    for nesterov in (True, False):
        more = {"ns_steps": 3, "coefficients": COEFFICIENTS, "eps": 1e-7, "scale": 1.5}
        late = {} if nesterov else {"late": LATE}
        check_update(muon_update, 3, ((5, 7), (33, 8)), momentum=0.9, nesterov=nesterov, **more, **late, **RATES)


class KeyInMemory(Key):
    """A key whose words a kernel must read where they are; its numbers are wrong."""

    at: Any

    @property
    def words(self) -> Any:
        """See `Key.words`."""
        return self.at


def check_key_in_memory() -> None:
    x, key, late = np.ones((3, 9), np.float32), Key.from_seed(3), KeyInMemory(1, 2)
    late.at = np.array(key[:2], np.uint32)
    expected, _ = dropout_forward.reference(x, p=0.5, key=key)  # type: ignore[attr-defined]
    found, cache = dropout_forward.twin("cuda")(x, p=0.5, key=late)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, expected)
    dx = dropout_backward.twin("cuda")(x, DropoutCache(*cache), into=(None,))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(dx, expected)


def check_fold_keys() -> None:
    root, paths = Key.from_seed(2**40 + 7), [("blocks", 1, "dropout"), (-5,), (), (2**40, "a")] * 20
    table = np.full((len(paths), 3, 3), END, np.uint32)
    for row, path in enumerate(paths):
        table[row, : len(path)] = [path_words(part) for part in path] or np.empty((0, 3))
    found = fold_keys.twin("cuda")(np.array(root[:2], np.uint32), table)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, [root.fold(*path)[:2] for path in paths])


def check_norm() -> None:
    for size in (1, 300, 2053):
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        np.testing.assert_allclose(float(sum_of_squares.twin("cuda")(x)), (x.astype(np.float64) ** 2).sum(), rtol=1e-12)  # type: ignore[attr-defined]


CHECKS: dict[str, list[Callable[[], None]]] = {
    **{path: [functools.partial(check_operation, name) for name in names] for path, names in OPERATIONS.items()},
    "linear/fold_keys.cu": [check_fold_keys],
    "attention/rope.cu": [functools.partial(check_operation, "rope"), check_packed_heads],
    "clip.cu": [check_norm],
    "rules/adam.cu": [check_adam],
    "rules/lion.cu": [check_lion],
    "rules/muon.cu": [check_muon],
}
CHECKS["linear/dropout.cu"].append(check_key_in_memory)


def is_noticed(path: str, text: str) -> str:
    """What notices that a file of kernels has another text; nothing if all checks pass."""
    source, emulator = Source.all[path], Emulator(extra=("-O0",))
    plain, source._text = source._text, text
    try:
        emulator.library(source)  # a text that does not compile is a mistake of the caller
        with emulate(emulator):
            for check in CHECKS[path]:
                try:
                    check()
                except (AssertionError, EmulatorError) as error:
                    return f"{type(error).__name__}: {error}".partition("\n")[0]
        return ""
    finally:
        source._text = plain
