"""PyTorch's losses of choices."""

import torch
import torch.nn.functional as F

from .common import constant, reduction


def cross_entropy(logits, targets, class_weight, *, label_smoothing=0.0, ignore_index=-100, each=False):
    losses = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1).long(),
        constant(class_weight),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction(each),
    )
    return losses.reshape(targets.shape) if each else losses


def focal(logits, targets, alpha, *, gamma=2.0, ignore_index=-100, each=False):
    """From PyTorch's cross-entropy, which is ``-log p``; where that is 0, autograd would divide by it."""
    nats = cross_entropy(logits, targets, None, ignore_index=ignore_index, each=True)
    weight = 1 if alpha is None else alpha.detach()[torch.where(targets != ignore_index, targets, 0).long()]
    q = -torch.expm1(-torch.where(nats > 0, nats, 1))
    losses = torch.where(nats > 0, weight * q**gamma * nats, 0)
    return losses if each else losses.sum()


def binary_cross_entropy(logits, targets, pos_weight, *, each=False):
    return F.binary_cross_entropy_with_logits(
        logits, targets.detach(), pos_weight=constant(pos_weight), reduction=reduction(each)
    )


def binary_focal(logits, targets, *, gamma=2.0, alpha=0.25, each=False):
    """As ``torchvision.ops.sigmoid_focal_loss`` computes it; PyTorch itself has none."""
    y = targets.to(logits.dtype)
    p = torch.sigmoid(logits)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none") * (p * (1 - y) + (1 - p) * y) ** gamma
    if alpha is not None:
        losses = (alpha * y + (1 - alpha) * (1 - y)) * losses
    return losses if each else losses.sum()


def hinge(outputs, targets, *, margin, each=False):
    """One score ranked against 0."""
    sides, zeros = targets.to(outputs.dtype), torch.zeros_like(outputs)
    return F.margin_ranking_loss(outputs, zeros, sides, margin=margin, reduction=reduction(each))


def kl_divergence(log_probs, targets, *, each=False):
    if each:
        return F.kl_div(log_probs, targets.detach(), reduction="none").sum(dim=-1)
    return F.kl_div(log_probs, targets.detach(), reduction="sum")
