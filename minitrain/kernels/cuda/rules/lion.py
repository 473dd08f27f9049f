"""CUDA twin of ``optim.rules.lion``: one kernel updates a flat buffer of weights."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.cuda.launch import Source
from ..common.scale import scale_arguments
from ..common.sizes import THREADS, blocks_for, vector_width

_SOURCE = Source("rules/lion.cu")
_UPDATE = {
    V: _SOURCE.kernel(
        f"lion_update<{V}>",
        "f4* weight, f4* grad, f4* exp_avg, i8 n, f4 rate, f4 decay, f4 beta1, f4 one_minus_beta1, "
        "f4 one_minus_beta2, f4 scale, f4* on_device?, f8* late?",
    )
    for V in (1, 4)
}


def lion_update(
    weight: Array, grad: Array, exp_avg: Array, *,
    lr: float, beta1: float, beta2: float, weight_decay: float, grad_scale: Any, late: Array | None = None,
) -> Any:  # fmt: skip
    """See ``optim.rules.lion.lion_update``."""
    n = weight.size
    if n == 0:
        return NotImplemented
    V = vector_width(n, weight, grad, exp_avg)
    _UPDATE[V](
        blocks_for(n // V), THREADS, weight, grad, exp_avg, n, lr, 1 - lr * weight_decay, beta1, 1 - beta1, 1 - beta2,
        *scale_arguments(grad_scale), late,
    )  # fmt: skip
    return None
