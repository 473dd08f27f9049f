"""What is particular to each transformer: who sees whom, what padding does, which settings fit together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.models import BertConfig, EncoderConfig, GPTConfig, LlamaConfig, Seq2Seq, Seq2SeqConfig, ViTConfig
from minitrain.nn import ConvStem
from minitrain.nn.core.init import generator
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS, Pairs


def build(name, **changes):
    return stir(KINDS[name].build(dtype=np.float64, **changes))


def ids(*shape, seed=0, low=0):
    return np.random.default_rng(seed).integers(low, 11, shape)


def moved(before, after):
    """Where the last axis changed: (B, T) booleans."""
    return abs(after - before).max(axis=-1) > 1e-9


class TestLlama:
    def test_later_tokens_do_not_change_earlier_logits(self):
        model, tokens = build("llama"), ids(2, 6)
        before = model.forward(tokens)[0]
        tokens[:, 3] = (tokens[:, 3] + 1) % 11
        assert moved(before, model.forward(tokens)[0]).tolist() == [[False] * 3 + [True] * 3] * 2

    def test_a_window_hides_what_lies_further_back(self):
        """One block sees ``window`` tokens, two see as far again."""
        model, tokens = build("llama", window=2), ids(1, 6)
        before = model.forward(tokens)[0]
        tokens[:, 1] = (tokens[:, 1] + 1) % 11
        assert moved(before, model.forward(tokens)[0]).tolist() == [[False, True, True, True, False, False]]

    def test_positions_come_from_the_attention_alone(self):
        """There is no table of them: without the turn of queries and keys, the order of what came before is lost."""
        model, tokens = build("llama", n_layer=1), np.array([[1, 2, 3]])
        assert "pos_emb.weight" not in model.state_dict()
        swapped = tokens[:, [1, 0, 2]]
        assert moved(model.forward(tokens)[0], model.forward(swapped)[0])[0, 2]
        still = build("llama", n_layer=1, rope_scaling=1e12)  # all positions all but zero: no turn
        assert not moved(still.forward(tokens)[0], still.forward(swapped)[0])[0, 2]

    def test_no_biases_and_a_head_of_its_own(self):
        names = set(build("llama").state_dict())
        assert not any(name.endswith("bias") for name in names)
        assert "head.weight" in names
        assert "head.weight" not in build("llama", tie_weights=True).state_dict()

    def test_the_gated_layer_has_as_many_weights_as_an_ungated_one(self):
        for width in (96, 128, 384):
            hidden = LlamaConfig(65, n_embd=width).hidden
            assert hidden % 32 == 0
            assert 8 * width**2 <= 3 * width * hidden < 8 * width**2 + 3 * width * 32
        assert LlamaConfig(65, n_hidden=100).hidden == 100


class TestEncoder:
    def test_every_token_sees_every_other(self):
        model, tokens = build("encoder, first"), ids(2, 6)
        before = model.forward(tokens)[0]
        tokens[:, 5] = (tokens[:, 5] + 1) % 11
        assert moved(before, model.forward(tokens)[0]).all()

    @pytest.mark.parametrize("name", ["encoder", "encoder, first"])
    def test_padding_changes_nothing(self, name):
        """Neither what stands in it nor how much of it there is."""
        model, tokens, lengths = build(name), ids(3, 6), np.array([6, 4, 1])
        expected = model.forward(tokens, lengths=lengths)[0]
        other = np.where(np.arange(6) < lengths[:, None], tokens, (tokens + 3) % 11)
        np.testing.assert_allclose(model.forward(other, lengths=lengths)[0], expected, rtol=1e-12)
        for row, length in enumerate(lengths):
            alone = model.forward(tokens[row : row + 1, :length])[0]
            np.testing.assert_allclose(alone[0], expected[row], rtol=1e-9)

    def test_first_reads_the_first_position_and_mean_all(self):
        tokens = ids(1, 6)
        for name, depends in (("encoder, first", False), ("encoder", True)):
            model = build(name, n_layer=1)
            for block in model.blocks:  # no branch: what is pooled is the embedding
                block.attention.out.weight.data[...] = 0
                block.feed_forward.down.weight.data[...] = 0
            before = model.forward(tokens)[0]
            after = model.forward(np.where(np.arange(6) == 4, (tokens + 1) % 11, tokens))[0]
            assert moved(before, after).all() == depends


class TestSeq2Seq:
    def test_the_decoder_sees_no_later_token_and_all_of_the_source(self):
        model, source, target = build("seq2seq"), ids(2, 5, low=1), ids(2, 6, seed=1, low=1)
        before = model.forward(source, target)[0]
        later = target.copy()
        later[:, 4] = later[:, 4] % 10 + 1
        assert moved(before, model.forward(source, later)[0]).tolist() == [[False] * 4 + [True] * 2] * 2
        source[:, 4] = source[:, 4] % 10 + 1
        assert moved(before, model.forward(source, target)[0]).all()

    @pytest.mark.parametrize("name", ["seq2seq", "seq2seq, pointer", "seq2seq, rotary"])
    def test_padding_changes_nothing(self, name):
        model, source, target = build(name), ids(1, 4, low=1), ids(1, 5, seed=1, low=1)
        padded = np.pad(source, ((0, 0), (0, 2))), np.pad(target, ((0, 0), (0, 1)))
        expected = model.forward(source, target)[0]
        np.testing.assert_allclose(model.forward(*padded)[0][:, :5], expected, rtol=1e-9)
        loss, more = (model.loss(Pairs(*pair))[0] for pair in ((source, target), padded))
        assert float(more.total) == pytest.approx(float(loss.total), rel=1e-9)
        assert more.count == loss.count == 4

    def test_padding_before_a_token_is_refused(self):
        model, good = build("seq2seq"), ids(2, 5, low=1)
        bad = good.copy()
        bad[1, 2] = 0
        with pytest.raises(DataError, match=r"source: a row has padding \(pad_idx = 0\) before a token; put"):
            model.forward(bad, good)
        with pytest.raises(DataError, match="target: a row has padding"):
            model.forward(good, bad)

    def test_which_tables_are_shared(self):
        names = set(build("seq2seq").state_dict())
        assert "source_emb.weight" in names
        assert not names & {"target_emb.weight", "head.weight"}
        separate = build("seq2seq, separate").state_dict()
        assert separate["target_emb.weight"].shape == separate["head.weight"].shape == (12, 8)

    def test_vectors_of_tokens_are_multiplied_by_the_root_of_the_width(self):
        model, source, target = build("seq2seq, separate"), ids(2, 5, low=1), ids(2, 6, seed=1, low=1)
        expected = model.forward(source, target)[0]
        model.scale = 1.0
        for table in (model.source_emb, model.target_emb):
            table.weight.data[...] *= np.sqrt(8)
        np.testing.assert_allclose(model.forward(source, target)[0], expected)

    def test_a_pointer_mixes_the_vocabulary_with_the_source(self):
        """The mean of the gate's two choices; a sure gate leaves one of them."""
        model, source, target = build("seq2seq, pointer"), ids(2, 5, low=1), ids(2, 6, seed=1, low=1)
        source[1, 3:] = 0
        plain = Seq2Seq(replace(model.config, pointer=False), dtype=np.float64)
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("pointer")})
        chosen = plain.forward(source, target)[0]
        chosen = np.exp(chosen) / np.exp(chosen).sum(-1, keepdims=True)

        def with_gate(logit):
            model.pointer.gate.weight.data[...], model.pointer.gate.bias.data[...] = 0, logit
            return np.exp(model.forward(source, target)[0])

        copied, both = with_gate(-40.0), with_gate(0.0)
        np.testing.assert_allclose(with_gate(40.0), chosen, atol=1e-12)
        np.testing.assert_allclose(both, (chosen + copied) / 2, atol=1e-12)
        for row, tokens in zip(copied, source, strict=True):
            others = np.setdiff1d(np.arange(11), tokens[tokens != 0])
            assert row[:, others].max() < 1e-12, "only tokens of the own source, and no padding"
        np.testing.assert_allclose(both.sum(-1), 1)

    def test_what_a_pointer_needs(self):
        with pytest.raises(ConfigError, match=r"copies tokens of the source: both sides need one vocabulary"):
            build("seq2seq, pointer", share_embeddings=False)
        model, source = build("seq2seq, pointer"), ids(2, 5, low=1)
        memory, lengths, _ = model.encode(source)
        with pytest.raises(ShapeError, match=r"pass source="):
            model.decode(source, memory, lengths)
        past = model.new_past(2)
        model.decode_next(source, memory, lengths, past, source=source)
        with pytest.raises(ShapeError, match=r"a pointer needs the memory in every call"):
            model.decode_next(source[:, :1], None, None, past, source=source)

    @pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
    def test_greedy_writing_is_the_argmax_again_and_again(self, positions):
        model, source = build("seq2seq, separate", positions=positions), ids(30, 5, low=1)
        model.head.weight.data[0] = 1.1 * model.head.weight.data[10]  # padding is likelier than token 10
        out = model.generate(source, start=1, end=None, max_new_tokens=5)
        assert out.shape == (30, 6)
        assert (out[:, 0] == 1).all()
        logits = model.forward(source, out[:, :-1])[0]
        assert (logits.argmax(-1) == 0).any()
        logits[..., 0] = -np.inf
        np.testing.assert_array_equal(out[:, 1:], logits.argmax(-1))

    def test_a_pointer_writes_copies_step_by_step(self):
        model, source = build("seq2seq, pointer"), ids(30, 5, low=1)
        source[::2, 3:] = 0
        model.pointer.gate.bias.data[...] = -9
        out = model.generate(source, start=1, end=None, max_new_tokens=5)
        np.testing.assert_array_equal(out[:, 1:], model.forward(source, out[:, :-1])[0].argmax(-1))
        assert all(set(row[1:]) <= set(tokens) - {0} for row, tokens in zip(out, source, strict=True))

    def test_after_the_end_there_is_padding(self):
        model, source = build("seq2seq, separate"), ids(30, 5, low=1)
        free = model.generate(source, start=1, end=None, max_new_tokens=5)
        end = next(token for token in range(1, 12) if 5 < (free[:, 1:-1] == token).any(axis=1).sum() < 25)
        before = np.cumsum(free[:, 1:] == end, axis=1) - (free[:, 1:] == end)  # ends that came earlier
        expected = np.where(before > 0, 0, free[:, 1:])
        np.testing.assert_array_equal(model.generate(source, start=1, end=end, max_new_tokens=5)[:, 1:], expected)

    def test_writing_stops_when_all_rows_have_ended(self):
        model, source = build("seq2seq, separate"), ids(1, 5, low=1)
        first = model.generate(source, start=1, end=None, max_new_tokens=1)[0, 1]
        assert model.generate(source, start=1, end=first, max_new_tokens=5).tolist() == [[1, first]]


