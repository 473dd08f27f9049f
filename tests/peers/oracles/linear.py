"""PyTorch's linear layers, embeddings, the residual stream and scaling."""

import math

import torch.nn.functional as F


def linear(x, weight, bias):
    return F.linear(x, weight, bias)


def gelu_linear(hidden, weight, bias, *, approximate):
    return F.linear(F.gelu(hidden, approximate=approximate), weight, bias)


def float8_linear(x, weight, bias, *, gelu):
    return F.linear(x if gelu is None else F.gelu(x, approximate=gelu), weight, bias)


def low_rank(x, a, b, *, scale):
    return scale * F.linear(F.linear(x, a), b)


def embedding(tokens, weight, *, padding_idx=None):
    return F.embedding(tokens.long(), weight, padding_idx)


def residual(x, branch):
    return x + branch


def scale(x, log_scale, *, limit):
    return x * log_scale.clamp(max=math.log(limit)).exp()
