"""Muon: orthogonalised momentum (Jordan et al., 2024, kellerjordan.github.io/posts/muon).

For a weight matrix (R, C) with gradient g and momentum buffer b::

    b <- momentum b + (1 - momentum) g
    u <- momentum b + (1 - momentum) g            Nesterov's; else u <- b
    o <- U V^T, nearly, where u = U S V^T         by Newton-Schulz iterations
    w <- w (1 - lr * weight_decay)
    w <- w - lr * scale * o

All singular values of the step are then about 1: directions in which the gradient is small are learned as fast as the
others. ``scale`` is ``sqrt(max(1, R / C))`` in the original. With ``0.2 sqrt(max(R, C))``, steps are usually as large
as AdamW's, and AdamW's rate and decay can be kept (Liu et al., 2025, arXiv:2502.16982).

Vectors, embedding tables and the output layer are not maps between hidden states: AdamW updates them.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from ...backend.arrays import Array, array_module
from ...errors import ConfigError
from ...nn.core.assign import matches
from ...nn.core.module import Module
from ...nn.core.parameter import Parameter
from ...ops.contract.op import with_twin
from ..arithmetic import late_numbers, scaled
from ..checks import check_choice
from ..groups import Span
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer
from .adam import adam_numbers, adam_update

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of the quintic a x + b x^3 + c x^5, which raises small singular values as fast as possible. They end between
0.68 and 1.14 instead of at 1, which is as good for training."""

TABLES_AND_HEADS = ("*emb*", "head.*", "*.head.*", "*lm_head*")
"""Paths of weights that AdamW updates by default if they have two axes: a convolution beside them is none of these."""

Adjustment = Literal["original", "match_rms_adamw"]


