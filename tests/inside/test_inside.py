"""Captured values are those of the model, and what is put in their place is what the model goes on with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain import Key, use_kernels
from minitrain.errors import ConfigError, MinitrainError, ShapeError
from minitrain.generation import generate
from minitrain.inside import capture, names, patch
from minitrain.models import GPT, GPTConfig
from minitrain.nn import Linear, add_lora, checkpoint_activations
from minitrain.nn.core.module import Module
from tests.helpers.model_zoo import KINDS, RELATIVES, Kind

DECODERS: dict[str, Kind] = {"gpt": KINDS["gpt"], "llama": KINDS["llama, all options"]}
DECODERS |= {name: RELATIVES[name] for name in ("gpt, alibi", "gpt, sinusoidal", "qwen2", "qwen3")}
ALL = DECODERS | {name: KINDS[name] for name in ("encoder", "seq2seq, separate", "vit", "mlp")}
BRANCHES = ("attention", "feed_forward")

every_decoder = pytest.mark.parametrize("name", DECODERS)
every_model = pytest.mark.parametrize("name", ALL)


def ready(kind: Kind, *, scale: float = 8.0, **changes: Any) -> tuple[Any, Any]:
    """A model whose heads prefer some places, in float64, and a batch."""
    model = kind.build(seed=1, dtype=np.float64, **changes)
    for parameter in model.parameters():
        parameter.data *= scale
    return model, kind.batch(2, seed=2, dtype=np.float64, **changes)


def loss(model: Any, batch: Any) -> float:
    return float(model.loss(batch)[0].total)


def once(seen: dict[str, Any]) -> list[str]:
    """The values, without those that the encoder-decoder computes for source and target alike."""
    return [name for name in seen if not name.endswith(".grad") and name != "positions.out"]


def own_methods(model: Module) -> bool:
    return all(not callable(value) or isinstance(value, Module) for m in model.modules() for value in vars(m).values())


@every_decoder
def test_captured_values_add_up_to_the_logits(name: str) -> None:
    model, batch = ready(DECODERS[name])
    with capture(model, "**") as seen:
        logits, cache = model.forward(batch.inputs)
        model.backward(np.ones_like(logits), cache)
    assert list(seen) and set(seen) == set(names(model))
    stream = seen["tok_emb.out"] if "pos_emb.out" not in seen else seen["pos_emb.out"]
    for i, block in enumerate(model.blocks):
        at = f"blocks.{i}."
        np.testing.assert_array_equal(seen[at + "in"], stream)
        np.testing.assert_array_equal(seen[at + "mid"], stream + seen[at + "attention.out"])
        stream = seen[at + "mid"] + seen[at + "feed_forward.out"]
        np.testing.assert_array_equal(seen[at + "out"], stream)
        weights, v = seen[at + "attention.weights"], seen[at + "attention.v"]
        np.testing.assert_allclose(weights.sum(axis=-1), 1)
        assert np.all(np.triu(weights, 1) == 0)
        v = v.repeat(weights.shape[1] // v.shape[2], axis=2)
        np.testing.assert_allclose(seen[at + "attention.mixed"], np.einsum("bhts,bshd->bthd", weights, v), atol=1e-12)
        joined = seen[at + "attention.mixed"].reshape(*stream.shape[:2], -1)
        np.testing.assert_array_equal(seen[at + "attention.out"], block.attention.out.forward(joined)[0])
        hidden = block.feed_forward.down.forward(seen[at + "feed_forward.hidden"])[0]
        np.testing.assert_allclose(seen[at + "feed_forward.out"], hidden, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(seen["norm.out"], model.norm.forward(stream)[0])
    np.testing.assert_array_equal(seen["logits"], seen["norm.out"] @ model.head.weight.data.T)
    np.testing.assert_array_equal(seen["logits"], logits)
    assert own_methods(model)


@every_model
def test_putting_back_what_was_captured_changes_nothing(name: str) -> None:
    model, batch = ready(ALL[name])
    with capture(model, "**") as seen:
        before = loss(model, batch)
    assert loss(model, batch) == before
    for value in once(seen):
        for replacement in (seen[value], lambda x: x):
            with patch(model, {value: replacement}):
                assert loss(model, batch) == pytest.approx(before, rel=1e-12), value
    assert own_methods(model)


@every_model
def test_gradients_are_the_slopes_of_patches(name: str) -> None:
    """In a random direction, with finite differences of a patched value."""
    model, batch = ready(ALL[name], scale=4.0)
    rng = np.random.default_rng(0)
    with capture(model, "**") as seen:
        _, cache = model.loss(batch)
        model.loss_backward(cache)
    assert "logits.grad" in seen
    for value in once(seen):
        if (gradient := f"{value}.grad") not in seen:
            continue
        direction = rng.standard_normal(seen[value].shape)
        ends = []
        for sign in (1, -1):
            with patch(model, {value: seen[value] + sign * 1e-6 * direction}):
                ends.append(loss(model, batch))
        slope = (ends[0] - ends[1]) / 2e-6
        assert slope == pytest.approx((seen[gradient] * direction).sum(), rel=1e-5, abs=1e-6), gradient


@every_decoder
def test_ablation_is_a_model_with_zeroed_weights(name: str) -> None:
    model, batch = ready(DECODERS[name])
    for branch, last in (("attention", "out"), ("feed_forward", "down")):
        zeroed, _ = ready(DECODERS[name])
        for parameter in getattr(getattr(zeroed.blocks[1], branch), last).parameters():
            parameter.data[...] = 0
        with patch(model, {f"blocks.1.{branch}.out": 0.0}):
            np.testing.assert_array_equal(model.forward(batch.inputs)[0], zeroed.forward(batch.inputs)[0])
    zeroed, _ = ready(DECODERS[name])
    D = zeroed.blocks[0].attention.head_width
    zeroed.blocks[0].attention.out.weight.data[:, D : 2 * D] = 0

    def without_head_1(mixed: Any) -> Any:
        mixed[:, :, 1] = 0
        return mixed

    with patch(model, {"blocks.0.attention.mixed": without_head_1}):
        np.testing.assert_allclose(model.forward(batch.inputs)[0], zeroed.forward(batch.inputs)[0], atol=1e-12)


@given(data=st.data())
def test_a_patch_of_the_stream_decides_everything_after_it(data: st.DataObject) -> None:
    """The logits follow from the stream alone, so that of another text brings that text's logits."""
    model, batch = ready(KINDS[data.draw(st.sampled_from(["gpt", "llama"]), "model")])
    other = data.draw(st.sampled_from(["blocks.0.in", "blocks.0.out", "blocks.1.mid", "norm.out"]), "value")
    with capture(model, other) as seen:
        expected, _ = model.forward(batch.inputs[:, ::-1])
    with patch(model, {other: seen[other]}):
        found, _ = model.forward(batch.inputs)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["reference", pytest.param("auto", marks=pytest.mark.slow)])  # compiles kernels
