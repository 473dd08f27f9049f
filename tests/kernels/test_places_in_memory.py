"""Where arrays lie in memory changes no byte of a result: kernels are compiled once, for arrays that do not overlap."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import prange

import minitrain.kernels.cpu
from minitrain.backend import is_array
from minitrain.backend.cpu.jit import Kernel, kernel
from minitrain.backend.cpu.object_code import LINE
from minitrain.ops import Into, cross_entropy_backward, cross_entropy_forward
from minitrain.optim.registry import OPTIMIZERS
from minitrain.testing.cases import SMALL, TILES, Call, Case
from minitrain.training import train_step
from tests.helpers.model_zoo import KINDS
from tests.helpers.op_runs import Result, as_list, cotangents, every_op, every_op_with_kernels, few, kernels

SCALAR = 16  # bytes: SIMD registers and unrolled loops reach further than that
FAR = 4096

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(minitrain.kernels.cpu.__path__, "minitrain.kernels.cpu.")
]


class Arena:
    """Memory in which each array begins ``gap`` bytes after the end of the one before."""

    def __init__(self, gap: int) -> None:
        self._memory, self._at, self._gap = np.zeros(1 << 23, np.uint8), 0, gap

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        shape = (shape,) if isinstance(shape, int) else shape
        size = math.prod(shape) * np.dtype(dtype).itemsize
        stretch = self._memory[self._at : self._at + size]
        self._at += -(-(size + self._gap) // 8) * 8
        assert self._at <= self._memory.size
        return stretch.view(dtype).reshape(shape)

    def copy(self, x: Any) -> Any:
        if not is_array(x) or x.ndim == 0:
            return x
        copied = self.empty(x.shape, x.dtype)
        copied[...] = x
        return copied


def run_in(arena: Arena, case: Case, call: Call, accumulate: Sequence[bool | None]) -> Result:
    """A forward and its backward whose inputs, outputs and gradients all lie in ``arena``.

    Gradients are fresh (``None``), written over NaN, or added to ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in [m for m in MODULES if hasattr(m, "empty")]:
            patch.setattr(module, "empty", arena.empty)
        with kernels("auto"):
            result = case.pair.forward(*map(arena.copy, call.inputs), **call.options)
            outputs = case.outputs(result)
            given = cotangents(case, outputs)
            targets: list[Any] = []
            for gradient, add in zip(as_list(case.pair.backward(*given, result[-1])), accumulate, strict=False):
                buffer = None if gradient is None or add is None else np.full_like(gradient, 1 if add else np.nan)
                targets.append(None if buffer is None else Into(arena.copy(buffer), bool(add)))
            gradients = as_list(case.pair.backward(*map(arena.copy, given), result[-1], into=targets))
    return Result(outputs, gradients).copy()


@every_op_with_kernels
@few(20)
@given(st.data())
def test_neighbours_in_memory_change_nothing(case, data):
    call = data.draw(case.calls(data.draw(st.sampled_from([SMALL, TILES])))).astype(np.float32)
    near = data.draw(st.sampled_from([0, SCALAR, 2 * SCALAR, 8 * SCALAR]))
    accumulate = data.draw(st.lists(st.sampled_from([None, False, True]), min_size=5, max_size=5))
    here, there = (run_in(Arena(gap), case, call, accumulate).arrays() for gap in (near, FAR))
    for a, b in zip(here, there, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_a_gradient_over_its_logits_has_the_bytes_of_a_fresh_one(weighted, accumulate):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((7, 65), np.float32), rng.integers(0, 65, 7)
    targets[2] = -100
    weight = rng.random(65, np.float32) if weighted else None
    dtotal = np.float32(0.3)
    with kernels("auto"):
        _, cache = cross_entropy_forward(logits, targets, weight, label_smoothing=0.1, z_loss=1e-2)
        fresh = np.array(cross_entropy_backward(dtotal, cache)[0]) + (logits if accumulate else 0)
        over = cross_entropy_backward(dtotal, cache, into=(Into(logits, accumulate), None, None))[0]
    assert over is logits
    if accumulate:
        np.testing.assert_allclose(over, fresh, rtol=1e-6, atol=1e-6)  # the kernel's sum is rounded once
    else:
        assert over.tobytes() == fresh.tobytes()


@every_op
@few(10)
@given(st.data())
def test_two_gradients_may_go_to_one_array(case, data):
    """As when a layer is given one array for two inputs, or one weight for two."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels("auto"):
        result = case.pair.forward(*call.inputs, **call.options)
        given = cotangents(case, case.outputs(result))
        plain = as_list(case.pair.backward(*given, result[-1]))
        there = [g for g in plain if g is not None]
        alike = [g for g in there if g.shape == there[-1].shape] if there else []
        buffer = np.full_like(alike[0], np.nan) if alike else None
        rest = iter([False] + [True] * len(plain))
        targets = [None if not any(g is one for one in alike) else Into(buffer, next(rest)) for g in plain]
        case.pair.backward(*given, result[-1], into=targets)
    if alike:
        np.testing.assert_allclose(buffer, sum(alike), rtol=1e-4, atol=1e-4 * max(1, abs(sum(alike)).max(initial=0)))


@kernel("i8(i8)", parallel=False)
def remainder_of_a_line(size):
    return np.empty(size, np.float32).ctypes.data % LINE


@kernel("i8(i8, i8)")
def remainder_in_a_thread(size, threads):
    remainders = np.empty(threads, np.int64)
    for t in prange(threads):
        remainders[t] = np.empty(size, np.float32).ctypes.data % LINE
    return remainders.sum()


def test_arrays_that_kernels_make_begin_with_a_cache_line():
    assert [remainder_of_a_line(size) for size in range(1, 40)] == [0] * 39
    assert [remainder_in_a_thread(size, 2) for size in range(1, 40)] == [0] * 39


@contextmanager
def watched_kernels() -> Iterator[None]:
    """Fails where a kernel writes to an argument that overlaps another. Those it reads may overlap."""
    run = Kernel.__call__

    def watched(kernel: Kernel, *args: Any) -> Any:
        arrays = {i: a for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.size}
        shared = {i for i in arrays for j in arrays if i != j and np.shares_memory(arrays[i], arrays[j])}
        before = {i: arrays[i].tobytes() for i in shared}
        result = run(kernel, *args)
        names = list(inspect.signature(kernel).parameters)
        assert [names[i] for i in shared if arrays[i].tobytes() != before[i]] == [], kernel
        return result

    with pytest.MonkeyPatch.context() as patch, kernels("auto"):
        patch.setattr(Kernel, "__call__", watched)
        yield


@every_op
@few(5)
@given(st.data())
def test_no_kernel_writes_to_an_argument_that_overlaps_another(case, data):
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with watched_kernels():
        result = case.pair.forward(*call.inputs, **call.options)
        case.pair.backward(*cotangents(case, case.outputs(result)), result[-1])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_no_kernel_of_a_training_step_does(kind):
    model, batch = kind.build(), kind.batch()
    with watched_kernels():
        for optimizer in [optimizer(model) for optimizer in OPTIMIZERS.values()]:
            train_step(model, optimizer, [(0, batch)], lr=1e-3, max_grad_norm=1.0)
