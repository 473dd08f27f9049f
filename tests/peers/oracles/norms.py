"""PyTorch's normalisations."""

import torch
import torch.nn.functional as F


def layer_norm(x, weight, bias, *, eps=1e-5):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def residual_layer_norm(x, branch, weight, bias, *, eps=1e-5):
    return x + branch, layer_norm(x + branch, weight, bias, eps=eps)


def rms_norm(x, weight, *, eps):
    return F.rms_norm(x, weight.shape, weight, eps)


def residual_rms_norm(x, branch, weight, *, eps):
    return x + branch, rms_norm(x + branch, weight, eps=eps)


def group_norm(x, weight, bias, *, groups, eps):
    return torch.group_norm(x, groups, weight, bias, eps)


def l2_normalize(x, *, eps=1e-12):
    return F.normalize(x, dim=-1, eps=eps)