class TestViT:
    def test_the_order_of_patches_matters(self):
        """The same patches in another place are another picture."""
        for name in ("vit", "vit, mean", "vit, concat"):
            model, image = build(name), np.random.default_rng(0).standard_normal((1, 2, 6, 6))
            flipped = np.concatenate([image[:, :, 3:], image[:, :, :3]], axis=2)
            assert moved(model.forward(image)[0], model.forward(flipped)[0]).all()

    def test_a_class_token_for_first_alone(self):
        assert KINDS["vit"].build().pos_emb.weight.data.shape == (5, 8)
        mean = KINDS["vit, mean"].build()
        assert mean.pos_emb.weight.data.shape == (4, 8)
        assert "class_token" not in mean.state_dict()

    def test_concatenated_patches_have_a_weight_each(self):
        """With the same head for each patch, divided by their number, the logits are those of the mean."""
        model, mean = build("vit, concat"), build("vit, mean", bias=True)
        head = mean.head.weight.data
        state = mean.state_dict()
        model.load_state_dict(state | {"head.weight": np.tile(head / 4, (1, 4))})  # (5, 8) -> (5, 4 x 8)
        image = np.random.default_rng(0).standard_normal((3, 2, 6, 6))
        np.testing.assert_allclose(model.forward(image)[0], mean.forward(image)[0], rtol=1e-12)

    def test_texts_are_not_concatenated(self):
        sizes = {"vocab_size": 11, "block_size": 6, "n_layer": 1, "n_head": 1, "n_embd": 8}
        for config, more in ((EncoderConfig, {"n_classes": 2}), (BertConfig, {})):
            with pytest.raises(ConfigError, match="pool = 'concat' is for images"):
                config(**sizes, **more, pool="concat")

    def test_vectors_of_a_stem_see_beyond_their_patch(self):
        """A pixel reaches the patches next to its own, and none further away."""
        stem = KINDS["vit, stem"].build(image_size=12, dtype=np.float64).patch_emb
        image = np.random.default_rng(0).standard_normal((1, 2, 12, 12))
        other = image.copy()
        other[0, :, 3, 3] += 1  # the last pixel of patch (1, 1)
        changed = (stem.forward(image)[0] != stem.forward(other)[0]).any(axis=2).reshape(6, 6)
        assert changed[1, 1]
        assert not changed[3:].any() and not changed[:, 3:].any() and not changed[0].any() and not changed[:, 0].any()

    def test_a_deep_stem_sees_one_vector_further(self):
        stem = KINDS["vit, deep stem"].build(image_size=12, dtype=np.float64).patch_emb
        assert [layer.stride for layer in stem.convolutions] == [2, 1]
        image = np.random.default_rng(0).standard_normal((1, 2, 12, 12))
        other = image.copy()
        other[0, :, 3, 3] += 1
        changed = (stem.forward(image)[0] != stem.forward(other)[0]).any(axis=2).reshape(6, 6)
        assert changed[:3, :3].any()
        assert changed[3, 3] or changed[3].any()
        assert not changed[4:].any() and not changed[:, 4:].any()

    def test_images_of_another_size_are_refused(self):
        with pytest.raises(ShapeError, match=r"multiples of patch = 2; resize"):
            build("vit, stem").patch_emb.forward(np.zeros((1, 2, 7, 6)))
        with pytest.raises(ConfigError, match="patch=6 must be a power of 2"):
            ConvStem(1, 6, 8, generator(0))
        with pytest.raises(ConfigError, match=r"width=6 must be a multiple of patch / 2 = 4"):
            ConvStem(1, 8, 6, generator(0))
        with pytest.raises(ConfigError, match="stem_depth = 1 needs stem = 'conv'"):
            KINDS["vit"].build(stem_depth=1)
        with pytest.raises(ConfigError, match="stem_depth = -1 must be 0 or more"):
            KINDS["vit, stem"].build(stem_depth=-1)
        with pytest.raises(ShapeError, match=r"inputs has shape \(1, 2, 8, 6\), expected \(B, 2, 6, 6\); resize"):
            build("vit").forward(np.zeros((1, 2, 8, 6)))


