"""CUDA twins of ``ops.norms.layer_norm``, and the two launches that ``residual_layer_norm`` shares with them."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.targets import SKIP, Target
from ..common.sizes import PARTS, ceil_div, vector_width, warps_for
from ..common.targets import contiguous, optional, row_count, slot

_SOURCE = Source("norms/layer_norm.cu")
_FORWARD = {
    V: _SOURCE.kernel(
        f"layer_norm_forward<{V}>",
        "f4* x, f4* branch?, f4* weight, f4* bias?, f4* total?, f4* out, f4* mean, f4* rstd, i4 rows, i4 columns, "
        "f4 eps",
    )
    for V in (1, 4)
}
_BACKWARD = {
    V: _SOURCE.kernel(
        f"layer_norm_backward<{V}>",
        "f4* dout, f4* dtotal?, f4* x, f4* mean, f4* rstd, f4* weight, f4* dx?, f4* partial, i4 rows, i4 columns, "
        "i4 accumulate",
    )
    for V in (1, 4)
}
_ADD = _SOURCE.kernel("add_partials", "f4* partial, f4* out, i4 parts, i4 columns, i4 stride, i4 accumulate")


def layer_norm_forward(x: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5) -> Any:
    """See ``ops.norms.layer_norm.layer_norm_forward``."""
    found = run_forward(x, None, weight, bias, eps)
    if found is NotImplemented:
        return NotImplemented
    _, out, mean, rstd = found
    return out, (x, mean, rstd, weight, bias)


def layer_norm_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.norms.layer_norm.layer_norm_backward``."""
    return run_backward(None, dout, cache, into)


def run_forward(x: Array, branch: Array | None, weight: Array, bias: Array | None, eps: float) -> Any:
    """Normalise ``x``, or ``total = x + branch`` where there is a branch.

    Returns:
        total (..., C) or ``None``, out (..., C), mean (...,), rstd (...,); ``NotImplemented`` for rows of nothing and
        for rows that do not fit into shared memory.
    """
    R, C = row_count(x), x.shape[-1]
    warps = warps_for(4 * C)
    if x.size == 0 or warps == 0:
        return NotImplemented
    xp = array_module(x)
    x, branch, weight, bias = contiguous(x), optional(branch), contiguous(weight), optional(bias)
    total = None if branch is None else xp.empty(x.shape, x.dtype)
    out, mean, rstd = xp.empty(x.shape, x.dtype), xp.empty(x.shape[:-1], x.dtype), xp.empty(x.shape[:-1], x.dtype)
    V = vector_width(C, x, branch, weight, bias, total, out)
    _FORWARD[V](
        ceil_div(R, warps),
        (32, warps),
        x,
        branch,
        weight,
        bias,
        total,
        out,
        mean,
        rstd,
        R,
        C,
        eps,
        shared=warps * 4 * C,
    )
    return total, out, mean, rstd


def run_backward(dtotal: Array | None, dout: Array, cache: Any, into: tuple[Target, Target, Target]) -> Any:
    """Gradients of the norm; ``dtotal``, if any, is added to dx."""
    x, mean, rstd, weight, bias = cache
    R, C = row_count(x), x.shape[-1]
    warps = warps_for(2 * 4 * C)
    if x.size == 0 or warps == 0:
        return NotImplemented
    x, weight, dout, dtotal = contiguous(x), contiguous(weight), contiguous(dout), optional(dtotal)
    dx, dweight = slot(into[0], x.shape, x), slot(into[1], weight.shape, x)
    dbias = slot(SKIP if bias is None else into[2], weight.shape, x)
    parts = min(ceil_div(R, warps), PARTS)
    partial = array_module(x).empty((parts, 2, C), x.dtype)
    V = vector_width(C, x, weight, dout, dtotal, dx.array)
    _BACKWARD[V](
        parts, (32, warps), dout, dtotal, x, contiguous(mean), contiguous(rstd), weight, dx.array, partial, R, C,
        dx.accumulate, shared=warps * 2 * 4 * C,
    )  # fmt: skip
    for index, gradient in enumerate((dweight, dbias)):
        if gradient.array is not None:
            _ADD(
                ceil_div(C, 128), 128, partial.reshape(-1)[index * C :], gradient.array, parts, C, 2 * C,
                gradient.accumulate,
            )  # fmt: skip
    return dx.result(), dweight.result(), dbias.result()
