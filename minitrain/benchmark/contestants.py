"""The programs in a comparison of training steps: minitrain and PyTorch, by precision and by instructions.

A program's name says what it is: ``eager_bfloat16_avx2`` is PyTorch without compilation, in bfloat16, on a processor
that is held to AVX2. Names without a precision are in float32, those without instructions use all there are.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import NamedTuple

from ..backend.info import version
from ..backend.precision import HALF
from .report import say

PEERS = ("eager", "compiled")
"""The PyTorch programs."""
PRECISIONS = ("float32", "bfloat16")
LABELS = {"minitrain": "minitrain", "eager": "PyTorch eager", "compiled": "PyTorch compiled"}
NO_TORCH = "PyTorch is not installed (pip install torch): minitrain runs alone"
NO_MKL = "mkl is not installed (pip install 'minitrain[mkl]')"
MASK = {
    "minitrain": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "torch": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
"""Environment variables that hold a program to AVX2."""


class Contestant(NamedTuple):
    """A program of a comparison.

    Attributes:
        kind: ``minitrain``, ``eager`` or ``compiled``.
        precision: one of ``PRECISIONS``; PyTorch's is that of its autocast.
        variables: environment variables of its process.
        masked: whether it is held to AVX2 on a processor that has more.
        mkl: whether minitrain multiplies by MKL instead of what a default install has.
    """

    kind: str
    precision: str = "float32"
    variables: Mapping[str, str] = {}
    masked: bool = False
    mkl: bool = False

    @property
    def ours(self) -> bool:
        """Whether this is minitrain."""
        return self.kind == "minitrain"

    @property
    def half(self) -> bool:
        """Whether operands of products have 16 bits."""
        return self.precision in HALF

    @property
    def name(self) -> str:
        """The key of its figures."""
        parts = [self.kind, "mkl" * self.mkl, self.precision * self.half, "avx2" * self.masked]
        return "_".join(filter(None, parts))

    @property
    def label(self) -> str:
        """Its name in tables."""
        parts = [LABELS[self.kind], "[mkl]" * self.mkl, self.precision * self.half, "(AVX2)" * self.masked]
        return " ".join(filter(None, parts))


def contestants(
    peers: tuple[str, ...],
    failures: dict[str, str],
    *,
    precision: str = "float32",
    equal_instructions: bool = False,
) -> list[Contestant]:
    """The programs to run; those that cannot run go into ``failures``.

    minitrain in float32 always takes part, so that what a precision costs and saves is measured in the same run.

    Args:
        peers: some of ``PEERS``.
        failures: why a program does not take part, by its name; added to.
        precision: the precision that is compared; PyTorch runs in float32 too.
        equal_instructions: whether all run a second time held to AVX2, if the processor has more.
    """
    found = [Contestant("minitrain", variables=default_install())]
    if precision != "float32":
        found.insert(0, found[0]._replace(precision=precision))
    elif version("mkl") is None:
        failures["minitrain_mkl"] = NO_MKL
    elif chosen := os.environ.get("MINITRAIN_BLAS"):
        failures["minitrain_mkl"] = f"MINITRAIN_BLAS={chosen} is set: minitrain runs on that alone"
    else:
        found.append(Contestant("minitrain", variables={"MINITRAIN_BLAS": "mkl"}, mkl=True))
    there = available(peers, failures)
    found += [Contestant(peer, kind) for kind in dict.fromkeys(("float32", precision)) for peer in there]
    if equal_instructions and widest_instructions() == "AVX-512":
        found += [held_to_avx2(one) for one in found if not one.mkl]
    return found


def held_to_avx2(one: Contestant) -> Contestant:
    """The same program without the processor's wider instructions."""
    mask = MASK["minitrain" if one.ours else "torch"]
    blas = {"MINITRAIN_BLAS": "own"} if one.ours else {}
    return one._replace(masked=True, variables={**one.variables, **blas, **mask})


def widest_instructions() -> str | None:
    """The instructions of minitrain's own product: ``"AVX-512"``, ``"AVX2"``, or ``None`` if it does not run here."""
    from ..backend.cpu.products.sgemm import instructions

    return instructions()


def default_install() -> dict[str, str]:
    """Variables that make minitrain run as without the ``mkl`` extra, which it may prefer if it is installed.

    A user's own ``MINITRAIN_BLAS`` is kept.
    """
    if version("mkl") is None or os.environ.get("MINITRAIN_BLAS"):
        return {}
    return {"MINITRAIN_BLAS": "openblas" if widest_instructions() is None else "own"}


def available(peers: tuple[str, ...], failures: dict[str, str]) -> tuple[str, ...]:
    """``peers``, or nothing if PyTorch is missing; ``failures`` then says so."""
    if peers and not torch_installed():
        say(NO_TORCH)
        failures |= dict.fromkeys(peers, NO_TORCH)
        return ()
    return peers


def torch_installed() -> bool:
    """Whether PyTorch can be measured."""
    return importlib.util.find_spec("torch") is not None
