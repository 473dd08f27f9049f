"""Kernels compute in the precision of their arrays: a float32 divided by an integer is a float64 to numba.

Layer norm once had such a mean. Its loops then converted every number, at half the speed, and nothing else showed it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re

import llvmlite.binding as llvm
import pytest
from numba.core.registry import cpu_target

import minitrain.kernels.cpu
from minitrain.backend.cpu import jit, kernel_cache
from minitrain.backend.cpu.jit import Kernel

FILES = [
    found.name.removeprefix("minitrain.kernels.cpu.")
    for found in pkgutil.walk_packages(minitrain.kernels.cpu.__path__, "minitrain.kernels.cpu.")
    if not found.ispkg
]
IN_DOUBLE = {"clip": {"_partial_sums"}, "rules.muon": {"_direction"}}
"""Sums over all weights, in double precision on purpose."""


def widens_vectors(one: Kernel) -> bool:
    """Whether a kernel's code, as it lies on disk for all tests, turns vectors of float32 into float64."""
    one.compile_to_disk()
    cache = one._dispatcher._cache
    (_, kind, (_, bitcode)), *_ = cache._cache_file.load(
        cache._index_key(one._signature, cpu_target.target_context.codegen())
    )
    assert kind == "object"
    return re.search(r"fpext <\d+ x float>", str(llvm.parse_bitcode(bitcode))) is not None


def widens(x, n):
    mean = x[0] / n
    for i in range(x.size):
        x[i] -= mean


def test_a_kernel_that_widens_is_noticed(monkeypatch, tmp_path):
    for module in (jit, kernel_cache):
        monkeypatch.setattr(module, "kernel_cache_dir", lambda: tmp_path)
    assert widens_vectors(Kernel(widens, "void(f4[::1], i8)", parallel=False))


@pytest.mark.parametrize("file", FILES)
def test_loops_stay_in_single_precision(file):
    module = importlib.import_module(f"minitrain.kernels.cpu.{file}")
    own = [k for k in vars(module).values() if isinstance(k, Kernel) and k.__module__ == module.__name__]
    found = {k._function.__name__ for k in own if widens_vectors(k)}
    assert found == IN_DOUBLE.get(file, set())
