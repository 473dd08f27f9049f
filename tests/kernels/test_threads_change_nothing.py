"""The number of threads changes no byte: operations, updates, clipping and whole steps, where work is really split.

``tests/ops/test_ops.py`` has the same for small calls. Products keep this promise if they are minitrain's own; other
libraries choose their code by the shape of a thread's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain.backend import set_threads, use_kernels, use_precision
from minitrain.backend.cpu.jit import Kernel
from minitrain.nn import Linear, pack
from minitrain.nn.core.module import Module
from minitrain.ops import (
    Into,
    layer_norm_backward,
    layer_norm_forward,
    residual_layer_norm_backward,
    residual_layer_norm_forward,
    residual_rms_norm_backward,
    residual_rms_norm_forward,
    rms_norm_backward,
    rms_norm_forward,
)
from minitrain.optim import clip_adaptive, clip_by_global_norm, clip_by_value
from minitrain.optim.registry import OPTIMIZERS
from minitrain.random import Key
from minitrain.testing.cases import Call, Case, Extent
from minitrain.training import train_step
from tests.helpers.model_zoo import KINDS
from tests.helpers.op_runs import WITH_KERNELS, as_list, cotangents, few, kernels, run
from tests.helpers.own_product import multiplies, only_with_own_product

THREADS = (2, 3, 5, 8)
PRECISIONS = ("float32", "bfloat16")
ROWS = Extent(st.sampled_from([16, 19]), st.sampled_from([16, 65]), st.sampled_from([1, 5, 16, 33, 64]))
"""256 to 1235 rows."""
LARGE = Extent(st.sampled_from([4, 5]), st.sampled_from([190, 260, 300]), st.sampled_from([64, 97, 130]))
IMAGES = Extent(st.just(4), st.just(24), st.just(8))
"""Larger ones take seconds each."""


every_op = pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=[only_with_own_product] if multiplies(c) else []) for c in WITH_KERNELS],
)


def same(case: Case, call: Call, what: str, results: dict[int, list[Any]]) -> None:
    one = results.pop(1)
    for threads, others in results.items():
        for i, (a, b) in enumerate(zip(one, others, strict=True)):
            assert a.tobytes() == b.tobytes(), f"{case.name}, {what}: result {i} differs with {threads} threads"


def draw_call(data: Any, case: Case, extent: Extent) -> Call:
    call = data.draw(case.calls(IMAGES if case.family == "images" else extent)).astype(np.float32)
    if "chunk" in call.options:  # a Python loop over chunks of a row or two would take minutes
        call = replace(call, options=call.options | {"chunk": 300})
    return call


@every_op
@pytest.mark.parametrize("precision", PRECISIONS)
@few(3)
@given(st.data())
def test_operations_on_many_rows(case: Case, precision: str, data: Any) -> None:
    call = draw_call(data, case, ROWS)
    with use_precision(precision):
        results = {n: run(case, call, threads=n).copy().arrays() for n in (1, *THREADS)}
    same(case, call, precision, results)


@contextmanager
def counted_parts() -> Iterator[set[int]]:
    """Collects the numbers of parts into which kernels split their work."""
    run_kernel, parts = Kernel.__call__, set()

    def counting(kernel: Kernel, *args: Any) -> Any:
        if kernel._parallel:
            parts.add(args[-1])
        return run_kernel(kernel, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "__call__", counting)
        yield parts


def calculate(case: Case, call: Call, threads: int) -> list[Any]:
    """Outputs and gradients of a call whose work is split as in a training: ``GRAIN`` is as it is."""
    set_threads(threads)
    try:
        with use_kernels("auto"):
            result = case.pair.forward(*call.inputs, **call.options)
            outputs = case.outputs(result)
            gradients = as_list(case.pair.backward(*cotangents(case, outputs), result[-1]))
            return [np.array(x) for x in (*outputs, *gradients) if x is not None]
    finally:
        set_threads(None)


@every_op
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=4, phases=[Phase.generate])
@given(st.data())
def test_large_operations(case: Case, precision: str, data: Any) -> None:
    call = draw_call(data, case, LARGE)
    with use_precision(precision), counted_parts() as parts:
        results = {n: calculate(case, call, n) for n in (1, *THREADS)}
    has_twin = case.pair.forward.twin() is not None and not case.left_to_reference(call)  # type: ignore[attr-defined]
    if has_twin and max(x.size for x in call.arrays()) >= 100_000:
        assert max(parts, default=0) > 1, "nothing was split"
    same(case, call, precision, results)


NORMS = {
    "layer_norm": (layer_norm_forward, layer_norm_backward, 2, 1),
    "rms_norm": (rms_norm_forward, rms_norm_backward, 1, 1),
    "residual_layer_norm": (residual_layer_norm_forward, residual_layer_norm_backward, 2, 2),
    "residual_rms_norm": (residual_rms_norm_forward, residual_rms_norm_backward, 1, 2),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("rows", [15, 16, 17, 128, 255, 256, 257, 1000, 1024, 5003])
@pytest.mark.parametrize("width", [1, 7, 64, 129])
@pytest.mark.parametrize("accumulate", [False, True])
def test_gradients_of_norms(name: str, rows: int, width: int, accumulate: bool) -> None:
    """Sums over samples: those of weights and biases."""
    forward, backward, weights, inputs = NORMS[name]
    rng = np.random.default_rng(rows)
    arrays = [rng.standard_normal((rows, width), np.float32) for _ in range(inputs)]
    arrays += [rng.standard_normal(width, np.float32) for _ in range(weights)]
    given = [rng.standard_normal((rows, width), np.float32) for _ in range(inputs)]
    found: dict[int, bytes] = {}
    for threads in (1, *THREADS):
        with kernels("auto", threads):
            *_, cache = forward(*arrays)
            plain = as_list(backward(*given, cache))
            buffers = [None if g is None else Into(np.ones_like(g), accumulate) for g in plain]
            gradients = as_list(backward(*given, cache, into=buffers))
        found[threads] = b"".join(g.tobytes() for g in (*plain, *gradients) if g is not None)
    assert len(set(found.values())) == 1, [n for n in THREADS if found[n] != found[1]]


class Weights(Module):
    """Matrices and vectors on either side of the sizes at which work is split."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.wide, self.tall, self.small = Linear(520, 260, rng), Linear(33, 1100, rng), Linear(16, 1, rng)

    def fill_gradients(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _, parameter in self.named_parameters():
            parameter.grad[...] = rng.standard_normal(parameter.data.shape, np.float32)


def everything(model: Module, state: dict[str, Any]) -> bytes:
    moments = state.get("moments", {})
    return b"".join(np.asarray(x).tobytes() for x in (*model.state_dict().values(), *moments.values()))


@only_with_own_product
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split_all", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates(name: str, packed: bool, split_all: bool) -> None:
    found = {}
    for threads in (1, *THREADS):
        model = Weights()
        if packed:
            pack(model)
        optimizer = OPTIMIZERS[name](model)
        with use_kernels("auto"), split(threads, everything=split_all):
            for step in range(2):
                optimizer.zero_grad()
                model.fill_gradients(step)
                clip = clip_by_global_norm(model, 1.0)
                optimizer.step(clip.scale)
        found[threads] = everything(model, optimizer.state_dict())
    assert len(set(found.values())) == 1, [n for n in THREADS if found[n] != found[1]]


@contextmanager
def split(threads: int, *, everything: bool) -> Iterator[None]:
    """Work for so many threads; all of it, or that which is large enough."""
    with pytest.MonkeyPatch.context() as patch:
        if everything:
            patch.setattr("minitrain.backend.threads.GRAIN", 1)
        set_threads(threads)
        try:
            yield
        finally:
            set_threads(None)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split_all", [False, True])
def test_clipping(packed: bool, split_all: bool) -> None:
    found = {}
    for threads in (1, *THREADS):
        model = Weights()
        if packed:
            pack(model)
        parts: list[bytes] = []
        with use_kernels("auto"), split(threads, everything=split_all):
            for clip in (clip_by_global_norm, clip_adaptive, clip_by_value):
                model.fill_gradients(3)
                result = clip(model, 0.5)
                parts += [repr(result).encode(), *(p.grad.tobytes() for _, p in model.named_parameters())]
        found[threads] = b"".join(parts)
    assert len(set(found.values())) == 1, [n for n in THREADS if found[n] != found[1]]


@only_with_own_product
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_training_steps(kind: Any, precision: str) -> None:
    found = {}
    for threads in (1, *THREADS):
        model, batch = kind.build(), kind.batch()
        pack(model)
        optimizer = OPTIMIZERS["adamw"](model)
        with use_precision(precision), kernels("auto", threads):
            for step in range(2):
                train_step(model, optimizer, [(0, batch)], lr=1e-2, max_grad_norm=1.0, key=Key.from_seed(step))
        found[threads] = everything(model, optimizer.state_dict())
    assert len(set(found.values())) == 1, [n for n in THREADS if found[n] != found[1]]
