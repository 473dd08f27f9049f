"""An encoder-decoder: how it begins, its limits, and what it keeps; `test_transformers` has who sees whom."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ShapeError, TokenError
from minitrain.models import Seq2Seq
from minitrain.nn.attention.positions import SinusoidalPositions
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS, Pairs

NAMES = ["seq2seq", "seq2seq, separate", "seq2seq, pointer", "seq2seq, rotary"]
SOURCE = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 0, 0]])
TARGET = np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])


def build(name: str = "seq2seq", **changes: Any) -> Seq2Seq:
    model: Seq2Seq = stir(KINDS[name].build(dtype=np.float64, **changes))
    return model


def test_the_beginning_counts_the_branches_of_each_block() -> None:
    model = KINDS["seq2seq"].build(n_embd=64, n_layer=2)
    encoder = [out for one in model.encoder for out in (one.attention.out, one.feed_forward.down)]
    decoder = [out for one in model.decoder for out in (one.attention.out, one.cross.out, one.feed_forward.down)]
    for outs, branches in ((encoder, 4), (decoder, 6)):
        for out in outs:
            assert out.weight.data.std() == pytest.approx(0.02 / math.sqrt(branches), rel=0.05)
    assert model.decoder[0].attention.qkv.weight.data.std() == pytest.approx(0.02, rel=0.05)
    assert model.head.bias is None


def test_every_stack_drops_its_later_blocks_more() -> None:
    model = KINDS["seq2seq"].build(n_layer=3, drop_path=0.3)
    for blocks in (model.encoder, model.decoder):
        assert [block.drop_path for block in blocks] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("rotary", [False, True])
def test_positions_are_in_the_vectors_or_in_attention(rotary: bool) -> None:
    model = build("seq2seq, rotary" if rotary else "seq2seq")
    assert isinstance(model.positions, type(None) if rotary else SinusoidalPositions)
    for block in (*model.encoder, *model.decoder):
        assert (block.attention.rope is not None) is rotary


def test_every_token_of_the_source_sees_every_other() -> None:
    model = build()
    before = model.encode(SOURCE)[0]
    for place in range(5):
        other = SOURCE.copy()
        other[0, place] = 7
        assert (abs(model.encode(other)[0][0] - before[0]).max(axis=-1) > 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_next_token_by_what_was_kept(name: str) -> None:
    model = build(name)
    memory, lengths, _ = model.encode(SOURCE)
    past = model.new_past(2)
    again = memory if model.pointer else None
    first = model.decode_next(TARGET[:, :2], memory, lengths, past, source=SOURCE)
    rest = model.decode_next(TARGET[:, 2:], again, lengths, past, source=SOURCE)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), model.forward(SOURCE, TARGET)[0], rtol=1e-6)


def test_a_target_is_at_most_a_block_long() -> None:
    """block_size = 6, of the tokens that were kept and the next ones together."""
    model = build()
    memory, lengths, _ = model.encode(SOURCE)
    past = model.new_past(2)
    model.decode_next(TARGET, memory, lengths, past)
    with pytest.raises(ShapeError, match=r"Seq2Seq\.decode_next: target"):
        model.decode_next(TARGET[:, :1], None, lengths, past)
    past = model.new_past(2)
    model.decode_next(TARGET[:, :4], memory, lengths, past)
    with pytest.raises(ShapeError, match=r"Seq2Seq\.decode_next: target.*with T <= block_size = 2"):
        model.decode_next(TARGET[:, :3], None, lengths, past)
    longer = np.ones((2, 7), np.int64)
    for name, pair in (("source", (longer, TARGET)), ("target", (SOURCE, longer))):
        with pytest.raises(ShapeError, match=rf"Seq2Seq\.forward: {name} has shape \(2, 7\).*T <= block_size = 6"):
            model.forward(*pair)


def test_wrong_tokens_and_rows_are_named() -> None:
    model = build()
    memory, lengths, _ = model.encode(SOURCE)
    with pytest.raises(TokenError):
        model.decode_next(np.full((2, 1), 11), memory, lengths, model.new_past(2))
    with pytest.raises(ShapeError, match="source has 2 rows and target 1; each source needs one target"):
        model.forward(SOURCE, TARGET[:1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_a_text_stand_side_by_side_and_read_their_source(name: str, copies: int) -> None:
    model = build(name)
    texts = model.begin(SOURCE, copies=copies)
    assert texts.batch == 2 * copies
    first = np.arange(1, 1 + 2 * copies)
    expected = model.forward(SOURCE.repeat(copies, axis=0), first[:, None])[0][:, -1]
    np.testing.assert_allclose(texts.scores_after(first), expected, rtol=1e-6)


def test_padding_is_what_the_configuration_says_and_does_not_count() -> None:
    model = KINDS["seq2seq"].build(pad_idx=7)
    assert model.ignore_index == 7
    assert model.loss(Pairs(SOURCE, np.array([[1, 2, 3, 7, 7], [1, 2, 7, 7, 7]])))[0].count == 3


def test_its_arithmetic_counts_both_sides() -> None:
    """What a pointer adds: its layers, and the scores of each pair of tokens."""
    plain, pointer = (KINDS[name].build().forward_flops() for name in ("seq2seq", "seq2seq, pointer"))
    assert plain.tokens == pointer.tokens == 12
    assert plain.attention == pointer.attention == 4 * 8 * 2 * (36 + 21 + 36)
    layers = KINDS["seq2seq, pointer"].build().pointer
    weights = sum(weight.size for name, weight in layers.state_dict().items() if name.endswith("weight"))
    assert pointer.products - plain.products == 2 * 6 * weights + 2 * 8 * 36
