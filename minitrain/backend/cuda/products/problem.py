"""A matrix product as cuBLASLt needs to know it: sizes, strides, types. Equal problems share a plan (``plans``)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ....errors import ShapeError
from ...precision import HALF, half_dtype
from ..launch import address_of
from .cublaslt import VECTOR_ALIGNMENT, ComputeType, DataType, Epilogue


class Form(NamedTuple):
    """An epilogue of ``gemm.matmul`` in terms of cuBLASLt.

    Attributes:
        number: its ``cublasLtEpilogue_t`` without a bias.
        sums: ``None``, or what the vector of sums counts: the result's ``"rows"`` or its ``"columns"``.
        aux: ``None``, ``"out"`` if it writes the auxiliary matrix, ``"in"`` if it reads it.
        bends: whether it is not linear, so that nothing can be added to the old result.
    """

    number: Epilogue
    sums: str | None = None
    aux: str | None = None
    bends: bool = False


FORMS: dict[str | None, Form] = {
    None: Form(Epilogue.DEFAULT),
    "relu": Form(Epilogue.RELU, bends=True),
    "gelu": Form(Epilogue.GELU, bends=True),
    "gelu_aux": Form(Epilogue.GELU_AUX, aux="out", bends=True),
    "dgelu": Form(Epilogue.DGELU, aux="in", bends=True),
    "dgelu_sum": Form(Epilogue.DGELU_BGRAD, sums="columns", aux="in", bends=True),
    "sum_a": Form(Epilogue.BGRADB, sums="rows"),  # cuBLASLt's B is our a, see plans
    "sum_b": Form(Epilogue.BGRADA, sums="columns"),
}
"""Epilogues by the names that ``gemm.matmul`` knows. GELU is the tanh form."""


class Problem(NamedTuple):
    """A product of matrices stored by rows: ``out = op(a) @ op(b)``, (M, K) @ (K, N) -> (M, N), repeated in a batch.

    Leading dimensions and strides count numbers, not bytes. Alignments are bytes: the largest power of two that
    divides the address, at most 256.
    """

    rows: int  # M
    columns: int  # N
    inner: int  # K
    transpose_a: bool
    transpose_b: bool
    operand: str  # dtype of a and b
    result: str  # dtype of out
    compute: ComputeType
    ld_a: int
    ld_b: int
    ld_out: int
    batch: int = 1
    stride_a: int = 0
    stride_b: int = 0
    stride_out: int = 0
    epilogue: int = Epilogue.DEFAULT
    ld_aux: int = 0
    align_a: int = 256
    align_b: int = 256
    align_out: int = 256
    operand_b: str = ""  # dtype of b, where it is another than a's
    bias: str = ""  # dtype of the bias, where it is another than the result's
    fast: bool = False  # whether sums of 8-bit products may have fewer bits than float32

    def __str__(self) -> str:
        """For messages, such as ``"(64, 768) @ (768, 3072) in bfloat16 -> float32"``."""
        batch = f"{self.batch} x " if self.batch > 1 else ""
        sizes = f"{batch}({self.rows}, {self.inner}) @ ({self.inner}, {self.columns})"
        after = f", epilogue {self.epilogue}" if self.epilogue != Epilogue.DEFAULT else ""
        operands = f"{self.operand} and {self.operand_b}" if self.operand_b else self.operand
        return f"{sizes} in {operands} -> {self.result}{after}"


@functools.cache
def data_type(name: str) -> DataType:
    """CuBLASLt's number for a dtype's name.

    Raises:
        ShapeError: if products of this type are not offered.
    """
    try:
        return DataType[name.upper()]
    except KeyError:
        raise ShapeError(f"matmul multiplies float32, float64, float16 and bfloat16, got {name}") from None


def compute_type(operand: str, precision: str) -> ComputeType:
    """How a product is computed. float64 computes in float64 and all others add in float32."""
    if operand == "float64":
        return ComputeType.FLOAT64
    return ComputeType.TF32 if operand == "float32" and precision == "tf32" else ComputeType.FLOAT32


def check_result_type(operand: str, result: str) -> None:
    """Refuse a result that cuBLASLt does not offer for these operands.

    Raises:
        ShapeError: unless the result has the operands' type, or float32 for 16-bit operands.
    """
    if result != operand and not (operand in ("float16", "bfloat16") and result == "float32"):
        offered = f"{operand} or float32" if operand in ("float16", "bfloat16") else operand
        raise ShapeError(f"matmul: operands of {operand} give {offered}, not {result}")


def alignment(*addresses: int) -> int:
    """The largest power of two, at most 256, that divides all the addresses (or byte strides)."""
    together = 256
    for address in addresses:
        together |= address
    return together & -together


def vector_fits(x: Any) -> bool:
    """Whether a vector or an auxiliary matrix is aligned well enough for an epilogue."""
    return address_of(x) % VECTOR_ALIGNMENT == 0


def check_form(name: str | None) -> Form:
    """The form of an epilogue.

    Raises:
        ShapeError: if there is none of this name.
    """
    try:
        return FORMS[name]
    except KeyError:
        known = ", ".join(str(form) for form in FORMS)
        raise ShapeError(f"matmul: there is no epilogue {name!r}; choose from {known}") from None


def dtype_of(name: str) -> np.dtype[Any]:
    """The dtype of a name; NumPy alone does not know ``"bfloat16"``."""
    return half_dtype(name) if name in HALF else np.dtype(name)


@functools.cache
def itemsize(name: str) -> int:
    """Bytes of one number."""
    return dtype_of(name).itemsize
