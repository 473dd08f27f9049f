"""Checks of a file of kernels that can be repeated for each mistake that is planted in it.

``tests/kernels/cuda/test_checks.py`` runs them on the kernels as they are, ``tools/cuda_mutants`` with mistakes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minitrain.ops import Into
from minitrain.random import Key
from minitrain.testing.cases import CASES, SMALL, TILES, Call
from minitrain.testing.cases.base import Extent
from tests.helpers.cuda import backward, run_cuda
from tests.helpers.cuda.kernel_checks import (
    check_activation,
    check_column_sums,
    check_dropout_loops,
    check_float8,
    check_ids,
    check_packed_heads,
    check_rounding,
    check_scale,
    check_targets,
    check_tokens,
)
from tests.helpers.cuda.update_checks import (
    check_adam,
    check_fold_keys,
    check_key_in_memory,
    check_lion,
    check_muon,
    check_norm,
)
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
    "linear/float8.cu": [check_float8],
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
