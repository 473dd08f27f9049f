"""A rank reads its own micro-batches and no others, and they are those of the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.data import ArrayDataset, BucketLoader, MaskedTokenLoader, PrefetchLoader, TokenLoader
from minitrain.data.loading.parts import some_micro_batches
from minitrain.errors import ConfigError

TOKENS = np.random.default_rng(0).integers(0, 50, 500)
ROWS = np.arange(60.0).reshape(20, 3)


class Reading:
    """Token ids that count how many of them were read."""

    def __init__(self) -> None:
        self.read, self.shape, self.ndim, self.dtype, self.size = 0, TOKENS.shape, 1, TOKENS.dtype, TOKENS.size

    def __getitem__(self, where: Any) -> Any:
        found = TOKENS[where]
        self.read += found.size
        return found


LOADERS = {
    "tokens": lambda: TokenLoader(TOKENS, 8, 10, seed=1),
    "masked": lambda: MaskedTokenLoader(TOKENS, 8, 10, 1, vocab_size=50),
    "samples": lambda: ArrayDataset(inputs=ROWS, targets=np.arange(20)).loader(10, seed=1),
    "ahead": lambda: PrefetchLoader(TokenLoader(TOKENS, 8, 10, seed=1)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_they_are_those_of_the_whole_batch(name):
    loader, other = LOADERS[name](), LOADERS[name]()
    for step in (0, 1, 5):
        whole = other.micro_batches(step, 4)
        for wanted in (range(0, 1), range(1, 3), range(0, 4), range(3, 4)):
            found = some_micro_batches(loader, step, 4, wanted)
            assert [first for first, _ in found] == [first for first, _ in whole[wanted.start : wanted.stop]]
            for (_, one), (_, two) in zip(found, whole[wanted.start : wanted.stop], strict=True):
                for a, b in zip(one, two, strict=True):
                    np.testing.assert_array_equal(a, b)
    if isinstance(loader, PrefetchLoader):
        np.testing.assert_array_equal(loader.micro_batches(2, 4)[3][1].inputs, other.micro_batches(2, 4)[3][1].inputs)
        loader.close()
        other.close()


def test_no_other_token_is_read():
    tokens = Reading()
    some_micro_batches(TokenLoader(tokens, 8, 10, seed=1), 3, 5, range(2, 3))
    assert tokens.read == 2 * 9


def test_rows_of_different_lengths_are_padded_by_micro_batch():
    """So a rank need not know how long the rows of the others are."""
    lengths = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    sequences = [np.full(n, n) for n in lengths]

    def pad(rows: list[Any]) -> Any:
        longest = max(map(len, rows))
        return (np.array([np.pad(row, (0, longest - len(row))) for row in rows]),)

    loader = BucketLoader(sequences, lengths, max_tokens=40, seed=0, buckets=1, collate=pad)
    rows = len(loader.batch(0)[0])
    found = [some_micro_batches(loader, 0, 4, range(n, n + 1)) for n in range(4)]
    assert sum(len(parts[0][1][0]) for parts in found if parts) == rows
    for parts in found:
        for _, (part,) in parts:
            assert part.shape[1] == part.max()
    assert some_micro_batches(loader, 0, 64, range(60, 64)) == []  # fewer rows than micro-batches


def test_a_loader_that_does_not_know_how_reads_all():
    class Plain:
        def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, str]]:
            return [(number, f"{step}.{number}") for number in range(accumulation)]

    assert some_micro_batches(Plain(), 7, 4, range(1, 3)) == [(1, "7.1"), (2, "7.2")]


def test_more_parts_than_samples_are_refused():
    with pytest.raises(ConfigError, match="choose 1 to 10"):
        some_micro_batches(TokenLoader(TOKENS, 8, 10, seed=1), 0, 11, range(1))