def test_weights_that_are_put_in_mix_the_values(mode: str) -> None:
    model = GPT(GPTConfig(vocab_size=9, block_size=8, n_layer=1, n_head=2, n_embd=8, bias=True))
    tokens = np.arange(6)[None] % 9
    previous = np.eye(6, k=-1)
    previous[0, 0] = 1
    with use_kernels(mode), patch(model, {"**.weights": previous}), capture(model, "blocks.0.attention.*") as seen:
        model.forward(tokens)
    np.testing.assert_array_equal(seen["blocks.0.attention.weights"], np.broadcast_to(previous, (1, 2, 6, 6)))
    v = seen["blocks.0.attention.v"]
    np.testing.assert_array_equal(seen["blocks.0.attention.mixed"], np.concatenate([v[:, :1], v[:, :-1]], axis=1))


def test_keys_that_are_put_in_change_the_weights() -> None:
    model, batch = ready(KINDS["llama"])
    with patch(model, {"blocks.0.attention.k": 0.0}), capture(model, "blocks.0.attention.weights") as seen:
        model.forward(batch.inputs)
    T = batch.inputs.shape[1]
    even = np.tril(np.ones((T, T))) / np.arange(1, T + 1)[:, None]
    np.testing.assert_allclose(seen["blocks.0.attention.weights"], np.broadcast_to(even, (2, 2, T, T)))


def test_who_comes_first_acts_first() -> None:
    model, batch = ready(KINDS["gpt"])
    with capture(model, "blocks.0.mid") as before, patch(model, {"blocks.0.mid": 1.0}):
        with patch(model, {"*.*.mid": lambda x: 2 * x}), capture(model, "blocks.0.mid") as after:
            model.forward(batch.inputs)
        model.forward(batch.inputs)
        assert not np.all(before["blocks.0.mid"] == 1)
    assert np.all(after["blocks.0.mid"] == 2)
    assert own_methods(model)


