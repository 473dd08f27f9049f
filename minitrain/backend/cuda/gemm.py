"""The one product of matrices on a GPU: ``out = epilogue(op(a) @ op(b) + bias) + beta out``, batched, by cuBLASLt.

Operands of 16 bits are multiplied on tensor cores and added in float32. float32 operands are multiplied in float32,
or rounded to 11 significant bits under the precision ``tf32``. Nothing is copied: matrices may be transposed views,
slices, or batches with any strides, as long as their rows or their columns are contiguous.

cuBLASLt's choices are made once for each kind of product (``plans``). Without cuBLASLt the same products are made of
CuPy's functions (``plain``).
"""

from __future__ import annotations

import threading
from typing import Any

from ...errors import ShapeError
from ..arrays import Array, array_module, is_cupy
from ..precision import current_precision, wide
from .launch import address_of
from .products.bindings import binding
from .products.matrices import Matrices, loops, matrices_of, result_sizes, volume
from .products.plain import plain_matmul
from .products.plans import Planner, ProductUnsupported, with_bias
from .products.problem import (
    Form,
    Problem,
    alignment,
    check_form,
    check_result_type,
    compute_type,
    data_type,
    dtype_of,
    itemsize,
    vector_fits,
)

_planners: dict[tuple[int, Any], Planner] = {}  # by device and binding
_making = threading.Lock()


def matmul(
    a: Array,
    b: Array,
    *,
    out: Array | None = None,
    beta: float = 0.0,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    epilogue: str | None = None,
    aux: Array | None = None,
    dtype: str | None = None,
) -> Array:
    """Multiply matrices on a GPU.

    Args:
        a: (..., M, K), or (..., K, M) if ``transpose_a``, in float32, float64, float16 or bfloat16.
        b: (..., K, N), or (..., N, K) if ``transpose_b``, of the same dtype. Leading dimensions are broadcast.
        out: (..., M, N) array for the result with contiguous rows; ``None`` for a fresh one.
        beta: 0 overwrites ``out`` without reading it. Otherwise ``beta * out`` is added.
        transpose_a: multiply with the transpose of a's matrices.
        transpose_b: multiply with the transpose of b's matrices.
        bias: (N,) added to each row before the epilogue, in the dtype of the result. For an epilogue with sums: the
            vector of the result's dtype that receives them.
        epilogue: the last step on the sums before they are stored:

            - ``None`` or ``"relu"``, or ``"gelu"`` (tanh form);
            - ``"gelu_aux"``: GELU, and its input is written to ``aux``;
            - ``"dgelu"``: multiply by the slope of GELU at ``aux``;
            - ``"dgelu_sum"``: the same, and the sums over the result's rows go to ``bias`` (N,);
            - ``"sum_a"``, ``"sum_b"``: the product itself, and the sums of op(a) or op(b) over K go to ``bias``, (M,)
              or (N,).
        aux: (M, N) matrix of the epilogue, in the dtype of the result, with N divisible by 8.
        dtype: dtype of a fresh result: float32 for operands of 16 bits unless named, else that of the operands.

    Returns:
        (..., M, N): ``out``, or a fresh array.

    Raises:
        ShapeError: if shapes, dtypes, strides or options do not fit; the message says which.
        DeviceError: if a graph is captured and this kind of product has not run before on this stream.
    """
    form = check_form(epilogue)
    if a.dtype != b.dtype:
        raise ShapeError(f"matmul: a has dtype {a.dtype} and b has {b.dtype}; both must have the same")
    operand = a.dtype.name
    data_type(operand)
    of_a, of_b = _op("a", a, transpose_a), _op("b", b, transpose_b)
    (rows, inner), (other, columns) = of_a.shape, of_b.shape
    if inner != other:
        raise ShapeError(f"matmul: ({rows}, {inner}) @ ({other}, {columns}): the inner sizes differ")
    xp = array_module(a)
    shape = (*result_sizes(of_a, of_b), rows, columns)
    if out is None:
        if beta:
            raise ShapeError(f"matmul: beta = {beta} adds to out, and there is no out")
        wide = "float32" if itemsize(operand) == 2 else operand
        out = xp.empty(shape, dtype_of(dtype or wide))
    elif out.shape != shape:
        raise ShapeError(f"matmul: out has shape {out.shape}, the product has {shape}")
    check_result_type(operand, out.dtype.name)
    _check_extras(form, epilogue, beta, bias, aux, out)
    if out.size == 0:
        return _without_numbers(form, out, bias)
    library = binding() if is_cupy(a) else None  # the emulator of kernels has arrays of the host
    if library is None or inner == 0:
        plain_matmul(_view(a, transpose_a), _view(b, transpose_b), out, beta, bias, epilogue, aux)
        return out
    apart = bias is not None and form.sums is None and not vector_fits(bias)
    if apart and form.bends:
        raise ShapeError(f"matmul: with epilogue={epilogue!r} a bias must be aligned to 16 bytes; pass a copy")
    _multiply(library, of_a, of_b, a, b, out, beta, None if apart else bias, form, aux)
    if apart:
        out += bias
    return out


def any_matmul(a: Array, b: Array) -> Array:
    """``numpy.matmul`` of arrays on a GPU with two dimensions or more, with sums and a result of at least 32 bits.

    Matrices without contiguous rows or columns are copied first, and operands of different dtypes are widened.
    """
    if a.dtype != b.dtype:
        a, b = wide(a), wide(b)
    return matmul(_dense(a), _dense(b))


