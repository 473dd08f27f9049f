"""Modules, parameters and packing."""

import numpy as np
import pytest

from minitrain.errors import CheckpointError, ConfigError, MinitrainError, ShapeError
from minitrain.models import GPT, GPTConfig
from minitrain.nn import Linear, Module, Parameter, pack
from minitrain.nn.core.init import generator
from minitrain.ops.contract.op import SKIP
from minitrain.optim import AdamW, clip_by_global_norm

TINY = GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=12, bias=True)


class Batch:
    def __init__(self, seed=0, size=3, length=8, vocab=11):
        tokens = np.random.default_rng(seed).integers(0, vocab, (size, length + 1))
        self.inputs, self.targets = tokens[:, :-1], tokens[:, 1:]


def run(model, batch=None, key=None):
    loss, cache = model.loss(batch or Batch(), key=key)
    model.loss_backward(cache)
    return loss


class TestParameter:
    def test_a_fresh_gradient_reads_as_zeros_and_is_overwritten(self):
        parameter = Parameter(np.ones((2, 3)))
        parameter.grad_buffer()[...] = np.nan  # whatever the memory held
        assert not parameter.into().accumulate
        assert parameter.into().accumulate
        parameter.zero_grad()
        assert np.array_equal(parameter.grad, np.zeros((2, 3)))

    def test_a_frozen_one_is_skipped(self):
        assert Parameter(np.ones(2), trainable=False).into() is SKIP


class TestModule:
    def test_names_shared_parameters_once(self):
        model = GPT(TINY)
        names = [name for name, _ in model.named_parameters()]
        assert names[:2] == ["tok_emb.weight", "pos_emb.weight"]
        assert "blocks.1.feed_forward.down.bias" in names
        assert "head.weight" not in names
        untied = GPT(GPTConfig(**{**vars(TINY), "tie_weights": False}))
        assert "head.weight" in [name for name, _ in untied.named_parameters()]

    def test_state_round_trip(self):
        one, two = GPT(TINY, seed=1), GPT(TINY, seed=2)
        two.load_state_dict(one.state_dict())
        tokens = Batch().inputs
        assert np.array_equal(one.forward(tokens)[0], two.forward(tokens)[0])

    def test_a_state_of_another_model_is_refused_whole(self):
        model = GPT(TINY)
        before = {name: array.copy() for name, array in model.state_dict().items()}
        state = {name: array + 1 for name, array in before.items()}
        state["norm.weight"] = np.ones(13)
        with pytest.raises(CheckpointError, match=r"norm\.weight has shape \(13,\) in them but \(12,\) here"):
            model.load_state_dict(state)
        del state["norm.weight"]
        state["extra"] = np.ones(1)
        with pytest.raises(CheckpointError, match=r"it lacks norm\.weight and it has unknown extra"):
            model.load_state_dict(state)
        assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
        model.load_state_dict(state, strict=False)
        assert np.array_equal(model.state_dict()["tok_emb.weight"], before["tok_emb.weight"] + 1)

    def test_a_layer_can_be_used_twice_before_its_backward(self):
        layer = Linear(3, 4, generator(0), dtype=np.float64)
        x, y = np.random.default_rng(0).standard_normal((2, 5, 3))
        _, cache_x = layer.forward(x)
        _, cache_y = layer.forward(y)
        dout = np.ones((5, 4))
        layer.backward(dout, cache_x)
        layer.backward(dout, cache_y)
        np.testing.assert_allclose(layer.weight.grad, dout.T @ x + dout.T @ y, rtol=1e-12)


