"""The record of which code multiplies matrices: a name that is known here, a version, the instructions it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

TITLES = {
    "own": "minitrain's own",
    "mkl": "MKL",
    "openblas": "OpenBLAS",
    "accelerate": "Accelerate",
    "system": "the system's BLAS",
    "numpy": "NumPy",
    "reference": "the reference code with NumPy",
    "amx": "AMX tiles",
    "avx512": "AVX512-BF16",
    "float32": "float32 arithmetic on rounded operands",
}
"""Code that can multiply, by the name that a record has, with the name to print."""

NAMES: dict[str, tuple[str, ...]] = {
    "float32": ("own", "mkl", "openblas", "accelerate", "system", "numpy", "reference"),
    "bfloat16": ("amx", "avx512", "float32", "reference"),
}
"""For each dtype of products that is recorded, the names that its record may have."""

LONGEST = 100
"""Most characters of a version, and of instructions."""


class Product(NamedTuple):
    """The code that multiplies.

    Attributes:
        name: one of `TITLES`.
        version: the version of a library; empty for minitrain's own, whose version is that of minitrain.
        instructions: those that it uses on this processor, such as ``"AVX2"``; empty if it does not say.
    """

    name: str
    version: str = ""
    instructions: str = ""

    def __str__(self) -> str:
        """For people, such as ``"OpenBLAS 0.3.31, Zen"``."""
        return ", ".join(filter(None, [f"{TITLES[self.name]} {self.version}".strip(), self.instructions]))


Products = Mapping[str, Product]
"""The code that multiplies matrices of each dtype, by the dtype's name."""
