"""CUDA twin of ``optim.rules.adam``: one kernel updates a flat buffer of weights."""

from __future__ import annotations

import math
from typing import Any

from ....backend.arrays import Array
from ....backend.cuda.launch import Source
from ..common.scale import scale_arguments
from ..common.sizes import THREADS, blocks_for, vector_width

_SOURCE = Source("rules/adam.cu")
_UPDATE = {
    V: _SOURCE.kernel(
        f"adam_update<{V}>",
        "f4* weight, f4* grad, f4* exp_avg, f4* exp_avg_sq, i8 n, f4 rate, f4 grad_rate, f4 decay, f4 penalty, "
        "f4 one_minus_beta1, f4 one_minus_beta2, f4 eps, f4 correction, f4 scale, f4* on_device?, f8* late?",
    )
    for V in (1, 4)
}


def adam_update(
    weight: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *,
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, grad_scale: Any,
    decoupled: bool = False, mix: tuple[float, float] | None = None, late: Array | None = None,
) -> Any:  # fmt: skip
    """See ``optim.rules.adam.adam_update``."""
    n = weight.size
    if n == 0:
        return NotImplemented
    # As in adam_numbers: a captured step, which reads them from memory, must end in the same bytes.
    rate, grad_rate = (lr * (1 / (1 - beta1**step)), 0.0) if mix is None else (lr * mix[0], lr * mix[1])
    decay, penalty = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    V = vector_width(n, weight, grad, exp_avg, exp_avg_sq)
    _UPDATE[V](
        blocks_for(n // V), THREADS, weight, grad, exp_avg, exp_avg_sq, n, rate, grad_rate, decay, penalty, 1 - beta1,
        1 - beta2, eps, 1 / math.sqrt(1 - beta2**step), *scale_arguments(grad_scale), late,
    )  # fmt: skip
    return None
