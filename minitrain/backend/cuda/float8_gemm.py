"""The product of matrices of 8 bits on a GPU: ``out = a @ b.T + bias + beta out`` by cuBLASLt.

cuBLASLt multiplies 8 bits in one layout only: both operands lie along the size that is summed over. Sums are float32.
The scales of the operands are read from the card's memory during the product, so no number passes through the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ShapeError
from ..arrays import Array, array_module, is_cupy
from .device import check_float8_capability
from .float8 import MULTIPLE, Float8Format, float8_values
from .gemm import planner_for
from .launch import address_of
from .products.bindings import binding
from .products.cublaslt import ComputeType, Epilogue
from .products.matrices import matrices_of
from .products.plain import plain_matmul
from .products.plans import with_bias
from .products.problem import Problem, alignment


class Float8(NamedTuple):
    """A matrix of 8 bits."""

    codes: Array  # (R, K) uint8, C-contiguous
    scale: Array  # () float32, by which the numbers that the codes stand for are multiplied
    form: Float8Format


def float8_matmul(
    a: Float8, b: Float8, *, out: Array, beta: float = 0.0, bias: Array | None = None, fast: bool = False
) -> Array:
    """Multiply matrices of 8 bits on a GPU.

    Args:
        a: (M, K).
        b: (N, K). One of the two may be e5m2.
        out: (M, N) float32, C-contiguous.
        beta: 0 overwrites ``out`` without reading it. Otherwise ``beta * out`` is added.
        bias: (N,) bfloat16 added to each row: cuBLASLt takes no other with a float32 result.
        fast: whether sums may stay in the tensor cores' own registers, which have fewer bits than float32. That is the
            custom for forwards, and not for gradients.

    Returns:
        ``out``.

    Raises:
        ShapeError: if sizes do not fit, or N or K is no multiple of 16.
        DeviceError: if the card has no tensor cores for 8 bits, or a graph is captured and this kind of product has not
            run before on this stream.
    """
    (rows, inner), (columns, other) = a.codes.shape, b.codes.shape
    if inner != other or out.shape != (rows, columns):
        raise ShapeError(f"float8_matmul: ({rows}, {inner}) by ({columns}, {other}) to {out.shape} does not fit")
    if columns % MULTIPLE or inner % MULTIPLE:
        raise ShapeError(
            f"float8_matmul: N = {columns} and K = {inner} must be multiples of {MULTIPLE}; pad with zeros"
        )
    if bias is not None and (bias.shape != (columns,) or bias.dtype.name != "bfloat16"):
        raise ShapeError(f"float8_matmul: bias must be ({columns},) in bfloat16, got {bias.shape} in {bias.dtype}")
    library = binding() if is_cupy(a.codes) else None  # the emulator of kernels has arrays of the host
    if library is None:
        left, right = (float8_values(x.codes, x.form) * x.scale for x in (a, b))
        plain_matmul(left, right.T, out, beta, bias, None, None)
        return out
    device: Any = a.codes.device
    check_float8_capability(device.compute_capability)
    at_a, at_b, at_out = (address_of(x) for x in (a.codes, b.codes, out))
    problem = Problem(
        rows, columns, inner, False, True, a.form.name, "float32", ComputeType.FLOAT32,
        matrices_of("a", a.codes).leading, matrices_of("b", b.codes).leading, matrices_of("out", out).leading,
        epilogue=int(Epilogue.DEFAULT) if bias is None else with_bias(Epilogue.DEFAULT),
        align_a=alignment(at_a), align_b=alignment(at_b), align_out=alignment(at_out),
        operand_b=b.form.name, bias="" if bias is None else "bfloat16", fast=fast,
    )  # fmt: skip
    vector = 0 if bias is None else address_of(bias)
    scales = address_of(a.scale), address_of(b.scale)
    planner_for(library, a.codes).run(problem, at_a, at_b, at_out, beta, vector, 0, array_module(a.codes), scales)
    return out
