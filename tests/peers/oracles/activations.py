"""PyTorch's element-wise functions and softmax."""

import torch
import torch.nn.functional as F


def softmax(x):
    return F.softmax(x, dim=-1)


def gelu(x, *, approximate):
    return F.gelu(x, approximate=approximate)


def relu(x):
    return F.relu(x)


def silu(x):
    return F.silu(x)


def tanh(x):
    return torch.tanh(x)


def sigmoid(x):
    return torch.sigmoid(x)


def softplus(x):
    return F.softplus(x)


def swiglu(gate, up):
    return F.silu(gate) * up


def geglu(gate, up, *, approximate):
    return F.gelu(gate, approximate=approximate) * up
