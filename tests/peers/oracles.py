"""PyTorch's version of each operation, taking minitrain's arguments, and the comparison of the two."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from cases import Call
from torch import Tensor

from minitrain.ops import registry

# PyTorch always computes in float64: what is left in float32 is rounding, most where scores are large.
TOLERANCE = {np.float64: 1e-11, np.float32: 1e-4}


def linear(x, weight, bias):
    return F.linear(x, weight, bias)


def linear_gelu(x, weight, bias, *, approximate):
    return F.gelu(F.linear(x, weight, bias), approximate=approximate)


def embedding(tokens, weight):
    return F.embedding(tokens.long(), weight)


def layer_norm(x, weight, bias, *, eps=1e-5):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def residual(x, branch):
    return x + branch


def residual_layer_norm(x, branch, weight, bias, *, eps=1e-5):
    return x + branch, layer_norm(x + branch, weight, bias, eps=eps)


def gelu(x, *, approximate):
    return F.gelu(x, approximate=approximate)


def softmax(x):
    return F.softmax(x, dim=-1)


def attention(q, k, v, bias, *, causal=False, key_lengths=None, mask=None, scale=None):
    (B, T, H, _), S = q.shape, k.shape[1]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    grouped = k.shape[1] != H
    if causal and T == S and bias is None and key_lengths is None and mask is None:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    may = torch.ones(B, 1, T, S, dtype=torch.bool)
    if causal:  # PyTorch's own flag aligns T != S at the top left
        may &= torch.arange(S) <= torch.arange(T)[:, None] + S - T
    if key_lengths is not None:
        may &= (torch.arange(S) < torch.from_numpy(key_lengths)[:, None])[:, None, None]
    if mask is not None:
        may = may & torch.from_numpy(mask)
    added = torch.zeros((), dtype=q.dtype).masked_fill(~may, -torch.inf)
    added = added if bias is None else added + bias
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2)


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


def mean_squared_error(outputs, targets, weight, *, each=False):
    return F.mse_loss(outputs, targets, reduction=reduction(each), weight=constant(weight))


def mean_absolute_error(outputs, targets, weight, *, each=False):
    return F.l1_loss(outputs, targets, reduction=reduction(each), weight=constant(weight))


def huber(outputs, targets, weight, *, delta, each=False):
    return F.huber_loss(outputs, targets, reduction=reduction(each), delta=delta, weight=constant(weight))


def binary_cross_entropy(logits, targets, pos_weight, *, each=False):
    return F.binary_cross_entropy_with_logits(
        logits, targets.detach(), pos_weight=constant(pos_weight), reduction=reduction(each)
    )


def kl_divergence(log_probs, targets, *, each=False):
    if each:
        return F.kl_div(log_probs, targets.detach(), reduction="none").sum(dim=-1)
    return F.kl_div(log_probs, targets.detach(), reduction="sum")


def hinge(outputs, targets, *, margin, each=False):
    """One score ranked against 0."""
    sides, zeros = targets.to(outputs.dtype), torch.zeros_like(outputs)
    return F.margin_ranking_loss(outputs, zeros, sides, margin=margin, reduction=reduction(each))


def binary_focal(logits, targets, *, gamma=2.0, alpha=0.25, each=False):
    """As ``torchvision.ops.sigmoid_focal_loss`` computes it; PyTorch itself has none."""
    y = targets.to(logits.dtype)
    p = torch.sigmoid(logits)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none") * (p * (1 - y) + (1 - p) * y) ** gamma
    if alpha is not None:
        losses = (alpha * y + (1 - alpha) * (1 - y)) * losses
    return losses if each else losses.sum()


def focal(logits, targets, alpha, *, gamma=2.0, ignore_index=-100, each=False):
    """From PyTorch's cross-entropy, which is ``-log p``; where that is 0, autograd would divide by it."""
    nats = cross_entropy(logits, targets, None, ignore_index=ignore_index, each=True)
    weight = 1 if alpha is None else alpha.detach()[torch.where(targets != ignore_index, targets, 0).long()]
    q = -torch.expm1(-torch.where(nats > 0, nats, 1))
    losses = torch.where(nats > 0, weight * q**gamma * nats, 0)
    return losses if each else losses.sum()


def triplet(anchor, positive, negative, *, margin, each=False):
    lead, C = anchor.shape[:-1], anchor.shape[-1]
    rows = (x.reshape(-1, C) for x in (anchor, positive, negative))
    losses = F.triplet_margin_loss(*rows, margin=margin, reduction=reduction(each))
    return losses.reshape(lead) if each else losses


def reduction(each):
    return "none" if each else "sum"


def constant(weight):
    return None if weight is None else weight.detach()


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


def rms_norm(x, weight, *, eps):
    return F.rms_norm(x, weight.shape, weight, eps)


def swiglu(gate, up):
    return F.silu(gate) * up


def geglu(gate, up, *, approximate):
    return F.gelu(gate, approximate=approximate) * up


def rope(x, positions, *, base=10000.0, scaling=1.0):
    half = x.shape[-1] // 2
    angles = (positions.double() / scaling)[..., None, None] * base ** -(torch.arange(half).double() / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def group_norm(x, weight, bias, *, groups, eps):
    return torch.group_norm(x, groups, weight, bias, eps)


def l2_normalize(x, *, eps=1e-12):
    return F.normalize(x, dim=-1, eps=eps)


def assert_same(op: str, call: Call, seed: int = 0) -> None:
    """Compare outputs and gradients of ``minitrain.ops`` with PyTorch's.

    Args:
        op: name of the operation.
        call: its arguments, the floating ones all of one dtype.
        seed: of the random cotangents.
    """
    arguments = call.inputs
    dtype = next(a.dtype.type for a in arguments if a is not None and a.dtype.kind == "f")
    tensors = [None if a is None else _tensor(a) for a in arguments]
    expected = globals()[op](*tensors, **call.options)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    pair = registry()[op]
    *outputs, cache = pair.forward(*arguments, **call.options)
    outputs = [out.total if isinstance(out, tuple) else out for out in outputs]  # a Loss
    rng = np.random.default_rng(seed)
    cotangents = [rng.standard_normal(out.shape).astype(dtype) for out in outputs]
    gradients = pair.backward(*(float(c) if c.ndim == 0 else c for c in cotangents), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert len(gradients) == len(arguments)
    for i, (out, tensor) in enumerate(zip(outputs, expected, strict=True)):
        assert_close(out, tensor, TOLERANCE[dtype], f"output {i}")
    inputs = [i for i, t in enumerate(tensors) if t is not None and t.requires_grad]
    wanted = torch.autograd.grad(
        expected,
        [tensors[i] for i in inputs],
        [torch.from_numpy(np.asarray(c, np.float64)) for c in cotangents],
        allow_unused=True,  # class weights are constants
    )
    for i, gradient in zip(inputs, wanted, strict=True):
        if gradient is None:
            assert gradients[i] is None
        else:
            assert_close(gradients[i], gradient, TOLERANCE[dtype], f"gradient of argument {i}")


def assert_close(ours: Any, theirs: Tensor, tolerance: float, name: str) -> None:
    """Equal up to ``tolerance`` times the largest element, or times 1 where all are small."""
    wanted = theirs.detach().numpy()
    assert np.shape(ours) == wanted.shape, name
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=tolerance * scale, err_msg=name)


def _tensor(a: np.ndarray) -> Tensor:
    if a.dtype.kind in "iu":
        return torch.from_numpy(np.array(a))
    return torch.from_numpy(np.array(a, np.float64)).requires_grad_()
