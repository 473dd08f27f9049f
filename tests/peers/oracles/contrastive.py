"""PyTorch versions of the contrastive losses, written out as the papers have them."""

import math

import torch
import torch.nn.functional as F


def cosines(left, right):
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T


def left_out(image, groups):
    """Pairs of different samples of one group (N, N)."""
    numbers = torch.arange(len(image)) if groups is None else groups
    return (numbers[:, None] == numbers[None, :]) & ~torch.eye(len(image), dtype=torch.bool)


def info_nce(image, text, log_scale, groups=None, *, limit=100.0, each=False):
    """As OpenCLIP computes it, with the factor's limit inside."""
    logits = log_scale.clamp(max=math.log(limit)).exp() * cosines(image, text)
    logits = logits.masked_fill(left_out(image, groups), float("-inf"))
    partners = torch.arange(len(image))
    by_image, by_text = (F.cross_entropy(z, partners, reduction="none") for z in (logits, logits.T))
    losses = (by_image + by_text) / 2
    return losses if each else losses.sum()


def siglip(image, text, log_scale, bias, groups=None, *, each=False):
    """Algorithm 1 of the paper, before it divides by n."""
    logits = cosines(image, text) * log_scale.exp() + bias
    labels = 2 * torch.eye(len(image), dtype=logits.dtype) - torch.ones_like(logits)
    losses = -F.logsigmoid(labels * logits).masked_fill(left_out(image, groups), 0).sum(dim=-1)
    return losses if each else losses.sum()


def supervised_contrastive(features, labels, *, temperature=0.07, each=False):
    """L_out of the paper's equation 2."""
    N = len(features)
    others = ~torch.eye(N, dtype=torch.bool)
    logits = (cosines(features, features) / temperature).masked_fill(~others, float("-inf"))
    positives = (labels[:, None] == labels[None, :]) & others
    counted = positives.any(dim=1)
    log_p = torch.log_softmax(logits[counted], dim=1)
    chosen = torch.where(positives[counted], log_p, 0).sum(dim=1) / positives[counted].sum(dim=1)
    losses = torch.zeros(N, dtype=features.dtype).masked_scatter(counted, -chosen)
    return losses if each else losses.sum()
