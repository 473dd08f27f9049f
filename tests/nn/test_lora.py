"""Low-rank adapters: what they start as, what they train, what is left when they are merged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError, MinitrainError
from minitrain.nn import (
    FeedForward,
    Linear,
    LoRALinear,
    MixtureOfExperts,
    Module,
    add_lora,
    lora_state_dict,
    merge_lora,
    pack,
)
from minitrain.ops import SKIP, Into
from minitrain.optim import AdamW
from tests.helpers.model_checks import KEY, gradients_of, stir
from tests.helpers.model_zoo import KINDS

GPT, INNER = KINDS["gpt"], ("*attention*", "*feed_forward*")
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def adapted(rank: int = 2, alpha: float = 6.0, **options: Any) -> LoRALinear:
    """A layer whose B is no longer zero."""
    layer = LoRALinear(Linear(4, 3, generator(), dtype=np.float64), rank, alpha, generator(1), **options)
    layer.lora_b.data[...] = generator(2).standard_normal((3, rank))
    return layer


def learn(model: Module, seed: int = 5) -> None:
    """Adapters as after some training."""
    rng = generator(seed)
    for array in lora_state_dict(model).values():
        array[...] = 0.3 * rng.standard_normal(array.shape)


def total(kind: Any, model: Any) -> float:
    return float(model.loss(kind.batch(dtype=np.float64))[0].total)


# The layer.


def test_the_output_has_the_correction():
    layer, x = adapted(), generator(3).standard_normal((5, 4))
    layer.base.bias.data[...] = [1, 2, 3]
    weight = layer.base.weight.data + 6 / 2 * layer.lora_b.data @ layer.lora_a.data
    np.testing.assert_allclose(layer.forward(x)[0], x @ weight.T + [1, 2, 3], rtol=1e-12)


def test_a_new_adapter_changes_nothing():
    base, x = Linear(4, 3, generator()), generator(3).standard_normal((5, 4)).astype(np.float32)
    layer = LoRALinear(base, 2, 1.0, generator(1))
    np.testing.assert_array_equal(layer.forward(x)[0], base.forward(x)[0])
    assert layer.lora_a.data.dtype == layer.lora_b.data.dtype == np.float32
    assert layer.lora_a.data.any()


def test_the_size_of_what_the_first_matrix_makes_is_that_of_the_input():
    layer = LoRALinear(Linear(400, 3, generator()), 100, 1.0, generator(1))
    x = generator(3).standard_normal((50, 400)).astype(np.float32)
    assert (x @ layer.lora_a.data.T).std() == pytest.approx(1, rel=0.1)


def test_only_the_adapter_gets_gradients():
    layer, x = adapted(), generator(3).standard_normal((5, 4))
    out, cache = layer.forward(x)
    layer.backward(np.ones_like(out), cache)
    assert {path for path, p in layer.named_parameters() if p.grad.any()} == {"lora_a", "lora_b"}


def test_the_gradient_of_the_input_goes_where_it_shall():
    layer, x = adapted(), generator(3).standard_normal((5, 4))
    out, cache = layer.forward(x)
    dout = generator(4).standard_normal(out.shape)
    dx = layer.backward(dout, cache)
    held = np.full_like(x, 7)
    assert layer.backward(dout, cache, dx=Into(held, accumulate=True)) is held
    np.testing.assert_allclose(held, dx + 7, rtol=1e-12)
    layer.zero_grad()
    assert layer.backward(dout, cache, dx=SKIP) is None
    assert layer.lora_b.grad.any()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_the_fusion_with_gelu_equals_the_merged_one(approximate):
    layer, x = adapted(), generator(3).standard_normal((5, 4))
    out, cache = layer.forward_after_gelu(x, approximate=approximate)
    dx = layer.backward_after_gelu(np.ones_like(out), cache)
    merged = layer.merge()
    expected, cache = merged.forward_after_gelu(x, approximate=approximate)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    np.testing.assert_allclose(dx, merged.backward_after_gelu(np.ones_like(out), cache), rtol=1e-12)


def test_dropout_drops_inputs_of_the_correction_alone():
    layer, x = adapted(dropout=0.5), generator(3).standard_normal((40, 4))
    plain, _ = layer.base.forward(x)
    np.testing.assert_array_equal(layer.forward(x)[0], adapted().forward(x)[0])  # evaluation
    dropped, _ = layer.forward(x, key=KEY)
    unchanged = (dropped == plain).all(axis=1)  # all four elements of a row dropped, one in 16
    assert 0 < unchanged.sum() < 20
    assert abs(dropped - layer.forward(x)[0]).max() > 0.1


@pytest.mark.parametrize(("rank", "alpha", "dropout"), [(0, 1.0, 0.0), (2, 0.0, 0.0), (2, 1.0, 1.0)])
def test_impossible_settings_are_named(rank, alpha, dropout):
    message = rf"rank={rank} must be 1 or more, alpha={alpha} positive, and dropout={dropout} in \[0, 1\)"
    with pytest.raises(ConfigError, match=message):
        LoRALinear(Linear(4, 3, generator()), rank, alpha, generator(), dropout=dropout)


# Models.


@kinds
def test_adapters_in_every_model(kind):
    """In all linear layers inside, at once: the merged model computes the same, and its gradients give the adapters'.

    With ``W = base + scale B A`` the chain rule says ``dB = scale dW A^T`` and ``dA = scale B^T dW``.
    """
    model, batch = stir(kind.build(dtype=np.float64)), kind.batch(dtype=np.float64)
    before, names = total(kind, model), dict(model.named_parameters()).keys()
    paths = add_lora(model, 2, 6.0, targets=("blocks.*", "layers.*", "encoder.*", "decoder.*", "patch_emb.*"))
    assert total(kind, model) == before  # the corrections are zero
    learn(model)
    adapters = {path: array.copy() for path, array in lora_state_dict(model).items()}
    gradients, changed = gradients_of(model, [batch]), total(kind, model)
    assert {path for path, gradient in gradients.items() if gradient.any()} == adapters.keys()
    assert abs(changed - before) > 1e-3

    assert merge_lora(model) == paths
    assert dict(model.named_parameters()).keys() == names
    assert total(kind, model) == pytest.approx(changed, rel=1e-10)
    for parameter in model.parameters():
        parameter.trainable = True
    merged = gradients_of(model, [batch])
    for path in paths:
        dW, A, B = merged[f"{path}.weight"], adapters[f"{path}.lora_a"], adapters[f"{path}.lora_b"]
        np.testing.assert_allclose(gradients[f"{path}.lora_b"], 3 * dW @ A.T, rtol=1e-8, atol=1e-10, err_msg=path)
        np.testing.assert_allclose(gradients[f"{path}.lora_a"], 3 * B.T @ dW, rtol=1e-8, atol=1e-10, err_msg=path)


def test_training_moves_the_adapters_alone():
    """Packed: the frozen weights have no place in the buffers; and merged, the model computes what it learned."""
    model, batch = stir(GPT.build()), GPT.batch()
    frozen = {path: array.copy() for path, array in model.state_dict().items()}
    paths = add_lora(model, 2, 4.0, targets=INNER)
    groups = pack(model)
    assert {path for group in groups for path in group.spans} == lora_state_dict(model).keys()
    optimizer, losses = AdamW(model, lr=0.02), []
    for _ in range(10):
        optimizer.zero_grad()
        loss, cache = model.loss(batch)
        model.loss_backward(cache)
        optimizer.step(1 / float(loss.count))
        losses.append(loss.mean)
    assert losses[-1] < 0.9 * losses[0]
    for path, array in model.state_dict().items():
        if not path.endswith(("lora_a", "lora_b")):
            np.testing.assert_array_equal(array, frozen[path.replace(".base.", ".")], err_msg=path)
    learned = model.loss(batch)[0].mean
    assert merge_lora(model) == paths
    assert model.loss(batch)[0].mean == pytest.approx(learned, rel=1e-5)
    assert pack(model) == []  # nothing is trainable until it is freed
    model.norm.weight.trainable = True
    del model.flat
    assert [list(group.spans) for group in pack(model)] == [["norm.weight"]]


def test_adapters_are_saved_alone_and_brought_back():
    one, two = (stir(GPT.build(dtype=np.float64)) for _ in range(2))
    for seed, model in enumerate((one, two)):
        add_lora(model, 2, 4.0, seed=seed)
    learn(one)
    state = lora_state_dict(one)
    assert len(state) == 2 * 2 * len(one.blocks)  # A and B of the two linear layers of each attention
    assert sum(array.size for array in state.values()) < 0.3 * one.parameter_count()
    assert total(GPT, one) != total(GPT, two)
    two.load_state_dict(state, strict=False)
    assert total(GPT, one) == total(GPT, two)


def test_the_seed_decides_the_adapters():
    states = []
    for seed in (5, 5, 6):
        model = GPT.build()
        add_lora(model, 2, 4.0, seed=seed)
        states.append(lora_state_dict(model)["blocks.0.attention.qkv.lora_a"])
    np.testing.assert_array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


def test_what_is_freed_is_trained_too():
    model = GPT.build()
    paths = add_lora(model, 2, 4.0)
    model.norm.weight.trainable = True
    spans = {path for group in pack(model) for path in group.spans}
    assert spans == {f"{path}.lora_{x}" for path in paths for x in "ab"} | {"norm.weight"}


def test_experts_can_be_adapted():
    """Modules in lists are found and put back."""
    rng = generator()
    layer = MixtureOfExperts(4, [FeedForward(4, 3, rng, dtype=np.float64) for _ in range(3)], rng, dtype=np.float64)
    x = rng.standard_normal((6, 4))
    assert add_lora(layer, 1, 1.0, targets=("experts.[02].*",)) == [
        f"experts.{e}.{name}" for e in (0, 2) for name in ("up", "down")
    ]
    learn(layer)
    out, aux, _ = layer.forward(x)
    merge_lora(layer)
    merged, same, _ = layer.forward(x)
    np.testing.assert_allclose(merged, out, rtol=1e-12)
    assert same == aux

    class Stack(Module):
        def __init__(self) -> None:
            self.layers = [Linear(2, 2, rng)]

    stack = Stack()
    add_lora(stack, 1, 1.0, targets=("layers.0",))
    assert isinstance(stack.layers[0], LoRALinear)
    merge_lora(stack)
    assert isinstance(stack.layers[0], Linear)


# What cannot be adapted.


def test_a_tied_head_is_refused_and_nothing_is_changed():
    model = GPT.build(tie_weights=True)
    with pytest.raises(ConfigError, match=r"head shares its weight with tok_emb\.weight, .* leave it out of targets="):
        add_lora(model, 2, 4.0, targets=("*",))
    assert all(parameter.trainable for parameter in model.parameters())
    assert not any(isinstance(module, LoRALinear) for module in model.modules())


def test_a_weight_that_the_model_reads_itself_is_an_error_and_no_silence():
    model = GPT.build(tie_weights=False)
    add_lora(model, 2, 4.0, targets=("head",))
    with pytest.raises(MinitrainError, match="bypassing the adapter; leave it out of the targets of add_lora"):
        model.loss(GPT.batch())


def test_other_mistakes_are_named():
    model = GPT.build()
    with pytest.raises(ConfigError, match=r"targets=\('\*\.mlp\.\*',\) match no .*; the model has blocks.* and 4 more"):
        add_lora(model, 2, 4.0, targets=("*.mlp.*",))
    with pytest.raises(ConfigError, match="match no linear layer; the model has none"):  # nowhere to put the adapter
        add_lora(Linear(4, 3, generator()), 2, 4.0, targets=("*",))
    for function in (merge_lora, lora_state_dict):
        with pytest.raises(ConfigError, match=rf"{function.__name__}: the model has no adapters; call add_lora"):
            function(model)
    add_lora(model, 2, 4.0)
    with pytest.raises(ConfigError, match="the model has adapters; call merge_lora"):
        add_lora(model, 2, 4.0)
    packed = GPT.build()
    pack(packed)
    with pytest.raises(MinitrainError, match=r"call add_lora\(model, \.\.\.\) before pack"):
        add_lora(packed, 2, 4.0)
