"""What operations compute, restated as plainly as possible: a mistake made in forward and backward alike shows here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.ops import dropout_backward, dropout_forward, rope_forward
from minitrain.random import Key
from minitrain.testing.cases import CASES, SMALL
from tests.helpers import plain_images, plain_losses, plain_routing, plain_sequences
from tests.helpers.plain_losses import total_of
from tests.helpers.plain_operations import plain_attention, plain_rms_norm, plain_rope


def plain_cross_entropy(
    logits,
    targets,
    class_weight=None,
    *,
    label_smoothing=0.0,
    ignore_index=-100,
    z_loss=0.0,
    others_only=False,
    each=False,
):
    V = logits.shape[-1]
    weight = np.ones(V) if class_weight is None else class_weight
    losses, count = np.zeros(logits.shape[:-1]), 0.0
    for i in np.ndindex(losses.shape):
        z, y = logits[i], targets[i]
        if y != ignore_index:
            log_normaliser = math.log(sum(math.exp(other) for other in z))
            smoothed = [c for c in range(V) if not (others_only and c in (y, ignore_index))]
            aims = [(1 - label_smoothing) * (c == y) for c in range(V)]
            for c in smoothed:
                aims[c] += label_smoothing / len(smoothed)
            losses[i] = sum(aim * w * (log_normaliser - own) for aim, w, own in zip(aims, weight, z, strict=True))
            losses[i] += z_loss * weight[y] * log_normaliser**2
            count += weight[y]
    return total_of(losses, count, each)


def plain_linear_cross_entropy(hidden, weight, targets, bias=None, class_weight=None, *, chunk, gradients, **options):
    return plain_cross_entropy(plain_linear(hidden, weight, bias), targets, class_weight, **options)


def plain_focal(logits, targets, alpha=None, *, gamma=2.0, ignore_index=-100, each=False):
    losses, count = np.zeros(logits.shape[:-1]), 0
    for i in np.ndindex(losses.shape):
        if targets[i] != ignore_index:
            p = math.exp(logits[i][targets[i]]) / sum(math.exp(z) for z in logits[i])
            losses[i] = -(1 if alpha is None else alpha[targets[i]]) * (1 - p) ** gamma * math.log(p)
            count += 1
    return total_of(losses, count, each)


def plain_pointer(logits, q, k, gate, source, *, key_lengths=None):
    p = plain_softmax(logits)
    for b, t, v in np.ndindex(p.shape):
        real = source.shape[1] if key_lengths is None else min(int(key_lengths[b]), source.shape[1])
        if real:
            looks = [math.exp(q[b, t] @ k[b, s] / math.sqrt(q.shape[-1])) for s in range(real)]
            copied = sum(look for s, look in enumerate(looks) if source[b, s] == v) / sum(looks)
            g = 1 / (1 + math.exp(-gate[b, t]))
            p[b, t, v] = g * p[b, t, v] + (1 - g) * copied
    return np.log(p)


def plain_unlikelihood(logits, unwanted, *, ignore_index=-100, each=False):
    losses, count = np.zeros(logits.shape[:-1]), 0
    for i in np.ndindex(losses.shape):
        if unwanted[i] != ignore_index:
            powers = [math.exp(z) for z in logits[i]]
            others = sum(power for k, power in enumerate(powers) if k != unwanted[i])
            losses[i] = -math.log(others / sum(powers))
            count += 1
    return total_of(losses, count, each)


def plain_elementwise(one):
    """A loss that ``one`` computes from an output, a target and the options, perhaps weighted."""

    def loss(outputs, targets, weight=None, *, each=False, **options):
        weight = np.ones(outputs.shape) if weight is None else weight
        losses = np.zeros(outputs.shape)
        for i in np.ndindex(outputs.shape):
            losses[i] = weight[i] * one(outputs[i], targets[i], **options)
        return total_of(losses, sum(weight.reshape(-1)), each)

    return loss


def plain_huber(x, y, delta):
    e = abs(x - y)
    return e * e / 2 if e <= delta else delta * (e - delta / 2)


def plain_binary_focal(x, y, gamma=2.0, alpha=0.25):
    p = 1 / (1 + math.exp(-x)) if y == 1 else 1 / (1 + math.exp(x))
    a = 1 if alpha is None else alpha if y == 1 else 1 - alpha
    return -a * (1 - p) ** gamma * math.log(p)


def plain_binary_cross_entropy(logits, targets, pos_weight=None, *, each=False):
    pos_weight = np.ones(logits.shape[-1]) if pos_weight is None else pos_weight
    losses = np.zeros(logits.shape)
    for i in np.ndindex(logits.shape):
        p = 1 / (1 + math.exp(-logits[i]))
        losses[i] = -pos_weight[i[-1]] * targets[i] * math.log(p) - (1 - targets[i]) * math.log(1 - p)
    return total_of(losses, losses.size, each)


def plain_kl_divergence(log_probs, targets, *, each=False):
    losses = np.zeros(targets.shape[:-1])
    for i in np.ndindex(targets.shape):
        if targets[i] > 0:
            losses[i[:-1]] += targets[i] * math.log(targets[i] / math.exp(log_probs[i]))
    return total_of(losses, losses.size, each)


def plain_triplet(anchor, positive, negative, *, margin, each=False):
    losses = np.zeros(anchor.shape[:-1])
    for i in np.ndindex(losses.shape):
        near, far = (math.hypot(*(anchor[i] - other[i] + 1e-6)) for other in (positive, negative))
        losses[i] = max(0, near - far + margin)
    return total_of(losses, losses.size, each)


def plain_layer_norm(x, weight, bias=None, *, eps=1e-5):
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        row = x[i]
        out[i] = (row - np.mean(row)) / math.sqrt(np.var(row) + eps) * weight + (0 if bias is None else bias)
    return out


def plain_gelu(x, *, approximate="tanh"):
    def one(z):
        if approximate == "tanh":
            return 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
        return 0.5 * z * (1 + math.erf(z / math.sqrt(2)))

    return np.vectorize(one, otypes=[float])(x)


def plain_softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def plain_linear(x, weight, bias=None):
    return np.einsum("...k,nk->...n", x, weight) + (0 if bias is None else bias)


def elementwise(function):
    return np.vectorize(function, otypes=[float])


def plain_sigmoid(z):
    return 1 / (1 + math.exp(-z))


def plain_group_norm(x, weight, bias=None, *, groups, eps=1e-5):
    out, size = np.empty_like(x), x.shape[1] // groups
    for b, c in np.ndindex(x.shape[:2]):
        first = c // size * size
        group = x[b, first : first + size]
        out[b, c] = (x[b, c] - np.mean(group)) / math.sqrt(np.var(group) + eps) * weight[c]
        out[b, c] += 0 if bias is None else bias[c]
    return out


def plain_l2_normalize(x, *, eps=1e-12):
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        out[i] = x[i] / max(math.sqrt(sum(z * z for z in x[i])), eps)
    return out


PLAIN = (
    plain_images.PLAIN
    | plain_losses.PLAIN
    | plain_routing.PLAIN
    | plain_sequences.PLAIN
    | {
        "l2_normalize": plain_l2_normalize,
        "group_norm": plain_group_norm,
        "rope": plain_rope,
        "geglu": lambda gate, up, **form: plain_gelu(gate, **form) * up,
        "swiglu": elementwise(lambda gate, up: gate * plain_sigmoid(gate) * up),
        "rms_norm": plain_rms_norm,
        "relu": elementwise(lambda z: z if z > 0 else 0.0),
        "sigmoid": elementwise(plain_sigmoid),
        "silu": elementwise(lambda z: z * plain_sigmoid(z)),
        "softplus": elementwise(lambda z: math.log(1 + math.exp(z))),
        "tanh": elementwise(lambda z: (math.exp(z) - math.exp(-z)) / (math.exp(z) + math.exp(-z))),
        "attention": plain_attention,
        "binary_cross_entropy": plain_binary_cross_entropy,
        "binary_focal": plain_elementwise(plain_binary_focal),
        "cross_entropy": plain_cross_entropy,
        "embedding": lambda tokens, weight, **_: np.array([weight[t] for t in np.reshape(tokens, -1)]).reshape(
            *tokens.shape, weight.shape[1]
        ),
        "focal": plain_focal,
        "unlikelihood": plain_unlikelihood,
        "float8_linear": lambda x, *affine, gelu: plain_linear(
            x if gelu is None else plain_gelu(x, approximate=gelu), *affine
        ),
        "gelu": plain_gelu,
        "gelu_linear": lambda hidden, *affine, **form: plain_linear(plain_gelu(hidden, **form), *affine),
        "hinge": plain_elementwise(lambda x, y, margin: max(0, margin - y * x)),
        "huber": plain_elementwise(plain_huber),
        "kl_divergence": plain_kl_divergence,
        "layer_norm": plain_layer_norm,
        "linear": plain_linear,
        "linear_cross_entropy": plain_linear_cross_entropy,
        "low_rank": lambda x, a, b, *, scale: scale * np.einsum("...k,rk,nr->...n", x, a, b),
        "mean_absolute_error": plain_elementwise(lambda x, y: abs(x - y)),
        "mean_squared_error": plain_elementwise(lambda x, y: (x - y) ** 2),
        "pointer": plain_pointer,
        "residual": lambda x, branch: x + branch,
        "residual_layer_norm": lambda x, branch, *norm, **eps: (x + branch, plain_layer_norm(x + branch, *norm, **eps)),
        "residual_rms_norm": lambda x, branch, *norm, **eps: (x + branch, plain_rms_norm(x + branch, *norm, **eps)),
        "scale": lambda x, log_scale, *, limit: x * min(math.exp(log_scale), limit),
        "softmax": plain_softmax,
        "triplet": plain_triplet,
    }
)


def test_every_operation_but_the_random_ones_is_restated():
    assert PLAIN.keys() | {"dropout", "drop_path"} == CASES.keys()


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=40)
@given(st.data())
def test_the_value_is_the_plain_one(name, data):
    call = data.draw(CASES[name].calls(SMALL))
    options = {k: v for k, v in call.options.items() if k not in ("key", "dropout")}
    *outputs, _ = CASES[name].pair.forward(*call.inputs, **options)
    expected = PLAIN[name](*call.inputs, **options)
    outputs = outputs[0] if isinstance(outputs[0], tuple) else outputs
    expected = expected if isinstance(expected, tuple) else (expected,)
    for actual, plain in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p, dtype):
    """A share p is zero, the rest is scaled so that the expectation stays; the backward has the same mask."""
    x = np.ones((1000, 200), dtype)
    out, cache = dropout_forward(x, p=p, key=Key.from_seed(4))
    kept = out != 0
    np.testing.assert_allclose(out[kept], 1 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / x.size)
    assert abs(kept.mean(axis=0) - (1 - p)).max() < 5 * math.sqrt(p * (1 - p) / len(x))  # no column is favoured
    np.testing.assert_array_equal(dropout_backward(x, cache), out)


def test_attention_drops_probabilities():
    """With one key of weight 1, dropout of probabilities is dropout of whole value vectors."""
    v = np.ones((400, 1, 1, 3))
    out, _ = CASES["attention"].pair.forward(v, v, v, dropout=0.25, key=Key.from_seed(2))
    assert set(np.unique(out.round(12))) == {0, round(1 / 0.75, 12)}
    assert (out == out[..., :1]).all()
    assert abs((out != 0).mean() - 0.75) < 0.1


def test_rope_scores_depend_on_the_distance_alone():
    q, k = np.random.default_rng(3).standard_normal((2, 1, 5, 2, 8))
    near, far = np.array([3, 0, 7, 7, 2]), 100_000

    def scores(shift):
        return (rope_forward(q, near + shift)[0] * rope_forward(k, near[::-1] + shift)[0]).sum(axis=-1)

    np.testing.assert_allclose(scores(far), scores(0), rtol=1e-9, atol=1e-9)
    assert abs(scores(0) - (q * k).sum(axis=-1)).max() > 0.1


def test_rope_turns_nothing_at_position_zero():
    x = np.random.default_rng(0).standard_normal((2, 3, 1, 4)).astype(np.float32)
    out, _ = rope_forward(x, np.array([0, 1, 0]))
    np.testing.assert_array_equal(out[:, ::2], x[:, ::2])
    assert (out[:, 1] != x[:, 1]).all()


def test_rope_tells_far_neighbours_apart_in_single_precision():
    """The angles are computed in double precision, whatever x is."""
    x, far = np.random.default_rng(0).standard_normal((1, 4, 2, 8)), 1_000_003 + np.arange(4)
    exact, _ = rope_forward(x, far, scaling=3.0)
    np.testing.assert_allclose(rope_forward(x.astype(np.float32), far, scaling=3.0)[0], exact, rtol=1e-5, atol=1e-6)
