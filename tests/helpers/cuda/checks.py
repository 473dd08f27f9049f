"""Checks of a file of kernels that can be repeated for each mistake that is planted in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minitrain.backend.cuda.launch import Source
from minitrain.ops import Into
from minitrain.optim.clip import sum_of_squares
from minitrain.optim.rules.adam import adam_update
from minitrain.optim.rules.lion import lion_update
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from minitrain.testing.cases import CASES, SMALL, TILES, Call
from minitrain.testing.cases.base import Extent
from minitrain.testing.cuda import Emulator, EmulatorError, emulate
from tests.helpers.cuda import backward, run_cuda
from tests.helpers.op_runs import Result, cotangents, run

OPERATIONS = {  # files of kernels, and the operations that run them
    "activations/elementwise.cu": ("gelu", "swiglu", "geglu"),
    "activations/softmax.cu": ("softmax",),
    "attention/rope.cu": ("rope",),
    "classification/cross_entropy.cu": ("cross_entropy",),
    "linear/dropout.cu": ("dropout",),
    "linear/embedding.cu": ("embedding",),
    "norms/layer_norm.cu": ("layer_norm", "residual_layer_norm"),
    "norms/rms_norm.cu": ("rms_norm", "residual_rms_norm"),
}


class Example(NamedTuple):
    """A call, and what it should give."""

    call: Call
    exact: Result
    allowed: list[float]  # for each array: a few times the error of the reference in single precision


@functools.cache
def examples(name: str) -> list[Example]:
    """Small and large calls of an operation, the same each time."""
    return collected(name, SMALL) + collected(name, TILES)


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
        call = data.draw(case.calls(extent)).astype(np.float32)
        exact = run(case, call.astype(np.float64), "reference").copy()
        rough = run(case, call, "reference")
        pairs = zip(exact.arrays(), rough.arrays(), strict=True)
        allowed = [max(4 * abs(r - e).max(initial=0), 3e-6 * max(1.0, abs(e).max(initial=0))) for e, r in pairs]
        found.append(Example(call, exact, allowed))

    collect()
    return found


def check_operation(name: str) -> None:
    """Outputs, gradients, and gradients added to what is there are right, in the emulator that is set."""
    case = CASES[name]
    for call, exact, allowed in examples(name):
        twin = run_cuda(case, call)
        if twin is None:
            continue
        for e, t, limit in zip(exact.arrays(), twin.arrays(), allowed, strict=True):
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


RATES = {"lr": 1e-2, "weight_decay": 0.1, "grad_scale": 0.5}
FLAT = (1, 31, 1024, 2053)


def check_adam() -> None:
    for kind in ({"decoupled": True}, {"mix": (1.1, 0.3)}):
        check_update(adam_update, 4, FLAT, step=3, beta1=0.9, beta2=0.99, eps=1e-3, **kind, **RATES)


def check_lion() -> None:
    check_update(lion_update, 3, FLAT, beta1=0.9, beta2=0.99, **RATES)


def check_muon() -> None:
    for nesterov in (True, False):
        more = {"ns_steps": 3, "coefficients": COEFFICIENTS, "eps": 1e-7, "scale": 1.5}
        check_update(muon_update, 3, ((5, 7), (33, 8)), momentum=0.9, nesterov=nesterov, **more, **RATES)


def check_norm() -> None:
    for size in (1, 300, 2053):
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        np.testing.assert_allclose(float(sum_of_squares.twin("cuda")(x)), (x.astype(np.float64) ** 2).sum(), rtol=1e-12)  # type: ignore[attr-defined]


CHECKS: dict[str, list[Callable[[], None]]] = {
    **{path: [functools.partial(check_operation, name) for name in names] for path, names in OPERATIONS.items()},
    "clip.cu": [check_norm],
    "rules/adam.cu": [check_adam],
    "rules/lion.cu": [check_lion],
    "rules/muon.cu": [check_muon],
}


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
