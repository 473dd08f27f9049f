"""PyTorch's losses of distances."""

import torch.nn.functional as F

from .common import constant, reduction


def mean_squared_error(outputs, targets, weight, *, each=False):
    return F.mse_loss(outputs, targets, reduction=reduction(each), weight=constant(weight))


def mean_absolute_error(outputs, targets, weight, *, each=False):
    return F.l1_loss(outputs, targets, reduction=reduction(each), weight=constant(weight))


def huber(outputs, targets, weight, *, delta, each=False):
    return F.huber_loss(outputs, targets, reduction=reduction(each), delta=delta, weight=constant(weight))


def triplet(anchor, positive, negative, *, margin, each=False):
    lead, C = anchor.shape[:-1], anchor.shape[-1]
    rows = (x.reshape(-1, C) for x in (anchor, positive, negative))
    losses = F.triplet_margin_loss(*rows, margin=margin, reduction=reduction(each))
    return losses.reshape(lead) if each else losses
