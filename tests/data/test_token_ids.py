"""Token ids that do not fit into the 32 bits of a batch are refused by name: they must never wrap into valid ids."""

import numpy as np
import pytest

from minitrain.data import (
    ByteTokenizer,
    Dataset,
    JoinedTokens,
    PackedDataset,
    PairDataset,
    TextStream,
    TokenLoader,
    build_token_shards,
    evaluation_batches,
    pad_collate,
    pair_collate,
)
from minitrain.data.samples.collate import Pair
from minitrain.errors import DataError, TokenError

WIDE = {
    "int64": np.array([3, 2**32 + 1, 5, 2**33, 7, 8, 9, 10]),
    "int64, negative": np.array([3, -(2**32) + 1, 5, 6, 7, 8, 9, 10]),
    "int64, just too large": np.array([3, 2**31, 5, 6, 7, 8, 9, 10]),
    "uint32": np.array([3, 2**31 + 1, 5, 6, 7, 8, 9, 10], np.uint32),
    "uint64": np.array([3, 2**63 + 1, 5, 6, 7, 8, 9, 10], np.uint64),
}


class Wide(ByteTokenizer):
    """A tokenizer of one's own with ids that do not fit."""

    def encode(self, text):
        return super().encode(text).astype(np.int64) + 2**32


USES = {
    "training": lambda ids: (
        TokenLoader(ids, 2, 2, 0).batch(0) and [TokenLoader(ids, 2, 2, 0).batch(i) for i in range(9)]
    ),
    "evaluation": lambda ids: list(evaluation_batches(ids, 3, 2)),
    "a text's windows": lambda ids: Dataset.from_tokens(ids, ByteTokenizer(), block_size=3)[0],
    "packed windows": lambda ids: PackedDataset(ids, np.array([0, 4, 8]), 4)[0],
    "sources": lambda ids: PairDataset([ids], [[3]]),
    "targets": lambda ids: PairDataset([[1]], [ids]),
    "pairs": lambda ids: pair_collate([Pair(np.array([1]), ids)]),
    "sources of pairs": lambda ids: pair_collate([Pair(ids, np.array([1]))]),
    "padding": lambda ids: pad_collate([(ids, np.arange(8))]),
    "padded targets": lambda ids: pad_collate([(np.arange(8), ids)]),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", WIDE)
def test_ids_that_do_not_fit_are_refused_by_name(use, kind):
    ids = WIDE[kind]
    with pytest.raises(TokenError, match=rf"({ids[1]}|{ids[3]}) at position [\d, ]+ does not fit into 32 bits"):
        USES[use](ids)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_ids_of_any_type_that_fit_are_taken(use, dtype):
    USES[use](np.arange(3, 11, dtype=dtype))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PairDataset([[1.5]], [[3]]),
        lambda: PairDataset([["a"]], [[3]]),
        lambda: pair_collate([Pair(np.array([1]), np.array([1.5]))]),
    ],
)
def test_what_is_no_integer_is_refused(make):
    with pytest.raises(TokenError, match="must be integers below 2\\*\\*31, got"):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: PackedDataset(np.arange(4), np.array([0, 4]), 4, pad_id=2**31), "pad_id"),
        (lambda: pad_collate([(np.arange(2), np.arange(2))], pad_id=2**40), "the id of padding"),
        (lambda: pair_collate([Pair(np.arange(2), np.arange(2))], bos_id=2**32), "bos_id"),
        (lambda: pair_collate([Pair(np.arange(2), np.arange(2))], eos_id=-(2**32)), "eos_id"),
    ],
)
def test_special_ids_are_checked_too(make, name):
    with pytest.raises(TokenError, match=f"{name}: .* does not fit into 32 bits"):
        make()


def test_streams_and_shards_check_the_ids_of_a_tokenizer(tmp_path):
    (tmp_path / "text.txt").write_text("some words to read")
    with pytest.raises(TokenError, match="does not fit into 32 bits"):
        next(TextStream(tmp_path / "text.txt", Wide(), 4, 2))
    with pytest.raises(TokenError, match="does not fit into 32 bits"):
        build_token_shards(tmp_path / "text.txt", Wide(), tmp_path / "shards")


def test_joined_arrays_are_of_one_type():
    """The ids of the second one were once squeezed into the type of the first."""
    with pytest.raises(DataError, match="JoinedTokens: the arrays must be of one integer type, got int64 and uint16"):
        JoinedTokens([np.arange(3, dtype=np.uint16), np.array([70_000])])
    with pytest.raises(DataError, match="got no array"):
        JoinedTokens([])


def test_empty_lists_are_empty_ids():
    dataset = PairDataset([[]], [[]])
    assert dataset.sources[0].dtype == np.int32 and dataset.sources[0].shape == (0,)
