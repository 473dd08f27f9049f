"""A model that writes about images: who sees what, and that writing is the forward again and again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.errors import ConfigError, DataError, ShapeError, TokenError
from minitrain.inside import capture
from minitrain.models import Captioner, GPTConfig, build_model
from minitrain.models.summary import summarize
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS

KIND = KINDS["captioner"]


def test_the_decoder_sees_no_later_token_and_all_of_the_image() -> None:
    model, batch = stir(KIND.build(dtype=np.float64)), KIND.batch(2, dtype=np.float64)
    texts = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    before = model.forward(batch.images, texts)[0]
    later = texts.copy()
    later[:, 3] = 7
    moved = abs(model.forward(batch.images, later)[0] - before).max(axis=-1) > 1e-9
    assert moved.tolist() == [[False] * 3 + [True] * 2] * 2
    other = batch.images.copy()
    other[:, :, -1, -1] += 1
    assert (abs(model.forward(other, texts)[0] - before).max(axis=-1) > 1e-9).all()


def test_every_patch_sees_every_other() -> None:
    model, images = stir(KIND.build(dtype=np.float64)), KIND.batch(1, dtype=np.float64).images
    before = model.encode(images)[0]  # (1, 4, C)
    for row, column in ((0, 0), (0, 5), (5, 0), (5, 5)):
        other = images.copy()
        other[:, :, row, column] += 1
        assert (abs(model.encode(other)[0] - before).max(axis=-1) > 1e-9).all()


def test_the_beginning_counts_the_branches_of_each_block() -> None:
    model = KIND.build(n_embd=64, n_layer=2, decoder_layer=2)
    encoder = [out for block in model.encoder for out in (block.attention.out, block.feed_forward.down)]
    decoder = [out for one in model.decoder for out in (one.attention.out, one.cross.out, one.feed_forward.down)]
    for outs, branches in ((encoder, 4), (decoder, 6)):
        for out in outs:
            assert out.weight.data.std() == pytest.approx(0.02 / math.sqrt(branches), rel=0.05)
    assert model.decoder[0].attention.qkv.weight.data.std() == pytest.approx(0.02, rel=0.05)
    assert model.head.bias is None
    assert model.head.weight is not model.tok_emb.weight
    tied = KINDS["captioner, tied"].build()
    assert tied.head.weight is tied.tok_emb.weight


def test_every_stack_drops_its_later_blocks_more() -> None:
    model = KIND.build(n_layer=3, decoder_layer=2, drop_path=0.2)
    for blocks, rates in ((model.encoder, [0.2 / 3, 0.4 / 3, 0.2]), (model.decoder, [0.1, 0.2])):
        assert [block.drop_path for block in blocks] == pytest.approx(rates)


def test_the_next_token_by_what_was_kept() -> None:
    model = stir(KIND.build(dtype=np.float64))
    batch = KIND.batch(2, dtype=np.float64)
    texts = np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    memory = model.encode(batch.images)[0]
    past = model.new_past(2)
    first = model.decode_next(texts[:, :2], memory, past)
    rest = model.decode_next(texts[:, 2:], None, past)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), model.forward(batch.images, texts)[0])
    with pytest.raises(ShapeError, match=r"Captioner\.decode_next: texts"):
        model.decode_next(texts[:, :1], None, past)  # there are block_size = 6 already
    past = model.new_past(2)
    model.decode_next(texts[:, :4], memory, past)
    with pytest.raises(ShapeError, match="with T <= block_size = 2"):
        model.decode_next(texts[:, :3], None, past)
    with pytest.raises(TokenError):
        model.decode_next(np.full((2, 1), 11), None, past)


@pytest.mark.parametrize("name", ["captioner", "captioner, tied"])
def test_writing_takes_the_most_likely_token_of_the_forward(name: str) -> None:
    model = stir(KINDS[name].build(dtype=np.float64))
    images = KINDS[name].batch(3, dtype=np.float64).images
    found = model.generate(images, start=1, end=None, max_new_tokens=4)
    texts = np.full((3, 1), 1)
    for _ in range(4):
        scores = model.forward(images, texts)[0][:, -1]
        scores[:, 0] = -np.inf
        texts = np.concatenate([texts, scores.argmax(axis=-1)[:, None]], axis=1)
    np.testing.assert_array_equal(found, texts)
    end = int(found[0, 2])
    ended = model.generate(images, start=1, end=end, max_new_tokens=4)
    place = found[0].tolist().index(end, 1)
    assert ended[0, : place + 1].tolist() == found[0, : place + 1].tolist()
    assert not ended[0, place + 1 :].any()


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_a_text_stand_side_by_side_and_read_their_image(copies: int) -> None:
    model = stir(KIND.build(dtype=np.float64))
    images = KIND.batch(2, dtype=np.float64).images
    texts = model.begin(images, copies=copies)
    assert texts.batch == 2 * copies
    first = np.arange(1, 1 + 2 * copies)
    expected = model.forward(images.repeat(copies, axis=0), first[:, None])[0][:, -1]
    np.testing.assert_allclose(texts.scores_after(first), expected)


def test_padding_is_what_the_configuration_says_and_does_not_count() -> None:
    model, batch = KIND.build(pad_idx=7), KIND.batch(1)
    assert model.ignore_index == 7
    assert model.loss((batch.images, np.array([[1, 2, 3, 7, 7]])))[0].count == 2


def test_its_arithmetic_is_that_of_patches_and_tokens() -> None:
    assert KIND.build().forward_flops().tokens == 4 + 6


def test_attention_to_patches_can_be_seen() -> None:
    model, batch = stir(KIND.build()), KIND.batch(2, dtype=np.float32)
    with capture(model, "decoder.*.cross.*") as seen:
        model.loss(batch)
    for i in range(2):
        weights, v = seen[f"decoder.{i}.cross.weights"], seen[f"decoder.{i}.cross.v"]
        assert weights.shape == (2, 2, 6, 4)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        mixed = np.einsum("bhts,bshd->bthd", weights, v)
        np.testing.assert_allclose(seen[f"decoder.{i}.cross.mixed"], mixed, atol=1e-5)


def test_wrong_inputs_are_named() -> None:
    model, batch = KIND.build(), KIND.batch(2)
    with pytest.raises(ShapeError, match=r"there are 1 images and 2 texts; each image needs one text"):
        model.forward(batch.images[:1], batch.texts)
    with pytest.raises(ShapeError, match=r"inputs has shape \(2, 2, 5, 6\), expected \(B, 2, 6, 6\)"):
        model.forward(batch.images[:, :, 1:], batch.texts[:, :-1])
    with pytest.raises(ShapeError, match=r"texts has shape \(2, 7\), expected \(B, T\) with T <= block_size = 6"):
        model.forward(batch.images, batch.texts)
    with pytest.raises(DataError, match=r"texts: a row has padding"):
        model.forward(batch.images, np.array([[1, 0, 2], [1, 2, 3]]))
    for changes, says in (
        ({"patch": 4}, "does not divide"),
        ({"pad_idx": 11}, "not in the vocabulary"),
        ({"pad_idx": -1}, "not in the vocabulary"),
    ):
        with pytest.raises(ConfigError, match=says):
            KIND.configure(**changes)
    assert KIND.configure(pad_idx=10).pad_idx == 10
    with pytest.raises(ConfigError, match="Captioner"):
        Captioner(GPTConfig(vocab_size=5))  # type: ignore[arg-type]


def test_a_preset_is_counted() -> None:
    model = build_model("captioner-shapes")
    found = summarize(model)
    assert found.parameter_count == model.parameter_count()
    assert set(found.parameters) == {"embedding", "attention", "feed-forward", "norms"}
