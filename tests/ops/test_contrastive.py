"""Contrastive losses: closed forms, identities, edges, and what their learned temperature does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError, ShapeError
from minitrain.losses import InfoNCELoss, SigmoidContrastiveLoss, SupervisedContrastiveLoss
from minitrain.nn import ClipLoss, SiglipLoss, pack
from minitrain.ops import (
    cross_entropy_forward,
    info_nce_backward,
    info_nce_forward,
    registry,
    siglip_backward,
    siglip_forward,
    supervised_contrastive_backward,
    supervised_contrastive_forward,
)
from minitrain.optim import AdamW
from minitrain.testing.cases import CASES, SMALL
from minitrain.testing.strategies import arrays, integer_arrays, seeds

LOSSES = [name for name, case in CASES.items() if case.family == "contrastive"]
every_loss = pytest.mark.parametrize("name", LOSSES)
ZERO = np.array(0.0)


@pytest.fixture(autouse=True, params=["reference", "auto"])
def _mode(request):
    """Cross-entropy, which one of them is made of, has a kernel."""
    with use_kernels(request.param):
        yield


def features(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def number(value, dtype=np.float64):
    return np.array(value, dtype)


# What all of them have in common.


def samples(call):
    """Which inputs have a row for each sample."""
    return [i for i, x in enumerate(call.inputs) if x.ndim]


def replaced(call, change):
    return tuple(change(x) if i in samples(call) else x for i, x in enumerate(call.inputs))


@every_loss
@settings(max_examples=15)
@given(data=st.data(), seed=seeds())
def test_the_order_of_the_samples_does_not_matter(name, data, seed):
    call = data.draw(CASES[name].calls(SMALL))
    order = np.random.default_rng(seed).permutation(len(call.inputs[0]))
    options = call.options | {"each": True}
    each = registry()[name].forward(*call.inputs, **options)[0].total
    shuffled = registry()[name].forward(*replaced(call, lambda x: x[order]), **options)[0].total
    np.testing.assert_allclose(shuffled, each[order], rtol=1e-10, atol=1e-12)


@every_loss
@settings(max_examples=15)
@given(data=st.data())
def test_only_directions_count(name, data):
    """Longer features cost the same; a gradient never points along them, and shrinks as they grow."""
    call, pair = data.draw(CASES[name].calls(SMALL)), registry()[name]
    stretch = np.linspace(0.5, 3, len(call.inputs[0]))[:, None]
    options = call.options | {"each": False}
    stretched = replaced(call, lambda x: x * stretch if x.ndim == 2 else x)
    (loss, cache), (other, other_cache) = (pair.forward(*inputs, **options) for inputs in (call.inputs, stretched))
    np.testing.assert_allclose(other.total, loss.total, rtol=1e-9, atol=1e-12)
    for x, a, b in zip(call.inputs, pair.backward(1.0, cache), pair.backward(1.0, other_cache), strict=True):
        if x.ndim == 2:
            np.testing.assert_allclose(b * stretch, a, rtol=1e-7, atol=1e-10)
            np.testing.assert_allclose((a * x).sum(axis=-1), 0, atol=1e-9)


@every_loss
def test_samples_are_coupled(name):
    """The documented exception: the halves of a batch do not add up to the whole."""
    inputs = {
        "info_nce": (features(6, 4), features(6, 4, seed=1), ZERO),
        "siglip": (features(6, 4), features(6, 4, seed=1), ZERO, ZERO),
        "supervised_contrastive": (features(6, 4), np.array([0, 0, 1, 1, 0, 1])),
    }[name]

    def total(rows):
        return registry()[name].forward(*(x[rows] if x.ndim else x for x in inputs))[0].total

    assert abs(total(slice(None)) - total(slice(0, 3)) - total(slice(3, 6))) > 0.1


@every_loss
def test_nan_is_seen_in_the_loss_and_in_every_gradient(name):
    inputs = {
        "info_nce": (features(4, 3), features(4, 3, seed=1), ZERO),
        "siglip": (features(4, 3), features(4, 3, seed=1), ZERO, ZERO),
        "supervised_contrastive": (features(4, 3), np.array([0, 0, 1, 1])),
    }[name]
    inputs[0][2, 1] = np.nan
    loss, cache = registry()[name].forward(*inputs)
    assert np.isnan(loss.total)
    for gradient in registry()[name].backward(1.0, cache):
        assert gradient is None or np.isnan(gradient).any()


@every_loss
@pytest.mark.parametrize("size", [1e4, 1e-15, 1e-40])
def test_lengths_at_the_edges_of_single_precision(name, size):
    """All is finite; features too short to have a direction in single precision are all but right-angled."""
    x, y = (features(4, 3, seed=i, dtype=np.float32) * np.float32(size) for i in range(2))
    inputs = {
        "info_nce": (x, y, number(9, np.float32)),
        "siglip": (x, y, number(9, np.float32), number(-1e4, np.float32)),
        "supervised_contrastive": (x, np.array([0, 0, 1, 1])),
    }[name]
    loss, cache = registry()[name].forward(*inputs)
    assert np.isfinite(loss.total)
    for gradient in registry()[name].backward(1.0, cache):
        assert gradient is None or np.isfinite(gradient).all()


# Symmetric InfoNCE.


def test_features_that_say_nothing_cost_ln_n():
    for N in (1, 2, 7):
        same = np.ones((N, 3))
        loss, cache = info_nce_forward(same, same, number(3.0))
        np.testing.assert_allclose(loss.mean, math.log(N), rtol=1e-12, atol=1e-14)
        assert info_nce_backward(1.0, cache)[2] == pytest.approx(0, abs=1e-12)


def test_right_answers_cost_little_and_wrong_ones_the_factor():
    """Partners are equal, all others at right angles: a softmax over a factor and zeros. Then each has another's."""
    N, factor = 5, 20.0
    right, swapped = np.eye(N), np.roll(np.eye(N), 1, axis=0)
    good, _ = info_nce_forward(right, right, number(math.log(factor)))
    bad, _ = info_nce_forward(right, swapped, number(math.log(factor)))
    normaliser = math.log(math.exp(factor) + N - 1)
    np.testing.assert_allclose([good.mean, bad.mean], [normaliser - factor, normaliser], rtol=1e-6)