@pytest.mark.parametrize("name", ["gpt", "llama", "encoder"])
def test_long_sequences_are_refused(name):
    with pytest.raises(ShapeError, match=r"expected \(B, T\) with T <= block_size = 6; cut the sequences"):
        build(name).forward(ids(1, 7))
    with pytest.raises(ShapeError, match="T <= block_size = 6"):
        build("seq2seq").forward(ids(1, 7, low=1), ids(1, 3, low=1))


TRANSFORMER = {"vocab_size": 11, "n_classes": 2}
IMAGES = {"image_size": 8, "patch": 2, "n_classes": 2}


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (GPTConfig, {"vocab_size": 0}, "vocab_size = 0 must be 1 or more"),
        (GPTConfig, {"vocab_size": 5, "gelu": "tahn"}, "gelu = 'tahn': did you mean 'tanh'"),
        (LlamaConfig, {"vocab_size": 5, "n_embd": 12}, r"n_embd / n_head = 3 is odd: .* try n_embd = 16"),
        (LlamaConfig, {"vocab_size": 5, "n_embd": 10}, "n_embd = 10 is not a multiple of n_head = 4: try n_embd = 8"),
        (LlamaConfig, {"vocab_size": 5, "n_kv_head": 3}, "n_kv_head = 3 does not divide n_head = 4"),
        (LlamaConfig, {"vocab_size": 5, "window": 0}, "window = 0 must be 1 or more"),
        (LlamaConfig, {"vocab_size": 5, "rope_base": 0.0}, "rope_base = 0.0 must be greater than 0"),
        (LlamaConfig, {"vocab_size": 5, "dropout": 1.0}, "dropout = 1.0 must be at least 0 and less than 1"),
        (EncoderConfig, TRANSFORMER | {"pool": "men"}, "pool = 'men': did you mean 'mean'"),
        (EncoderConfig, TRANSFORMER | {"n_classes": 0}, "n_classes = 0 must be 1 or more"),
        (
            Seq2SeqConfig,
            {"vocab_size": 11, "target_vocab_size": 12},
            "share_embeddings = True, but target_vocab_size = 12",
        ),
        (Seq2SeqConfig, {"vocab_size": 11, "target_vocab_size": 0}, "target_vocab_size = 0 must be 1 or more"),
        (Seq2SeqConfig, {"vocab_size": 11, "pad_idx": 11}, "pad_idx = 11 is not in both vocabularies"),
        (Seq2SeqConfig, {"vocab_size": 11, "n_embd": 9, "n_head": 3}, "n_embd = 9 is odd: each sinusoid has a sine"),
        (Seq2SeqConfig, {"vocab_size": 11, "n_embd": 12, "positions": "rotary"}, "n_embd / n_head = 3 is odd: rotary"),
        (Seq2SeqConfig, {"vocab_size": 11, "positions": "rotry"}, "positions = 'rotry': did you mean 'rotary'"),
        (Seq2SeqConfig, {"vocab_size": 11, "positions": "alibi"}, "an encoder-decoder has 'sinusoidal' or 'rotary'"),
        (ViTConfig, IMAGES | {"patch": 3}, "patch = 3 does not divide image_size = 8: use one of 1, 2, 4, 8"),
        (ViTConfig, IMAGES | {"n_layer": 0}, "n_layer = 0 needs stem = 'conv': without blocks, only convolutions"),
        (ViTConfig, IMAGES | {"n_layer": 0, "stem": "conv", "patch": 2}, "n_layer = 0 needs pool = 'mean' or 'concat'"),
        (ViTConfig, IMAGES | {"n_layer": -1}, "n_layer = -1 must be 0 or more"),
        (EncoderConfig, TRANSFORMER | {"n_layer": 0}, "n_layer = 0 must be 1 or more"),
        (ViTConfig, IMAGES | {"channels": 0}, "channels = 0 must be 1 or more"),
    ],
)
def test_settings_that_do_not_fit_are_explained(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


@pytest.mark.parametrize("name", KINDS)
def test_the_settings_of_another_model_are_refused(name):
    model = type(KINDS[name].build())
    with pytest.raises(ConfigError, match=rf"{model.__name__}: config must be a \w+, got dict"):
        model({"n_layer": 2})
