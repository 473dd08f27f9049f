"""PyTorch's losses of choices."""

import torch
import torch.nn.functional as F

from .common import constant, reduction


def cross_entropy(
    logits,
    targets,
    class_weight,
    *,
    label_smoothing=0.0,
    ignore_index=-100,
    z_loss=0.0,
    others_only=False,
    each=False,
):
    """PyTorch's own, but for the z-loss and for smoothing over the other classes alone: these are written out."""
    V = logits.shape[-1]
    rows, classes, weight = logits.reshape(-1, V), targets.reshape(-1).long(), constant(class_weight)
    counted = classes != ignore_index
    wanted = torch.where(counted, classes, 0)
    if others_only and label_smoothing > 0:
        target = torch.full_like(rows, 1.0).scatter(1, wanted[:, None], 0.0)
        if 0 <= ignore_index < V:
            target[:, ignore_index] = 0
        target = label_smoothing * target / target.sum(dim=1, keepdim=True)
        target = target.scatter(1, wanted[:, None], 1 - label_smoothing).detach()
        losses = counted * F.cross_entropy(rows, target, weight, reduction="none")
    else:
        losses = F.cross_entropy(
            rows, classes, weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction="none"
        )
    if z_loss > 0:
        own = counted.to(rows.dtype) * (1 if weight is None else weight[wanted])
        losses = losses + z_loss * own * torch.logsumexp(rows, dim=1) ** 2
    return losses.reshape(targets.shape) if each else losses.sum()


def linear_cross_entropy(hidden, weight, targets, bias, class_weight, *, chunk, gradients, **options):
    """All rows at once."""
    return cross_entropy(F.linear(hidden, weight, bias), targets, class_weight, **options)


def focal(logits, targets, alpha, *, gamma=2.0, ignore_index=-100, each=False):
    """From PyTorch's cross-entropy, which is ``-log p``; where that is 0, autograd would divide by it."""
    nats = cross_entropy(logits, targets, None, ignore_index=ignore_index, each=True)
    weight = 1 if alpha is None else alpha.detach()[torch.where(targets != ignore_index, targets, 0).long()]
    q = -torch.expm1(-torch.where(nats > 0, nats, 1))
    losses = torch.where(nats > 0, weight * q**gamma * nats, 0)
    return losses if each else losses.sum()


def unlikelihood(logits, unwanted, *, ignore_index=-100, each=False):
    """The log-softmax gives ``log(1 - p)`` by the log-sum-exp of the other classes."""
    counted = unwanted != ignore_index
    hidden = F.one_hot(torch.where(counted, unwanted, 0).long(), logits.shape[-1]).bool()
    others = torch.logsumexp(F.log_softmax(logits, dim=-1).masked_fill(hidden, -torch.inf), dim=-1)
    losses = torch.where(counted, -others, 0)
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