def newton_schulz(
    matrix: Array, *, steps: int = 5, eps: float = 1e-7, coefficients: tuple[float, float, float] = COEFFICIENTS
) -> Array:
    """A matrix with the singular vectors of ``matrix`` and singular values of about 1.

    With ``x`` scaled to a Frobenius norm of 1, each step is ``x <- a x + (b x x^T + c (x x^T)^2) x``, which applies the
    quintic to every singular value. The computation is in the matrix's own dtype.

    Args:
        matrix: (R, C).
        steps: number of iterations.
        eps: smallest norm to divide by.
        coefficients: a, b and c.

    Returns:
        (R, C), a fresh array.
    """
    xp = array_module(matrix)
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # (R, C) -> (C, R) if that makes the products smaller
    x = x / xp.maximum(xp.sqrt(xp.square(x).sum()), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x  # type: ignore[no-any-return]


@with_twin
def muon_update(
    weight: Array,
    grad: Array,
    buffer: Array,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    ns_steps: int,
    coefficients: tuple[float, float, float],
    eps: float,
    scale: float,
    weight_decay: float,
    grad_scale: float,
    late: Array | None = None,
) -> None:
    """One update of a matrix, in place.

    Args:
        weight: (R, C) the weights.
        grad: (R, C) their gradients, left unchanged.
        buffer: (R, C) the momentum buffer b.
        lr: learning rate.
        momentum: decay of the buffer.
        nesterov: whether the gradient is added once more.
        ns_steps: number of Newton-Schulz iterations.
        coefficients: of their polynomial.
        eps: smallest norm of an update.
        scale: factor of the orthogonal step; it does not apply to the decay.
        weight_decay: decoupled decay.
        grad_scale: factor of the gradients.
        late: (NUMBERS,) float64 on a GPU: ``lr * scale`` and the factor of the decay, in place of ``lr``.
    """
    rate, decay = (lr * scale, 1 - lr * weight_decay) if late is None else late_numbers(late[:2], weight)
    fresh = (1 - momentum) * scaled(grad, grad_scale)
    buffer *= momentum
    buffer += fresh
    direction = momentum * buffer + fresh if nesterov else buffer
    weight *= decay
    weight -= rate * newton_schulz(direction, steps=ns_steps, eps=eps, coefficients=coefficients)


@register_optimizer("muon")
class Muon(Optimizer):
    """The Muon optimizer for the hidden matrices of a model, and AdamW for its other trainable parameters.

    A parameter with more than two axes counts as a matrix: its first axis against all others.

    Args:
        model: see `Optimizer`. Each hidden matrix is updated separately, packed or not.
        lr: learning rate, of the matrices and of the rest; see ``adamw_lr_scale``.
        weight_decay: decoupled weight decay on matrices and tables.
        momentum: decay of the momentum buffer.
        nesterov: Nesterov's momentum.
        eps: smallest norm to divide an update by when it is scaled to norm 1.
        ns_steps: number of Newton-Schulz iterations.
        adjust_lr_fn: ``"original"``, or ``"match_rms_adamw"`` for steps as large as AdamW's, so that both use one rate.
        adamw_params: patterns for the paths of matrices that AdamW updates. ``None`` stands for those named embedding
            or head, without convolutions. Name the output layer if it has another name.
        adamw_lr_scale: AdamW's rate is this many times ``lr``. With ``"original"``, a usual rate is 0.02 for Muon and a
            hundredth of that for AdamW.
        adamw_betas: decay rates of AdamW's moments.
        adamw_eps: added to AdamW's denominator.

    Raises:
        ConfigError: if a setting is out of range, or no hidden matrix is left for Muon.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Adjustment = "original",
        adamw_params: tuple[str, ...] | None = None,
        adamw_lr_scale: float = 1.0,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
    ) -> None:
        check_choice("Muon", "adjust_lr_fn", adjust_lr_fn, get_args(Adjustment))
        self.momentum, self.nesterov, self.eps, self.ns_steps = momentum, nesterov, eps, ns_steps
        self.adjust_lr_fn, self.adamw_params, self.adamw_lr_scale = adjust_lr_fn, adamw_params, adamw_lr_scale
        self.adamw_betas, self.adamw_eps = adamw_betas, adamw_eps
        super().__init__(model, ("exp_avg", "exp_avg_sq"), lr=lr, weight_decay=weight_decay)
        if not any("momentum_buffer" in moments for moments in self._moments):
            raise ConfigError(
                "Muon: there is no hidden matrix in the model to update (adamw_params takes "
                f"{', '.join(self._patterns) or 'nothing'}); use AdamW"
            )

    def choose_spans(self, spans: list[Span]) -> list[Span]:
        """One span for each parameter of groups with hidden matrices; packed groups without any stay whole."""
        return [part for span in spans for part in (span.split() if self._has_matrix(span) else [span])]

    def new_moments(self, span: Span, names: tuple[str, ...]) -> dict[str, Array]:
        """A momentum buffer for a hidden matrix, AdamW's moments for the rest."""
        return super().new_moments(span, ("momentum_buffer",) if self._has_matrix(span) else names)

    def _has_matrix(self, span: Span) -> bool:
        return any(self._is_hidden_matrix(path, parameter) for path, (parameter, _) in span.parts.items())

    def _is_hidden_matrix(self, path: str, parameter: Parameter) -> bool:
        axes = parameter.data.ndim
        if self.adamw_params is None and axes > 2:
            return True
        return axes >= 2 and not any(matches(pattern, path, parameter) for pattern in self._patterns)

    @property
    def _patterns(self) -> tuple[str, ...]:
        return TABLES_AND_HEADS if self.adamw_params is None else self.adamw_params

    def numbers(self, moments: Moments, *, lr: float, weight_decay: float) -> tuple[float, ...]:
        """Those of AdamW, or the scaled rate of a hidden matrix and the factor of its decay."""
        if "momentum_buffer" in moments:
            return lr * self._scale(moments["momentum_buffer"]), 1 - lr * weight_decay
        return adam_numbers(self.steps, lr * self.adamw_lr_scale, *self.adamw_betas, weight_decay, None)

    def update(
        self,
        weight: Array,
        grad: Array,
        moments: Moments,
        *,
        lr: float,
        weight_decay: float,
        grad_scale: float,
        **late: Any,
    ) -> None:
        """See ``muon_update`` and ``adam_update``."""
        if "momentum_buffer" not in moments:
            adam_update(
                weight,
                grad,
                moments["exp_avg"],
                moments["exp_avg_sq"],
                step=self.steps,
                lr=lr * self.adamw_lr_scale,
                beta1=self.adamw_betas[0],
                beta2=self.adamw_betas[1],
                eps=self.adamw_eps,
                weight_decay=weight_decay,
                grad_scale=grad_scale,
                decoupled=True,
                **late,
            )
            return
        rows = weight.shape[0]
        muon_update(
            weight.reshape(rows, -1),  # (R, ...) -> (R, C)
            grad.reshape(rows, -1),
            moments["momentum_buffer"].reshape(rows, -1),
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.ns_steps,
            coefficients=COEFFICIENTS,
            eps=self.eps,
            scale=self._scale(weight),
            weight_decay=weight_decay,
            grad_scale=grad_scale,
            **late,
        )

    def _scale(self, weight: Array) -> float:
        """The factor of the orthogonal step for weights of this shape."""
        rows = weight.shape[0]
        columns = weight.size // rows
        if self.adjust_lr_fn == "original":
            return math.sqrt(max(1, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))