def test_blocks_may_end_in_any_order_and_with_an_error() -> None:
    model, batch = ready(KINDS["gpt"])
    first, second = capture(model, "blocks.0.out"), capture(model, "**")
    first.__enter__()
    seen = second.__enter__()
    first.__exit__(None, None, None)
    model.forward(batch.inputs)
    assert seen["blocks.0.out"].shape == (*batch.inputs.shape, 8)
    second.__exit__(None, None, None)
    assert own_methods(model)
    with pytest.raises(ZeroDivisionError), patch(model, {"logits": lambda x: 1 // 0}):
        model.forward(batch.inputs)
    assert own_methods(model)


def test_training_is_the_same_while_somebody_looks() -> None:
    """With dropout, and with blocks that compute their forward twice."""
    for recompute in (False, True):
        grads = []
        for watched in (False, True):
            model, batch = ready(KINDS["llama"], dropout=0.3)
            checkpoint_activations(model, recompute)
            with capture(model, "**" if watched else "logits"):
                _, cache = model.loss(batch, key=Key.from_seed(0))
                model.loss_backward(cache)
            grads.append([parameter.grad for parameter in model.parameters()])
        for one, other in zip(*grads, strict=True):
            np.testing.assert_array_equal(one, other)


def test_adapters_are_seen_through() -> None:
    model, batch = ready(KINDS["gpt"])
    add_lora(model, rank=2, alpha=4, targets=["blocks*"])
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        if parameter.trainable:
            parameter.data += rng.standard_normal(parameter.data.shape)
    before = loss(model, batch)
    with capture(model, ["**.hidden", "**.mixed", "**.weights"]) as seen:
        loss(model, batch)
    for value in seen:
        with patch(model, {value: seen[value]}):
            assert loss(model, batch) == pytest.approx(before, rel=1e-12)


def test_generation_runs_through_patches() -> None:
    model = GPT(GPTConfig(vocab_size=9, block_size=8, n_layer=1, n_head=2, n_embd=8))

    def only_token_5(hidden: Any) -> Any:
        return hidden * 0 + 100 * model.head.weight.data[5]

    with patch(model, {"norm.out": only_token_5}):
        assert generate(model, np.array([[1, 2]]), 4, temperature=0.0).tolist() == [[1, 2, 5, 5, 5, 5]]


def test_a_value_that_nothing_computed_was_not_patched() -> None:
    """Generation and chunked losses take logits from hidden states, and call no forward that returns logits."""
    model, batch = ready(KINDS["gpt"], loss_chunk=2)
    runs = (lambda: generate(model, batch.inputs[:, :2], 2, temperature=0.0), lambda: model.loss(batch), lambda: None)
    for run in runs:
        with (
            pytest.raises(ConfigError, match="nothing computed 'logits' within the block"),
            patch(model, {"logits": 0}),
        ):
            run()
    with patch(model, {"logits": 0}):
        model.forward(batch.inputs)
    with pytest.raises(KeyError), patch(model, {"logits": 0}):  # an error of the block stays what it is
        raise KeyError


@pytest.mark.parametrize("loss_chunk", [None, 2])
def test_a_patched_forward_has_no_backward(loss_chunk: int | None) -> None:
    model, batch = ready(KINDS["gpt"], loss_chunk=loss_chunk)
    with patch(model, {"blocks.0.out": 0.0}):
        _, cache = model.loss(batch)
    with pytest.raises(MinitrainError, match="no backward of a patched model"):
        model.loss_backward(cache)


def test_errors_name_the_nearest() -> None:
    model, batch = ready(KINDS["gpt"])
    with pytest.raises(ConfigError, match=r"'blocks.0.attention.weight' inside; did you mean 'blocks.0.att.*weights'"):
        names(model, "blocks.0.attention.weight")
    with (
        pytest.raises(ConfigError, match=r"no 'blocks.7.out' inside; did you mean 'blocks.[01].out'"),
        patch(model, {"blocks.7.out": 0}),
    ):
        pass
    with pytest.raises(ConfigError, match="has no"):
        names(Linear(2, 3, np.random.default_rng(0)))
    with pytest.raises(ConfigError, match="is a gradient"), patch(model, {"logits.grad": 0}):
        pass
    with (
        pytest.raises(ShapeError, match=r"'logits': a value of shape \(3,\) cannot .* of \(2, 5, 11\)"),
        patch(model, {"logits": np.zeros(3)}),
    ):
        model.forward(batch.inputs)
    with (
        pytest.raises(ConfigError, match="'logits': the function returns None"),
        patch(model, {"logits": lambda x: None}),
    ):
        model.forward(batch.inputs)
    with capture(model, "blocks.0.out.grad") as seen, pytest.raises(ConfigError, match="was not seen"):
        model.forward(batch.inputs)
        seen["blocks.0.out.grad"]


def test_stars_stand_for_parts_of_names() -> None:
    model, _ = ready(KINDS["gpt"])
    assert names(model, "blocks.*.out") == ["blocks.0.out", "blocks.1.out"]
    assert names(model, "blocks.1.**.out")[-1] == "blocks.1.feed_forward.out"
    assert names(model)[:4] == ["tok_emb.out", "pos_emb.out", "blocks.0.in", "blocks.0.norm1.out"]
    assert names(model, "logits**") == ["logits", "logits.grad"]