class TestGPT:
    def test_bad_shapes_are_explained(self):
        with pytest.raises(ConfigError, match="n_embd = 10 is not a multiple of n_head = 4: try n_embd = "):
            GPTConfig(vocab_size=5, n_embd=10, n_head=4)
        with pytest.raises(ConfigError, match="vocab_size = 0"):
            GPTConfig(vocab_size=0)
        with pytest.raises(ShapeError, match="T <= block_size = 8"):
            GPT(TINY).forward(np.zeros((1, 9), np.int64))

    def test_a_cache_serves_one_backward(self):
        model = GPT(TINY)
        logits, cache = model.forward(Batch().inputs)
        model.backward(np.ones_like(logits), cache)
        with pytest.raises(ShapeError, match="used before"):
            model.backward(np.ones_like(logits), cache)

    def test_the_seed_decides_the_weights(self):
        a, b, c = (GPT(TINY, seed=seed).state_dict() for seed in (5, 5, 6))
        assert all(np.array_equal(a[name], b[name]) for name in a)
        assert not np.array_equal(a["tok_emb.weight"], c["tok_emb.weight"])

    def test_initial_weights_have_gpt2s_spread(self):
        state = GPT(GPTConfig(vocab_size=500, n_embd=128, n_layer=2)).state_dict()
        assert state["tok_emb.weight"].std() == pytest.approx(0.02, rel=0.02)
        assert state["blocks.0.attention.out.weight"].std() == pytest.approx(0.02 / 2, rel=0.02)

    def test_a_later_token_changes_nothing_before_it(self):
        model = GPT(TINY, dtype=np.float64)
        tokens = Batch().inputs.copy()
        before = model.forward(tokens)[0]
        tokens[:, 5] = (tokens[:, 5] + 1) % 11
        after = model.forward(tokens)[0]
        assert np.array_equal(before[:, :5], after[:, :5])
        assert not np.allclose(before[:, 5:], after[:, 5:])


class TestPacking:
    def test_packing_changes_no_value(self):
        one, two = GPT(TINY, seed=3), GPT(TINY, seed=3)
        pack(two)
        run(one)
        run(two)
        for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
            assert np.array_equal(a.data, b.data), name
            assert np.array_equal(a.grad, b.grad), name

    def test_views_are_aligned_disjoint_and_complete(self):
        model = GPT(TINY)
        groups = pack(model)
        assert [group.decay for group in groups] == [True, False]
        for group in groups:
            covered = np.zeros(group.data.size, int)
            for name, span in group.spans.items():
                parameter = group.parameters[name]
                assert np.shares_memory(parameter.data, group.data)
                assert np.shares_memory(parameter.grad_buffer(), group.grad)
                assert parameter.data.ctypes.data % 64 == 0
                assert (parameter.data.ndim >= 2) == group.decay
                covered[span] += 1
            assert covered.max() == 1
        assert sum(len(group.spans) for group in groups) == len(model.parameters())

    def test_twice_is_once(self):
        model = GPT(TINY)
        assert pack(model) is pack(model)

    def test_gradients_survive(self):
        model = GPT(TINY)
        run(model)
        before = model.blocks[0].norm1.weight.grad.copy()
        pack(model)
        assert np.array_equal(model.blocks[0].norm1.weight.grad, before)

    def test_frozen_parameters_stay_outside_and_unchanged(self):
        model = GPT(TINY)
        model.blocks[0].attention.qkv.weight.trainable = False
        frozen = model.blocks[0].attention.qkv.weight.data.copy()
        groups = pack(model)
        assert all("blocks.0.attention.qkv.weight" not in group.spans for group in groups)
        optimizer = AdamW(model, lr=0.1)
        run(model)
        optimizer.step()
        assert np.array_equal(model.blocks[0].attention.qkv.weight.data, frozen)

    def test_freezing_after_packing_is_refused(self):
        model = GPT(TINY)
        pack(model)
        model.norm.weight.trainable = False
        with pytest.raises(MinitrainError, match=r"norm\.weight was frozen, freed or added after pack"):
            AdamW(model)

    def test_a_packed_model_cannot_be_moved(self):
        model = GPT(TINY)
        pack(model)
        with pytest.raises(MinitrainError, match="before pack"):
            model.to("cpu")

    def test_any_dtype_of_a_packed_model_trains_alike(self):
        losses = []
        for packed in (False, True):
            model = GPT(TINY, seed=1, dtype=np.float64)
            if packed:
                pack(model)
            optimizer = AdamW(model, lr=0.01)
            trace = []
            for _ in range(5):
                optimizer.zero_grad()
                loss = run(model)
                clip = clip_by_global_norm(model, 1.0, count=loss.count)
                optimizer.step(clip.scale)
                trace.append(loss.mean)
            losses.append(trace)
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)


class TestNesting:
    def test_lists_of_modules_and_prefixes(self):
        class Two(Module):
            def __init__(self):
                self.layers = [Linear(2, 2, generator(0)), Linear(2, 2, generator(1), bias=False)]
                self.note = "not a parameter"

        assert [name for name, _ in Two().named_parameters("net.")] == [
            "net.layers.0.weight",
            "net.layers.0.bias",
            "net.layers.1.weight",
        ]
