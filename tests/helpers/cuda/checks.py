"""Checks of a file of kernels that can be repeated for each mistake that is planted in it.

``tests/kernels/cuda/test_checks.py`` runs them on the kernels as they are, ``tools/cuda_mutants`` with mistakes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minitrain.kernels.cuda.classification.linear_cross_entropy import _SCALE
from minitrain.kernels.cuda.common.ids import _WATCH
from minitrain.kernels.cuda.common.sizes import blocks_for
from minitrain.kernels.cuda.common.targets import slot
from minitrain.kernels.cuda.linear import dropout
from minitrain.kernels.cuda.linear.column_sums import column_sums
from minitrain.kernels.cuda.linear.gelu_linear import _BACKWARD, _FORWARD
from minitrain.kernels.cuda.linear.operands import rounded
from minitrain.ops import (
    CrossEntropyCache,
    EmbeddingCache,
    Into,
    cross_entropy_backward,
    cross_entropy_forward,
    dropout_backward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    gelu_backward,
    gelu_forward,
    rope_backward,
    rope_forward,
)
from minitrain.ops.linear.dropout import DropoutCache
from minitrain.ops.linear.fold_keys import END, fold_keys
from minitrain.optim.clip import sum_of_squares
from minitrain.optim.rules.adam import adam_update
from minitrain.optim.rules.lion import lion_update
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from minitrain.random import Key, path_words, random_bits
from minitrain.testing.cases import CASES, SMALL, TILES, Call
from minitrain.testing.cases.base import Extent
from tests.helpers.cuda import backward, launch, run_cuda
from tests.helpers.op_runs import Result, cotangents, run

OPERATIONS = {  # files of kernels, and the operations that run them
    "activations/elementwise.cu": ("gelu", "swiglu", "geglu"),
    "activations/softmax.cu": ("softmax",),
    "attention/rope.cu": ("rope",),
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
        # Logits that are far apart: exp of one without the largest subtracted would overflow.
        far = 60 * normal(4, 300)
        # Classes that cannot be, most of them in some threads, all of them in others; they have no weight.
        masked, weight = normal(3, 130), abs(normal(130))
        masked[:, 4::3] = masked[1, 2:] = -np.inf
        weight[2:] = 0
        return [
            *plain,
            Call(weighted, {"label_smoothing": 0.1, "z_loss": 1e-2}),
            Call((far, rng.integers(0, 300, 4)), {}),
            Call((masked, np.array([0, 1, 3])), {"z_loss": 1e-2}),
            Call((masked, np.array([0, 1, -100]), weight), {"label_smoothing": 0.1, "each": True}),
            Call((normal(4, 130), np.array([0, 1, 5, 1])), {"label_smoothing": 0.1, "ignore_index": 1}),
        ]
    if name == "softmax":
        return [Call((scale * normal(3, C),), {}) for C, scale in ((300, 3), (1030, 3), (300, 100))]
    if name == "dropout":
        keys = [Key.from_seed(3), Key.from_seed(4).at_sample(2**33 + 1)]
        return [
            Call((normal(*shape),), {"p": 0.3, "key": key}) for key in keys for shape in ((3, 5), (2, 2100), (2, 8))
        ]
    if name == "layer_norm":
        return [Call((normal(R, C), normal(C), normal(C)), {}) for R, C in ((1100, 5), (6, 300))]
    if name == "rms_norm":
        return [Call((normal(R, C), normal(C)), {}) for R, C in ((1100, 5), (6, 300))]
    if name == "embedding":
        # The last two: more columns than a block's threads take at once.
        sizes = ((3, 70, 5, 200), (40, 9, 40, 130), (3, 4, 3, 301), (3, 4, 3, 1100))
        return [Call((rng.integers(0, most, n), normal(R, C)), {}) for most, n, R, C in sizes]
    return []


def example_of(name: str, call: Call) -> Example:
    """A call with its results by the reference, in double and in single precision."""
    exact = run(CASES[name], call.astype(np.float64), "reference").copy()
    rough = run(CASES[name], call, "reference")
    pairs = zip(exact.arrays(), rough.arrays(), strict=True)
    return Example(call, exact, [max(4 * _gap(r, e), 3e-6 * max(1.0, _largest(e))) for e, r in pairs])


def _gap(found: Any, expected: Any) -> float:
    """The largest difference, among numbers; infinite if one of them is none, and the other one is."""
    with np.errstate(invalid="ignore"):  # a mistake may give infinities
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        gap = np.where(same, 0, np.nan_to_num(abs(found - expected), nan=np.inf))
    return float(gap.max(initial=0))


def _largest(x: Any) -> float:
    return float(abs(x[np.isfinite(x)]).max(initial=0))


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
    for example in examples(name, drawn):
        check_example(name, example)


def check_example(name: str, example: Example) -> None:
    """One call of an operation; see `check_operation`."""
    case, (call, exact, allowed) = CASES[name], example
    twin = run_cuda(case, call)
    if twin is None:
        return
    for e, t, limit in zip(exact.arrays(), twin.arrays(), allowed, strict=True):
        assert _gap(t, e) <= limit, name
    result = case.pair.forward.reference(*call.inputs, **call.options)  # type: ignore[attr-defined]
    buffers = [None if g is None else np.full(g.shape, 0.5, np.float32) for g in exact.gradients]
    into = [None if b is None else Into(b, accumulate=True) for b in buffers]
    backward(case, cotangents(case, case.outputs(result)), result[-1], into)
    limits = iter(allowed[len(exact.outputs) :])
    for e, b in zip(exact.gradients, buffers, strict=True):
        assert e is None or _gap(b - 0.5, e) <= next(limits) + 1e-6 * max(1.0, _largest(e))


def check_update(update: Any, count: int, sizes: tuple[Any, ...], signed: int, **options: Any) -> None:
    """An optimizer's update changes its arrays as the reference does, with a factor of the host and of the device.

    Args:
        update: the operation.
        count: of its arrays.
        sizes: of the arrays, for each call.
        signed: how many arrays may have negative numbers; all others are squares.
        options: of the update.
    """
    for size in sizes:
        given_ = _state(count, size, signed)
        expected, found = [x.astype(np.float64) for x in given_], [x.copy() for x in given_]
        update.reference(*expected, **options)
        update.twin("cuda")(*found, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
        with _factors_on_device(update):
            again = [x.copy() for x in given_]
            update.twin("cuda")(*again, **options)
            for a, b in zip(again, found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
            for factor in (np.nan, np.inf):  # nobody of the host has seen it: nothing may change
                kept = [x.copy() for x in given_]
                with np.errstate(all="ignore"):  # of numbers that nobody uses
                    update.twin("cuda")(*kept, **{**options, "grad_scale": factor})
                for a, b in zip(kept, given_, strict=True):
                    np.testing.assert_array_equal(a, b)


def _state(count: int, size: Any, signed: int) -> list[Any]:
    """Weights, gradients and moments; where there is room, some gradients and moments are 0."""
    rng = np.random.default_rng(0)
    found = [rng.standard_normal(size, np.float32) for _ in range(count)]
    for x in found[1:signed]:
        x.reshape(-1)[3:6] = 0
    return [x if i < signed else abs(x) + 0.1 for i, x in enumerate(found)]


@contextmanager
def _factors_on_device(update: Any) -> Iterator[None]:
    """The factor of the gradients reaches the kernels of an update as it does on a device."""
    module = sys.modules[update.twin("cuda").__module__]
    before = module.scale_arguments
    module.scale_arguments = lambda scale: (1.0, np.array([scale], np.float32))
    try:
        yield
    finally:
        module.scale_arguments = before


def check_packed_heads() -> None:
    """Rotary positions read and write slices of packed heads in place."""
    B, T, H, D = 2, 5, 3, 8
    rng = np.random.default_rng(0)
    packed, into = (rng.standard_normal((B, T, H, 3, D), np.float32) for _ in range(2))
    keys, gradient, before = packed[:, :, :, 1], into[:, :, :, 1], into.copy()
    expected, cache = rope_forward.reference(keys, np.arange(T))
    out, _ = launch(rope_forward.twin("cuda"), keys, np.arange(T))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    dx, _ = rope_backward.reference(keys, cache)
    into_slice = Into(gradient, accumulate=True), None
    assert launch(rope_backward.twin("cuda"), keys, cache, into=into_slice)[0] is gradient
    before[:, :, :, 1] += dx
    np.testing.assert_allclose(into, before, atol=1e-6)  # the neighbours keep what they hold


RATES = {"lr": 1e-2, "weight_decay": 0.1, "grad_scale": 0.5}
FLAT = (1, 31, 1024, 2053)


LATE = np.array([0.02, 0.003, 0.9, 0.6])
"""Numbers of an update as a captured step reads them from memory; those that are given besides do not count then."""


def check_adam() -> None:
    for kind in ({"decoupled": True}, {"mix": (1.1, 0.3)}, {"decoupled": True, "mix": (1.1, 0.3), "late": LATE}):
        check_update(adam_update, 4, FLAT, 3, step=3, beta1=0.9, beta2=0.99, eps=1e-3, **kind, **RATES)


def check_lion() -> None:
    for more in ({}, {"late": LATE}):
        check_update(lion_update, 3, FLAT, 3, beta1=0.9, beta2=0.99, **more, **RATES)


def check_muon() -> None:
    for nesterov in (True, False):
        more = {"ns_steps": 3, "coefficients": COEFFICIENTS, "eps": 1e-7, "scale": 1.5}
        late = {} if nesterov else {"late": LATE}
        check_update(muon_update, 3, ((5, 7), (33, 8)), 3, momentum=0.9, nesterov=nesterov, **more, **late, **RATES)


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
    for size in (1, 300, 2053, 70_000):  # the last: several numbers for each thread
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        np.testing.assert_allclose(float(sum_of_squares.twin("cuda")(x)), (x.astype(np.float64) ** 2).sum(), rtol=1e-12)  # type: ignore[attr-defined]


def check_ids() -> None:
    """The lowest and the highest id, wherever they are, are kept beside those of earlier calls; one is ignored."""
    for dtype, kernel in _WATCH.items():
        for n, threads in ((1, 32), (40, 64), (300, 256), (1500, 1024)):
            # All on one side of 0, which nothing that was not written is; the extremes in several places.
            never = -(1 << 40)
            for low, high, place, before in (
                (-900, -500, n - 1, never),
                (500, 900, n // 15, never),
                (500, 900, 0, 1 << 30),
            ):
                ids = np.random.default_rng(n).integers(low, high, n).astype(dtype)
                ids[place], ids[place - 1], ids[(place + n // 2) % n] = high + 5, low - 5, 7777
                counted = ids[ids != 7777].astype(np.int64)
                kept = np.array([before], np.int64), np.array([before], np.int64)
                kernel(1, threads, ids, *kept, n, 7777)
                assert kept[0][0] == max([before, *-counted])
                assert kept[1][0] == max([before, *counted])


def check_targets() -> None:
    """What a case cannot draw: targets that are no classes, upstream gradients of the host, and the count."""
    V, logits = 40, np.random.default_rng(0).standard_normal((5, 40), np.float32)
    targets, weight = np.array([-3, V, 2, -100, V - 1]), np.arange(1, V + 1, dtype=np.float32)
    nothing = np.full((1, V), -np.inf, np.float32)  # a row without a softmax says so
    assert np.isnan(CrossEntropyCache(*cross_entropy_forward.twin("cuda")(nothing, targets[2:3])[1]).total).all()
    for class_weight in (None, weight):
        (losses, count), cache = cross_entropy_forward.twin("cuda")(logits, targets, class_weight, each=True)
        np.testing.assert_array_equal(np.isnan(losses), [True, True, False, False, False])
        assert losses[3] == 0
        assert np.isnan(count)
        cache = CrossEntropyCache(*cache)
        (dlogits, *_) = cross_entropy_backward.twin("cuda")(2.0, cache, into=(None, None, None))
        np.testing.assert_array_equal(np.isnan(dlogits).all(axis=1), [True, True, False, False, False])
        assert not dlogits[3].any()
        good = slice(2, None)
        (_, counted), known = cross_entropy_forward.reference(logits[good], targets[good], class_weight)
        (_, found), _ = cross_entropy_forward.twin("cuda")(logits[good], targets[good], class_weight)
        assert found == counted
        expected, *_ = cross_entropy_backward.reference(2.0, known)
        np.testing.assert_allclose(dlogits[good], expected, rtol=1e-5, atol=1e-5)


def check_tokens() -> None:
    """Tokens outside a table: rows of NaN, and no gradient; nothing around the table is touched."""
    for C in (5, 8):
        table, tokens = np.ones((3, C), np.float32), np.array([3, -1, 2, 7, 2])
        out, _ = embedding_forward.twin("cuda")(tokens, table)
        np.testing.assert_array_equal(np.isnan(out).all(axis=1), [True, True, False, True, False])
        _, dtable = embedding_backward.twin("cuda")(out * 0 + 1, EmbeddingCache(tokens, table, None), into=(None, None))
        np.testing.assert_array_equal(dtable, np.array([[0.0], [0.0], [2.0]]) * np.ones((1, C)))


def check_dropout_loops() -> None:
    """Few blocks, so that their threads take several elements and samples; and a word that is just the threshold."""
    x, key = np.random.default_rng(0).standard_normal((3, 3004), np.float32), Key.from_seed(3)
    before, dropout.MOST_BLOCKS = dropout.MOST_BLOCKS, 1
    try:
        for first, p in ((0, 0.3), (1, int(random_bits(key, (1, 1))[0, 0]) / 2**32)):
            given_ = x[:, first:]
            expected, _ = dropout_forward.reference(given_, p=p, key=key)
            out, _ = dropout_forward.twin("cuda")(given_, p=p, key=key)
            np.testing.assert_allclose(out, expected, rtol=1e-6)
            assert out[0, 0] != 0 or p == 0.3
    finally:
        dropout.MOST_BLOCKS = before


def check_scale() -> None:
    """A factor of the host or of the device, for one block and for several, written or added."""
    for n in (5, 8, 1030, 3000):
        x, V = np.random.default_rng(n).standard_normal(n, np.float32), 4 if n % 4 == 0 else 1
        for factor, value in ((None, 1.5), (np.array(1.5, np.float32), np.nan)):
            for add in (0, 1):
                out = np.full(n, 2.0, np.float32)
                _SCALE[V](blocks_for(-(-n // V)), 256, factor, value, x, out, n, add)
                np.testing.assert_allclose(out, 1.5 * x + 2 * add, rtol=1e-6, atol=1e-6)


HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def check_rounding() -> None:
    """Operands are rounded as NumPy rounds."""
    for size in (1, 40, 1028, 270_000):
        x = np.random.default_rng(size).standard_normal(size, np.float32)
        for dtype in HALVES:
            np.testing.assert_array_equal(rounded(x, dtype).view(np.uint16), x.astype(dtype).view(np.uint16))


def check_column_sums() -> None:
    """Sums over rows, alone and with the rounded matrix, for more rows than there are blocks and for odd columns."""
    for R, C in ((1, 1), (70, 33), (9, 300), (20_000, 3)):
        x = np.random.default_rng(R).standard_normal((R, C), np.float32)
        for dtype in (None, *HALVES):
            operand = None if dtype is None else np.full((R, C), np.nan, dtype)
            for add in (False, True):
                out = np.full(C, 2.0, np.float32)
                column_sums(x, slot(Into(out, add), (C,), out), operand)
                np.testing.assert_allclose(out, x.sum(0, dtype=np.float64) + 2 * add, rtol=1e-5, atol=2e-5)
            if operand is not None:
                np.testing.assert_array_equal(operand.view(np.uint16), x.astype(dtype).view(np.uint16))


def check_activation() -> None:
    """GELU of numbers of 16 bits, forward and backward; each result may be left out."""
    for n in (7, 40, 270_000):
        rng = np.random.default_rng(n)
        wide, given_ = rng.standard_normal(n), rng.standard_normal(n).astype(np.float32)
        for name, dtype in (("float32", np.dtype(np.float32)), ("float16", HALVES[0]), ("bfloat16", HALVES[1])):
            hidden, V = wide.astype(dtype), 4 if n % 4 == 0 else 1
            exact = hidden.astype(np.float64)
            value, cache = gelu_forward.reference(exact, approximate="none")
            (slope,) = (gelu_backward.reference(np.ones(n), cache),)
            gap = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}[name]
            out = np.full(n, np.nan, dtype)
            _FORWARD["GeluExact", name, V](blocks_for(n // V), 256, hidden, out, n)
            np.testing.assert_allclose(out.astype(np.float64), value, rtol=gap, atol=gap)
            for add in (0, 1):
                d, again = np.full(n, 3.0, np.float32), np.full(n, np.nan, dtype)
                _BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, given_, hidden, d, again, n, add)
                np.testing.assert_allclose(d, given_ * slope + 3 * add, rtol=1e-5, atol=1e-5)
                np.testing.assert_array_equal(again.view(np.uint8), out.view(np.uint8))
            _BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, None, hidden, None, again, n, 0)
            _BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, given_, hidden, d, None, n, 0)
            np.testing.assert_allclose(d, given_ * slope, rtol=1e-5, atol=1e-5)


class Check(NamedTuple):
    """A check with its name."""

    name: str
    run: Callable[[], None]


OTHERS: dict[str, list[Callable[[], None]]] = {
    "attention/rope.cu": [check_packed_heads],
    "classification/cross_entropy.cu": [check_targets],
    "classification/linear_cross_entropy.cu": [check_scale],
    "clip.cu": [check_norm],
    "common/ids.cu": [check_ids],
    "linear/column_sums.cu": [check_column_sums],
    "linear/dropout.cu": [check_dropout_loops, check_key_in_memory],
    "linear/embedding.cu": [check_tokens],
    "linear/fold_keys.cu": [check_fold_keys],
    "linear/gelu_linear.cu": [check_activation],
    "linear/operands.cu": [check_rounding],
    "rules/adam.cu": [check_adam],
    "rules/lion.cu": [check_lion],
    "rules/muon.cu": [check_muon],
}
PATHS = sorted({*OPERATIONS, *OTHERS})


def checks_of(path: str) -> list[Check]:
    """The checks of a file of kernels, to be run in an emulator."""
    found = [Check(check.__name__.removeprefix("check_"), check) for check in OTHERS.get(path, [])]
    for name in OPERATIONS.get(path, ()):
        for number, example in enumerate(examples(name)):
            found.append(Check(f"{name} {number}", functools.partial(check_example, name, example)))
    return found
