"""Parallel loops of kernels: every part runs once with what it captures, and what cannot work is refused."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import prange

import minitrain.kernels.cpu
from minitrain.backend.cpu.jit import Kernel, ProductKernel, kernel
from minitrain.backend.cpu.parallel_loops import split
from tests.helpers.op_runs import few

SCALE = np.float32(3)


@kernel("i8(f4[:, ::1], f4[:, ::1], f4, b1, i8)")
def two_loops(x, out, factor, negative, threads):
    """Numbers, arrays, a boolean and constants of the module; a loop inside another, and one after it."""
    R, C = x.shape
    counts = np.zeros(threads, np.int64)
    for r in range(R):
        row = x[r]
        for t in prange(threads):
            sign = np.float32(-1) if negative else np.float32(1)
            for c in range(t, C, threads):
                out[r, c] = SCALE * sign * row[c]
            counts[t] += 1
    for t in prange(threads):
        for c in range(t, C, threads):
            out[:, c] *= factor
    return counts.sum()


@few(20)
@given(st.integers(0, 4), st.integers(0, 9), st.integers(1, 7), st.booleans())
def test_every_part_runs_once(rows, columns, threads, negative):
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    out = np.full_like(x, np.nan)
    assert two_loops(x, out, 2, negative, threads) == rows * threads
    np.testing.assert_allclose(out, (-6 if negative else 6) * x, rtol=1e-6)


@kernel("void(i8, i8[::1], i8)")
def too_much(size, done, threads):
    for t in prange(threads):
        done[t] = np.empty(size if t == 1 else 1, np.float32).size


def test_a_part_without_memory_is_an_error():
    """numba would go on with what the other parts have written."""
    done = np.zeros(3, np.int64)
    with pytest.raises(MemoryError, match="no memory for a part of a kernel"):
        too_much(1 << 60, done, 3)
    too_much(5, done, 3)
    assert done.tolist() == [1, 5, 1]


def total(x, threads):
    total = 0.0
    for t in prange(threads):
        total += x[t]
    return total


def last(x, threads):
    for t in prange(threads):
        here = x[t]
    return here


@pytest.mark.parametrize(("function", "name"), [(total, "total"), (last, "here")])
def test_a_variable_does_not_leave_a_loop(function, name):
    with pytest.raises(ValueError, match=f"^{name}: assigned in a parallel loop, read outside; use an array"):
        split(function)


def test_lines_are_those_of_the_source():
    """An error of numba's shows the line of the kernel."""
    function = split(too_much._function)
    first = too_much._function.__code__.co_firstlineno
    assert function.__code__.co_firstlineno in (first, first + 1)
    assert function.__qualname__ == "too_much"


KERNELS = [
    kernel
    for found in pkgutil.walk_packages(minitrain.kernels.cpu.__path__, "minitrain.kernels.cpu.")
    for kernel in vars(importlib.import_module(found.name)).values()
    if isinstance(kernel, Kernel | ProductKernel) and kernel.__module__ == found.name
]


def test_the_loops_of_all_kernels_can_be_cut_out():
    assert len(KERNELS) > 40
    for one in KERNELS:
        left = split(one.__wrapped__)
        assert "prange" not in left.__code__.co_names, one


def again(x, out, threads):
    _, n = x.shape
    for t in prange(threads):
        _, columns = out.shape
        out[t, :columns] = n


def test_a_variable_that_nobody_reads_outside_may_have_the_same_name():
    assert split(again).__code__.co_names.count("run_part0") == 1