@settings(max_examples=20)
@given(data=st.data())
def test_swapping_images_and_texts_changes_nothing(data):
    image, text = data.draw(arrays((5, 3))), data.draw(arrays((5, 3)))
    (loss, cache), (other, other_cache) = (info_nce_forward(*pair, ZERO) for pair in ((image, text), (text, image)))
    np.testing.assert_allclose(other.total, loss.total, rtol=1e-12)
    for a, b in zip(
        info_nce_backward(1.0, cache)[:3], [info_nce_backward(1.0, other_cache)[i] for i in (1, 0, 2)], strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_factor_has_a_limit_beyond_which_it_has_no_gradient():
    image, text = features(5, 3), features(5, 3, seed=1)
    at, below, beyond = (info_nce_forward(image, text, number(math.log(100) + d)) for d in (0, -0.1, 2))
    np.testing.assert_allclose(beyond[0].total, at[0].total, rtol=1e-12)
    assert below[0].total != at[0].total
    slopes = [info_nce_backward(1.0, cache)[2] for _, cache in (at, below, beyond)]
    assert slopes[0] != 0
    assert slopes[1] != 0
    assert slopes[2] == 0


@pytest.mark.parametrize(
    ("forward", "backward", "numbers"),
    [(info_nce_forward, info_nce_backward, (ZERO,)), (siglip_forward, siglip_backward, (ZERO, ZERO))],
)
def test_pairs_of_one_group_are_no_negatives_of_each_other(forward, backward, numbers):
    """Equal texts cost nothing then; a pair's gradient does not know of the others in its group."""
    image, text = features(5, 3), features(5, 3, seed=1)
    groups = np.array([4, 7, 4, 1, 4])
    losses, cache = forward(image, text, *numbers, groups, each=True)
    for row in (0, 2, 4):
        others = [row, 1, 3]
        alone = forward(image[others], text[others], *numbers, each=True)[0].total[0]
        np.testing.assert_allclose(losses.total[row], alone, rtol=1e-12)
    dimage = backward(np.array([1.0, 0, 0, 0, 0]), cache)[0]
    assert dimage[[0]].all()
    assert not dimage[[2, 4]].any()
    for apart in (np.arange(5), None):
        np.testing.assert_array_equal(
            forward(image, text, *numbers, apart)[0].total, forward(image, text, *numbers)[0].total
        )
    assert forward(image, text, *numbers, groups)[0].total < forward(image, text, *numbers)[0].total


# SigLIP.


def test_siglip_at_its_beginning_costs_little_for_each_no_and_much_for_each_yes():
    """Right angles everywhere: only the bias speaks, and it says no."""
    N = 3
    image, text = np.eye(2 * N)[:N], np.eye(2 * N)[N:]
    loss, cache = siglip_forward(image, text, number(math.log(10)), number(-10.0))
    yes, no = math.log1p(math.exp(10)), math.log1p(math.exp(-10))
    np.testing.assert_allclose(loss.mean, yes + (N - 1) * no, rtol=1e-12)
    p = 1 / (1 + math.exp(10))
    np.testing.assert_allclose(siglip_backward(1.0, cache)[3], N * (p - 1) + N * (N - 1) * p, rtol=1e-12)


@settings(max_examples=20)
@given(data=st.data())
def test_a_batch_of_one_pair_is_a_yes_or_no_question(data):
    image, text = data.draw(arrays((1, 4))), data.draw(arrays((1, 4)))
    cosine = (image @ text.T)[0, 0] / math.hypot(*image[0]) / math.hypot(*text[0])
    loss, _ = siglip_forward(image, text, number(0.7), number(-0.3))
    np.testing.assert_allclose(loss.total, math.log1p(math.exp(-(math.exp(0.7) * cosine - 0.3))), rtol=1e-10)


@pytest.mark.parametrize("bias", [1e4, -1e4])
def test_siglip_with_huge_log_odds(bias):
    """A question answered wrongly costs its log-odds; none overflows."""
    N = 3
    loss, cache = siglip_forward(
        *(features(N, 4, seed=i, dtype=np.float32) for i in (0, 1)), *(number(x, np.float32) for x in (0, bias))
    )
    wrong = N * (N - 1) if bias > 0 else N
    np.testing.assert_allclose(loss.total, 1e4 * wrong, rtol=1e-3)
    np.testing.assert_allclose(siglip_backward(1.0, cache)[3], math.copysign(wrong, bias), rtol=1e-6)


# Supervised contrastive.


@settings(max_examples=20)
@given(data=st.data(), temperature=st.sampled_from([0.1, 1.0]))
def test_two_views_of_each_sample_are_a_choice_among_the_others(data, temperature):
    """With classes of two, the loss of an anchor is the cross-entropy of its partner (SimCLR's NT-Xent)."""
    N, x = 4, data.draw(arrays((8, 5)))
    loss, _ = supervised_contrastive_forward(x, np.arange(2 * N) % N, temperature=temperature)
    unit = x / np.sqrt((x * x).sum(axis=-1, keepdims=True))
    others = np.array([[j for j in range(2 * N) if j != i] for i in range(2 * N)])  # (2N, 2N - 1)
    logits = np.take_along_axis(unit @ unit.T / temperature, others, axis=1)
    partners = np.array([list(row).index((i + N) % (2 * N)) for i, row in enumerate(others)])
    expected, _ = cross_entropy_forward(logits, partners)
    np.testing.assert_allclose(loss.total, expected.total, rtol=1e-9)
    assert loss.count == 2 * N


def test_a_sample_alone_in_its_class_does_not_count_but_pushes():
    x, labels = features(5, 3), np.array([7, 7, 2, 7, 9])
    each, cache = supervised_contrastive_forward(x, labels, temperature=0.5, each=True)
    np.testing.assert_array_equal(each.total == 0, [False, False, True, False, True])
    assert each.count == 3
    gradient = supervised_contrastive_backward(np.ones(5), cache)[0]
    assert gradient[[2, 4]].any()  # the others keep away from it
    only = supervised_contrastive_backward(np.array([0.0, 0, 1, 0, 1]), cache)[0]
    assert not only.any()  # its own loss says nothing


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_nothing_but_lone_samples(labels):
    loss, cache = supervised_contrastive_forward(features(len(labels), 3), np.array(labels))
    assert loss.total == 0
    assert loss.count == 0
    assert math.isnan(loss.mean)
    assert not supervised_contrastive_backward(1.0, cache)[0].any()
    assert math.isnan(
        SupervisedContrastiveLoss(reduction="mean").forward(features(len(labels), 3), np.array(labels))[0]
    )


# Refused calls.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: info_nce_forward(features(3, 4), features(2, 4), ZERO), ShapeError, r"text has .* N = 3 as in image"),
        (lambda: info_nce_forward(features(3, 4), features(3, 5), ZERO), ShapeError, r"text has .* C = 4 as in image"),
        (lambda: info_nce_forward(*two(), np.zeros(1)), ShapeError, r"log_scale has shape \(1,\), expected 0 dim"),
        (lambda: info_nce_forward(*two(), ZERO, limit=0.0), ShapeError, r"info_nce_forward: limit = 0.0 must be pos"),
        (
            lambda: info_nce_forward(*two(), ZERO, np.zeros(2, int)),
            ShapeError,
            r"groups has shape \(2,\), expected \(N\)",
        ),
        (lambda: siglip_forward(*two(), ZERO, np.float32(0)), ShapeError, r"bias must be a NumPy or CuPy array"),
        (lambda: siglip_forward(*two(), ZERO, number(0, np.float32)), ShapeError, r"bias is float32 but image is fl"),
        (lambda: supervised(np.zeros(2, int)), ShapeError, r"labels has shape \(2,\), expected \(N\) with N = 3"),
        (lambda: supervised(np.zeros(3)), ShapeError, r"labels must hold integers, got float64"),
        (lambda: supervised(temperature=0.0), ShapeError, r"temperature = 0.0 must be positive"),
        (lambda: supervised(temperature=math.nan), ShapeError, r"temperature = nan must be positive"),
        (lambda: InfoNCELoss(temperature=0.0), ConfigError, r"InfoNCELoss: temperature=0.0 must be positive"),
        (lambda: SigmoidContrastiveLoss(-1.0), ConfigError, r"SigmoidContrastiveLoss: temperature=-1.0 must be pos"),
        (lambda: SupervisedContrastiveLoss(0.0), ConfigError, r"SupervisedContrastiveLoss: temperature=0.0 must"),
        (lambda: ClipLoss(initial=200.0), ConfigError, r"initial = 200.0 must be positive and at most limit = 100"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def two():
    return features(3, 4), features(3, 4, seed=1)


def supervised(labels=None, **options):
    return supervised_contrastive_forward(features(3, 4), np.zeros(3, int) if labels is None else labels, **options)


# Losses that learn.


def test_learned_values_start_where_the_papers_do():
    clip, siglip = ClipLoss().state_dict(), SiglipLoss().state_dict()
    assert clip == {"temperature.log_scale": pytest.approx(-math.log(0.07))}
    assert siglip == {"temperature.log_scale": pytest.approx(math.log(10)), "bias": pytest.approx(-10)}


@pytest.mark.parametrize("kind", [ClipLoss, SiglipLoss])
def test_with_fixed_settings_they_are_the_plain_losses(kind):
    image, text = two()
    module = kind(dtype=np.float64)
    loss, cache = module.forward(image, text)
    plain = InfoNCELoss(0.07) if kind is ClipLoss else SigmoidContrastiveLoss(0.1, -10.0)
    expected, plain_cache = plain.forward(image, text)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for a, b in zip(module.backward(1.0, cache), plain.backward(1.0, plain_cache), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", [ClipLoss, SiglipLoss])
def test_temperature_and_bias_are_learned(kind):
    """Features that fit perfectly want a larger factor; packed or not, without decay."""
    module = kind()
    pack(module)
    optimizer = AdamW(module, weight_decay=0.1)
    x = np.eye(4, dtype=np.float32)
    losses, before = [], float(module.temperature.log_scale.data)
    for _ in range(20):
        module.zero_grad()
        loss, cache = module.forward(x, x)
        module.backward(1 / loss.count, cache)
        optimizer.set_lr(0.05)
        optimizer.step(1.0)
        losses.append(loss.mean)
    assert losses[-1] < losses[0]
    assert float(module.temperature.log_scale.data) > before
    if kind is ClipLoss:
        assert float(module.temperature.log_scale.data) <= math.log(100) + 1e-6
    else:
        assert float(module.bias.data) != -10


@settings(max_examples=10)
@given(data=st.data())
def test_labels_of_any_integer_type(data):
    x, labels = data.draw(arrays((6, 3))), data.draw(integer_arrays((6,), 3))
    totals = [
        supervised_contrastive_forward(x, labels.astype(dtype))[0].total for dtype in (np.int64, np.int32, np.uint8)
    ]
    assert totals[0] == totals[1] == totals[2]
