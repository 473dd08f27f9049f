"""The mixture of experts: routing, its two losses, and the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.nn import FeedForward, GatedFeedForward, MixtureOfExperts
from minitrain.ops import (
    load_balancing_backward,
    load_balancing_forward,
    router_z_loss_backward,
    router_z_loss_forward,
    softmax_backward,
    softmax_forward,
    top_k_routing_backward,
    top_k_routing_forward,
)

WIDTH, EXPERTS = 6, 4


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    return generator(seed).standard_normal(shape).astype(dtype)


def mixture(kind: Any = FeedForward, dtype: Any = np.float64, **options: Any) -> MixtureOfExperts:
    """A layer with weights of ordinary size."""
    rng = generator(3)
    layer = MixtureOfExperts(
        WIDTH, [kind(WIDTH, 5, rng, dtype=dtype) for _ in range(EXPERTS)], rng, dtype=dtype, **options
    )
    for parameter in layer.parameters():
        parameter.data[...] = 0.5 * rng.standard_normal(parameter.data.shape)
    return layer


def gradients(layer: MixtureOfExperts) -> dict[str, Any]:
    return {path: parameter.grad.copy() for path, parameter in layer.named_parameters()}


# Routing.


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_ties_go_to_the_first_experts(k, normalize):
    gates, probs, experts, cache = top_k_routing_forward(np.zeros((3, 4)), k=k, normalize=normalize)
    np.testing.assert_array_equal(experts, np.broadcast_to(np.arange(k), (3, k)))
    np.testing.assert_allclose(probs, 0.25)
    np.testing.assert_allclose(gates, 1 / k if normalize else 0.25)
    assert np.isfinite(top_k_routing_backward(np.ones_like(gates), None, cache)).all()


def test_a_tie_further_down_keeps_the_order():
    _, _, experts, _ = top_k_routing_forward(np.arange(64)[None] % 2 * 1.0, k=40)  # so many that sorting could mix them
    assert experts[0].tolist() == [*range(1, 64, 2), *range(0, 16, 2)]
    _, _, experts, _ = top_k_routing_forward(np.array([[1.0, 2.0, 1.0, 3.0, 2.0]]), k=4)
    assert experts.tolist() == [[3, 1, 4, 0]]


def test_all_experts_without_scaling_are_the_softmax():
    """With k = E the gates are the probabilities in another order, and so are the gradients."""
    logits, dprobs = normal(5, 4), normal(5, 4, seed=1)
    gates, _, experts, cache = top_k_routing_forward(logits, k=4, normalize=False)
    expected, softmax_cache = softmax_forward(logits)
    np.testing.assert_allclose(gates, -np.sort(-expected, axis=-1))
    dgates = np.take_along_axis(dprobs, experts, axis=-1)
    wanted = softmax_backward(dprobs, softmax_cache)
    np.testing.assert_allclose(top_k_routing_backward(dgates, None, cache), wanted, atol=1e-14)
    np.testing.assert_allclose(top_k_routing_backward(None, dprobs, cache), wanted, atol=1e-14)


def test_the_gate_of_one_scaled_expert_is_constant():
    gates, _, _, cache = top_k_routing_forward(normal(5, 4), k=1)
    np.testing.assert_array_equal(gates, np.ones((5, 1)))
    np.testing.assert_allclose(top_k_routing_backward(normal(5, 1), None, cache), 0, atol=1e-15)


@pytest.mark.parametrize("k", [0, 5])
def test_a_choice_that_is_not_there_is_named(k):
    with pytest.raises(ShapeError, match=rf"top_k_routing_forward: k = {k} must be from 1 to E = 4"):
        top_k_routing_forward(normal(3, 4), k=k)
    with pytest.raises(ConfigError, match=rf"MixtureOfExperts: k={k} must be from 1 to the number of experts, 4"):
        mixture(k=k)


# The losses.


def test_balance_is_one_when_even_and_the_number_of_experts_when_not():
    even, experts = np.full((8, 4), 0.25), np.arange(16).reshape(8, 2) % 4
    assert load_balancing_forward(even, experts)[0].mean == pytest.approx(1)
    alone = np.eye(4)[np.zeros(8, int)]
    assert load_balancing_forward(alone, np.zeros((8, 1), int))[0].mean == pytest.approx(4)


def test_one_choice_a_token_is_the_loss_of_the_switch_transformer():
    """``E sum_i f_i P_i`` with the fraction of tokens f and the mean probability P."""
    probs, _ = softmax_forward(normal(10, 4))
    chosen = probs.argmax(axis=-1)
    fractions = np.array([(chosen == e).mean() for e in range(4)])
    loss, _ = load_balancing_forward(probs, chosen[:, None])
    assert loss.mean == pytest.approx(4 * fractions @ probs.mean(axis=0), rel=1e-12)


def test_the_gradient_lowers_busy_experts_most():
    probs, experts = np.full((6, 3), 1 / 3), np.array([0, 0, 0, 1, 1, 2])[:, None]
    _, cache = load_balancing_forward(probs, experts)
    dprobs, none = load_balancing_backward(1.0, cache)
    assert none is None
    np.testing.assert_allclose(dprobs, np.broadcast_to([1.5, 1, 0.5], (6, 3)))


def test_an_unknown_expert_is_named():
    with pytest.raises(TokenError, match=r"load_balancing_forward: experts\[1, 0\] = 3 is outside \[0, 3\)"):
        load_balancing_forward(np.full((2, 3), 1 / 3), np.array([[0], [3]]))


def test_no_tokens_have_no_loss():
    loss, cache = load_balancing_forward(np.zeros((0, 3)), np.zeros((0, 2), int))
    assert tuple(loss) == (0, 0)
    assert load_balancing_backward(1.0, cache)[0].shape == (0, 3)


def test_huge_logits_of_the_router_do_not_overflow():
    loss, cache = router_z_loss_forward(np.array([[1e4, 1e4], [-1e4, -1e4]], np.float32))
    np.testing.assert_allclose(loss.total, 2e8, rtol=1e-3)
    np.testing.assert_allclose(router_z_loss_backward(1.0, cache), [[1e4, 1e4], [-1e4, -1e4]], rtol=1e-3)


# The layer.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])  # in single precision the kernels compute
@pytest.mark.parametrize("kind", [FeedForward, GatedFeedForward])
@pytest.mark.parametrize(("k", "normalize"), [(1, False), (2, True), (3, False)])
def test_the_output_is_that_of_all_experts_masked(kind, k, normalize, dtype):
    """Every expert answers every token, and what was not chosen counts zero."""
    layer, x = mixture(kind, dtype, k=k, normalize=normalize), normal(2, 5, WIDTH, dtype=dtype)
    out, aux, cache = layer.forward(x)
    assert out.dtype == aux.dtype == layer.backward(out, 1.0, cache).dtype == dtype
    probs, _ = softmax_forward(x @ layer.router.weight.data.T)
    gates = np.where(probs >= np.sort(probs, axis=-1)[..., -k, None], probs, 0)  # (B, T, E)
    if normalize:
        gates = gates / gates.sum(axis=-1, keepdims=True)
    expected = sum(gates[..., e, None] * expert.forward(x)[0] for e, expert in enumerate(layer.experts))
    close = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(out, expected, rtol=close, atol=close)


def test_the_auxiliary_loss_is_a_weighted_total():
    layer, x = mixture(balance_weight=0.25, z_weight=0.5), normal(2, 5, WIDTH)
    _, aux, cache = layer.forward(x)
    logits = (x @ layer.router.weight.data.T).reshape(10, EXPERTS)
    _, probs, experts, _ = top_k_routing_forward(logits, k=2)
    balance, size = load_balancing_forward(probs, experts)[0], router_z_loss_forward(logits)[0]
    assert aux == pytest.approx(0.25 * balance.total + 0.5 * size.total, rel=1e-12)
    layer.backward(np.zeros_like(x), None, cache)
    assert not any(gradient.any() for gradient in gradients(layer).values())


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_an_expert_that_nobody_chose_gets_a_gradient_of_zero(kernels):
    """Also when it had one before: what an earlier batch left must not stay."""
    layer, x = mixture(dtype=np.float32), abs(normal(2, 5, WIDTH, dtype=np.float32)) + 0.1
    with use_kernels(kernels):
        for favour in (10.0, -10.0):
            layer.zero_grad()
            layer.router.weight.data[2] = favour
            out, aux, cache = layer.forward(x)
            layer.backward(np.ones_like(out), 1.0, cache)
            busy = {e for e in range(EXPERTS) if layer.experts[e].up.weight.grad.any()}
            assert (2 in busy) == (favour > 0)
    assert len(cache.caches[2].tokens) == 0
    assert not layer.experts[2].down.bias.grad.any()
    assert layer.router.weight.grad[2].any()  # the losses tell the router about it nevertheless
    assert np.isfinite(aux)


def test_ties_in_the_router_send_all_tokens_to_the_first_experts():
    layer, x = mixture(), normal(2, 5, WIDTH)
    layer.router.weight.data[...] = 0
    out, _, cache = layer.forward(x)
    assert [len(expert.tokens) for expert in cache.caches] == [10, 10, 0, 0]
    expected = (layer.experts[0].forward(x)[0] + layer.experts[1].forward(x)[0]) / 2
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert np.isfinite(layer.backward(np.ones_like(out), 1.0, cache)).all()


@settings(max_examples=10)
@given(cut=st.integers(1, 5))
def test_only_the_balance_depends_on_how_a_batch_is_split(cut):
    x, dout = normal(6, WIDTH), normal(6, WIDTH, seed=1)

    def summed(balance_weight: float, *parts: slice) -> dict[str, Any]:
        layer = mixture(balance_weight=balance_weight, z_weight=0.1)
        for rows in parts:
            _, _, cache = layer.forward(x[rows])
            layer.backward(dout[rows], 1.0, cache)
        return gradients(layer)

    whole, parts = slice(None), (slice(cut), slice(cut, None))
    for balance_weight in (0.0, 0.5):
        one, many = summed(balance_weight, whole), summed(balance_weight, *parts)
        same = {path: np.allclose(one[path], many[path], rtol=1e-9, atol=1e-12) for path in one}
        assert all(fits for path, fits in same.items() if path != "router.weight")
        assert same["router.weight"] or balance_weight > 0


def test_training_on_the_auxiliary_loss_spreads_the_tokens():
    """From a router that sends nearly all to one expert to one that uses all four alike."""
    layer, x = mixture(k=1, normalize=False, z_weight=0.0), normal(200, WIDTH) + 0.5
    layer.router.weight.data[...] = 0.01 * normal(EXPERTS, WIDTH, seed=1)
    layer.router.weight.data[0] += 0.3

    def visitors() -> list[int]:
        return [len(expert.tokens) for expert in layer.forward(x)[2].caches]

    assert max(visitors()) > 150
    for _ in range(200):
        layer.zero_grad()
        out, _, cache = layer.forward(x)
        layer.backward(np.zeros_like(out), 1.0, cache)
        layer.router.weight.data -= 0.01 * layer.router.weight.grad
    assert max(visitors()) < 70


def test_no_tokens():
    layer = mixture(dtype=np.float32)
    out, aux, cache = layer.forward(np.zeros((0, 3, WIDTH), np.float32))
    assert (out.shape, float(aux)) == ((0, 3, WIDTH), 0)
    assert layer.backward(out, 1.0, cache).shape == (0, 3, WIDTH)
    assert not any(gradient.any() for gradient in gradients(layer).values())


def test_a_layer_can_be_used_twice_before_its_backward():
    xs = normal(2, 5, WIDTH)
    layer = mixture()
    caches = [layer.forward(x)[2] for x in xs]
    for cache in caches:
        layer.backward(np.ones((5, WIDTH)), 1.0, cache)
    together = gradients(layer)
    layer.zero_grad()
    for x in xs:
        layer.backward(np.ones((5, WIDTH)), 1.0, layer.forward(x)[2])
    for path, gradient in gradients(layer).items():
        np.testing.assert_allclose(together[path], gradient, rtol=1e-12)
