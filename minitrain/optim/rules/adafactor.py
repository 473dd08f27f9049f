"""Adafactor (Shazeer, Stern, 2018, arXiv:1804.04235), in the same form as in PyTorch.

A matrix (R, C) keeps R + C numbers instead of R C second moments: the running means of the squared gradient along its
rows and its columns. Their outer product approximates all second moments. With gradient g, step count t::

    rho <- min(lr, 1 / sqrt(t))                   the rate; with relative_step=False, rho <- lr
    alpha <- max(eps2, rms(w)) rho                relative to the weights; with relative_step=False, alpha <- rho
    beta2 <- 1 - t^beta2_decay
    w <- w (1 - lr * weight_decay)
    r <- beta2 r + (1 - beta2) mean(g^2, along a row)          (R, 1)
    c <- beta2 c + (1 - beta2) mean(g^2, along a column)       (1, C)
    v <- r c / max(mean(r), eps1)                 a vector keeps v <- beta2 v + (1 - beta2) g^2 itself
    u <- g / max(sqrt(v), eps1)
    w <- w - alpha u / max(1, rms(u) / d)         the update is clipped to a root mean square of d

There is no first moment.
"""

from __future__ import annotations

import math

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import scaled
from ..groups import Span
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def adafactor_update(
    weight: Array,
    grad: Array,
    row_var: Array | None,
    col_var: Array | None,
    variance: Array | None,
    *,
    step: int,
    lr: float,
    beta2_decay: float,
    eps1: float | None,
    eps2: float,
    d: float,
    relative_step: bool,
    weight_decay: float,
    grad_scale: float,
    lr_scale: float = 1.0,
) -> None:
    """One update, in place.

    Args:
        weight: the weights of one parameter, in its shape; of more than two axes, the last two are rows and columns.
        grad: their gradients, left unchanged.
        row_var: (..., R, 1) mean squares along rows; ``None`` for a vector.
        col_var: (..., 1, C) mean squares along columns; ``None`` for a vector.
        variance: mean squares of a vector; ``None`` for a matrix.
        step: number of this update, from 1.
        lr: learning rate, or the highest relative one. It includes ``lr_scale``.
        beta2_decay: a new square has the weight ``step ** beta2_decay``.
        eps1: smallest root of a second moment; ``None`` for the precision of the weights' dtype.
        eps2: smallest root mean square of the weights in the formula.
        d: the update is clipped to this root mean square.
        relative_step: whether the rate falls with the steps and is relative to the weights.
        weight_decay: decoupled decay.
        grad_scale: factor of the gradients.
        lr_scale: factor of the falling rate ``1 / sqrt(t)``.
    """
    xp = array_module(weight)
    least = float(xp.finfo(weight.dtype).eps) if eps1 is None else eps1
    g = scaled(grad, grad_scale)
    rate = xp.maximum(_root_mean_square(weight), eps2) * min(lr, lr_scale / math.sqrt(step)) if relative_step else lr
    fresh = step**beta2_decay  # 1 - beta2
    weight *= 1 - lr * weight_decay
    squares = xp.square(g)
    if row_var is not None and col_var is not None:
        row_var += fresh * (squares.mean(axis=-1, keepdims=True) - row_var)
        col_var += fresh * (squares.mean(axis=-2, keepdims=True) - col_var)
        second = row_var * col_var / xp.maximum(row_var.mean(axis=-2, keepdims=True), least)  # (..., R, C)
    else:
        assert variance is not None
        variance += fresh * (squares - variance)
        second = variance
    direction = g / xp.sqrt(xp.maximum(second, least * least))
    weight -= rate / xp.maximum(_root_mean_square(direction) / d, 1) * direction


def _root_mean_square(x: Array) -> Array:
    """The root mean square as a scalar array: reading its value on a GPU would wait for all earlier work."""
    xp = array_module(x)
    return xp.sqrt(xp.square(x).sum() / max(1, x.size))  # type: ignore[no-any-return]


@register_optimizer("adafactor")
class Adafactor(Optimizer):
    """The Adafactor optimizer for all trainable parameters of a model.

    Each parameter is updated separately, packed or not: the method needs its shape.

    Args:
        model: see `Optimizer`.
        lr: highest relative rate; with ``relative_step=False`` the rate itself.
        beta2_decay: a new square has the weight ``t^beta2_decay`` at step t, so the second moments average over ever
            more steps.
        eps: the smallest root of a second moment (``None``: the precision of the weights' dtype), and the smallest
            root mean square of the weights in the formula.
        d: the update is clipped to this root mean square.
        weight_decay: decoupled weight decay on matrices and tables.
        relative_step: steps are relative to the size of the weights, and the rate is at most ``1 / sqrt(t)``. Without
            it, the rate is ``lr`` or that of a schedule.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-2,
        *,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        relative_step: bool = True,
    ) -> None:
        self.beta2_decay, self.eps, self.d, self.relative_step = beta2_decay, eps, d, relative_step
        super().__init__(model, (), lr=lr, weight_decay=weight_decay)

    def choose_spans(self, spans: list[Span]) -> list[Span]:
        """One span for each parameter, in its shape."""
        return [part for span in spans for part in span.split()]

    def new_moments(self, span: Span, names: tuple[str, ...]) -> dict[str, Array]:
        """Means of squares along rows and columns, or of the elements of a vector."""
        xp, shape, dtype = array_module(span.data), span.data.shape, span.data.dtype
        if len(shape) < 2:
            return {"variance": xp.zeros(shape, dtype)}
        return {
            "row_var": xp.zeros((*shape[:-1], 1), dtype),
            "col_var": xp.zeros((*shape[:-2], 1, shape[-1]), dtype),
        }

    def update(
        self, weight: Array, grad: Array, moments: Moments, *, lr: float, weight_decay: float, grad_scale: float
    ) -> None:
        """See ``adafactor_update``."""
        adafactor_update(
            weight,
            grad,
            moments.get("row_var"),
            moments.get("col_var"),
            moments.get("variance"),
            step=self.steps,
            lr=lr,
            beta2_decay=self.beta2_decay,
            eps1=self.eps[0],
            eps2=self.eps[1],
            d=self.d,
            relative_step=self.relative_step,
            weight_decay=weight_decay,
            grad_scale=grad_scale,
            lr_scale=lr / self.lr if self.lr else 1.0,
        )