def _dense(x: Array) -> Array:
    """``x``, or a copy if no product can step through it."""
    try:
        matrices_of("x", x)
    except ShapeError:
        return array_module(x).ascontiguousarray(x)  # type: ignore[no-any-return]
    return x


def close_planners() -> None:
    """Forget all plans, handles and workspaces; the next product makes new ones."""
    with _making:
        for planner in _planners.values():
            planner.close()
        _planners.clear()


def _op(name: str, x: Array, transpose: bool) -> Matrices:
    """The matrices of op(x)."""
    found = matrices_of(name, x)
    if transpose:
        return found._replace(shape=(found.shape[1], found.shape[0]), swapped=not found.swapped)
    return found


def _view(x: Array, transpose: bool) -> Array:
    return x.swapaxes(-1, -2) if transpose else x


def _multiply(
    library: Any, of_a: Matrices, of_b: Matrices, a: Array, b: Array, out: Array, beta: float, bias: Array | None,
    form: Form, aux: Array | None,
) -> None:  # fmt: skip
    of_out = matrices_of("out", out)
    if of_out.swapped:
        raise ShapeError("matmul: the rows of out must be contiguous; pass a contiguous array")
    plan = loops(of_a, of_b, of_out)
    number = with_bias(form.number) if bias is not None and form.sums is None else int(form.number)
    operand, result = a.dtype.name, out.dtype.name
    small, large = itemsize(operand), itemsize(result)
    problem = Problem(
        of_out.shape[0] * plan.rows, of_out.shape[1], of_a.shape[1], of_a.swapped, of_b.swapped,
        operand, result, compute_type(operand, current_precision()),
        of_a.leading, of_b.leading, of_out.leading, plan.batch, *plan.strides, epilogue=number,
        ld_aux=0 if aux is None else matrices_of("aux", aux).leading,
    )  # fmt: skip
    vector, at_aux = (0 if x is None else address_of(x) for x in (bias, aux))
    at_a, at_b, at_out = address_of(a), address_of(b), address_of(out)
    planner = planner_for(library, a)
    xp = array_module(a)
    for step_a, step_b, step_out in plan.outer:
        here_a, here_b, here_out = at_a + small * step_a, at_b + small * step_b, at_out + large * step_out
        here = problem._replace(
            align_a=alignment(here_a, small * plan.strides[0]),
            align_b=alignment(here_b, small * plan.strides[1]),
            align_out=alignment(here_out, large * plan.strides[2]),
        )
        planner.run(here, here_a, here_b, here_out, beta, vector, at_aux, xp)


def planner_for(library: Any, x: Any) -> Planner:
    """The planner of the device that the array ``x`` is on."""
    key = (x.device.id, library)
    with _making:
        if key not in _planners:
            _planners[key] = Planner(library)
        return _planners[key]


def _check_extras(form: Form, name: str | None, beta: float, bias: Array | None, aux: Array | None, out: Array) -> None:
    """Refuse a bias, an auxiliary matrix or a beta that does not fit the epilogue."""
    rows, columns = out.shape[-2:]
    if form.bends and beta:
        raise ShapeError(f"matmul: epilogue={name!r} cannot add to out, since beta = {beta} would come before it")
    length = rows if form.sums == "rows" else columns
    if form.sums and bias is None:
        raise ShapeError(f"matmul: epilogue={name!r} needs bias, a vector ({length},) for the sums")
    if bias is not None:
        if bias.shape != (length,) or not bias.flags.c_contiguous:
            raise ShapeError(f"matmul: bias must be a contiguous ({length},) vector, got shape {bias.shape}")
        if bias.dtype != out.dtype:
            raise ShapeError(f"matmul: bias has dtype {bias.dtype} and the result {out.dtype}; both must have the same")
        if form.sums and not vector_fits(bias):
            raise ShapeError(f"matmul: with epilogue={name!r} bias must be aligned to 16 bytes")
    if name == "dgelu" and bias is not None:
        raise ShapeError("matmul: epilogue='dgelu' takes no bias; 'dgelu_sum' writes sums to it")
    if (form.aux is None) != (aux is None):
        wanted = "needs" if form.aux else "takes no"
        raise ShapeError(f"matmul: epilogue={name!r} {wanted} aux")
    if aux is not None:
        fits = aux.shape == out.shape and aux.dtype == out.dtype and aux.flags.c_contiguous
        if not fits or columns % 8 or not vector_fits(aux):
            raise ShapeError(
                f"matmul: aux must be a contiguous {out.shape} matrix of {out.dtype}, aligned to 16 bytes, with a "
                f"number of columns that is divisible by 8; got shape {aux.shape} of {aux.dtype}"
            )
    if (form.sums or form.aux) and volume(out.shape[:-2]) != 1:
        raise ShapeError(f"matmul: epilogue={name!r} is for one product, not for a batch of shape {out.shape}")


def _without_numbers(form: Form, out: Array, bias: Array | None) -> Array:
    """The result of a product without rows or without columns; sums over nothing are 0."""
    if form.sums and bias is not None:
        bias[...] = 0
    return out


__all__ = ["ProductUnsupported", "any_matmul", "close_planners", "matmul", "planner_for"]
