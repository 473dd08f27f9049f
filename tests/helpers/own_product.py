"""Promises that only minitrain's own product keeps: other libraries choose their code by the shape of a matrix."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import minitrain.kernels.cpu
from minitrain.backend import use_kernels
from minitrain.backend.product_choice import in_use
from minitrain.testing.cases import Case

KERNEL_MODULES = {
    found.name for found in pkgutil.walk_packages(minitrain.kernels.cpu.__path__, "minitrain.kernels.cpu.")
}


def has_own_product() -> bool:
    """Whether kernels multiply with it in this process."""
    with use_kernels("auto"):
        return in_use()["float32"].name == "own"


def multiplies(case: Case) -> bool:
    """Whether kernels of this operation, or of one that it calls, multiply matrices."""
    place = case.pair.forward.reference.__module__  # type: ignore[attr-defined]
    called = {v.reference.__module__ for v in vars(importlib.import_module(place)).values() if hasattr(v, "reference")}
    names = [name.replace("minitrain.ops.", "minitrain.kernels.cpu.") for name in called]
    return any(hasattr(importlib.import_module(name), "gemm_nn") for name in names if name in KERNEL_MODULES)


def skip_without_own_product(case: Case) -> None:
    """Skip the test if another library multiplies for ``case``."""
    if not has_own_product() and multiplies(case):
        pytest.skip("another library multiplies")


only_with_own_product = pytest.mark.skipif(not has_own_product(), reason="another library multiplies")
