"""RMSprop (Tieleman, Hinton, 2012, Neural Networks for Machine Learning, lecture 6e).

The centred form is by Graves (2013, arXiv:1308.0850).

With gradient g, running means v of its square and a of itself, momentum buffer b::

    g <- g + weight_decay w                       decay as an L2 penalty
    v <- alpha v + (1 - alpha) g^2
    a <- alpha a + (1 - alpha) g                  if centred
    u <- g / (sqrt(v - a^2) + eps)                a = 0 if not centred
    b <- momentum b + u                           with momentum; else b = u
    w <- w - lr * b
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import coupled_gradient, update_mean
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def rmsprop_update(
    weight: Array,
    grad: Array,
    square_avg: Array,
    grad_avg: Array | None,
    buffer: Array | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One update of the weights, the means v and a (``None`` if not centred) and the buffer b, in place.

    ``grad`` is left unchanged; ``None`` for ``buffer`` means no momentum. For the settings see `RMSprop`, for the rest
    `Optimizer.update`.
    """
    xp = array_module(weight)
    g = coupled_gradient(weight, grad, weight_decay=weight_decay, grad_scale=grad_scale)
    update_mean(square_avg, g * g, 1 - alpha)
    variance = square_avg
    if grad_avg is not None:
        update_mean(grad_avg, g, 1 - alpha)
        # Rounding can make the difference negative if the gradient hardly changes.
        variance = xp.maximum(square_avg - grad_avg * grad_avg, 0)
    direction = g / (xp.sqrt(variance) + eps)
    if buffer is not None:
        buffer *= momentum
        buffer += direction
        direction = buffer
    weight -= lr * direction


@register_optimizer("rmsprop")
class RMSprop(Optimizer):
    """The RMSprop optimizer for all trainable parameters of a model.

    Args:
        model, lr: see `Optimizer`.
        alpha: decay of the running means.
        eps: added to the denominator.
        momentum: decay of the momentum buffer; 0 for none.
        centered: divide by the standard deviation of the gradient instead of its root mean square.
        weight_decay: L2 penalty on matrices and tables.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        used = {"square_avg": True, "grad_avg": centered, "momentum_buffer": momentum > 0}
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered
        super().__init__(model, [name for name, is_used in used.items() if is_used], lr=lr, weight_decay=weight_decay)

    def update(self, weight: Array, grad: Array, moments: Moments, **rates: float) -> None:
        """See ``rmsprop_update``."""
        buffers = (moments["square_avg"], moments.get("grad_avg"), moments.get("momentum_buffer"))
        rmsprop_update(weight, grad, *buffers, alpha=self.alpha, eps=self.eps, momentum=self.momentum, **rates)
