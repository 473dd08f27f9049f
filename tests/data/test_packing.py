"""Packing: every token once, nothing across a border, and first fit as the book has it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import IGNORED, JoinedTokens, PackedDataset, document_offsets
from minitrain.data.samples import packing
from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.nn import create_document_mask
from minitrain.ops import attention_forward

LENGTHS = st.lists(st.integers(1, 14), min_size=1, max_size=14)
METHODS = st.sampled_from(packing.METHODS)


def packed(lengths: list[int], T: int, method: str, **options: bool) -> PackedDataset:
    """Documents of these lengths; the token at position i of all of them is i."""
    offsets = np.cumsum([0, *lengths])
    return PackedDataset(np.arange(offsets[-1]), offsets, T, method=method, pad_id=999, **options)


@given(lengths=LENGTHS, T=st.integers(1, 9), method=METHODS)
def test_every_token_is_an_input_once_and_a_target_once_unless_it_is_a_first(
    lengths: list[int], T: int, method: str
) -> None:
    dataset = packed(lengths, T, method)
    windows = [dataset[i] for i in range(len(dataset))]
    firsts = set(np.cumsum([0, *lengths])[:-1].tolist())
    inputs = np.concatenate([window.inputs[window.documents >= 0] for window in windows])
    assert sorted(inputs.tolist()) == list(range(sum(lengths)))
    targets = np.concatenate([window.targets[window.targets != IGNORED] for window in windows])
    assert sorted(targets.tolist()) == [i for i in range(sum(lengths)) if i not in firsts]


@given(lengths=LENGTHS, T=st.integers(1, 9), method=METHODS, reset=st.booleans())
def test_a_window_holds_whole_stretches_of_documents(lengths: list[int], T: int, method: str, reset: bool) -> None:
    dataset = packed(lengths, T, method, reset_positions=reset)
    of_token = np.repeat(np.arange(len(lengths)), lengths)
    for window in (dataset[i] for i in range(len(dataset))):
        real = window.documents >= 0
        count = int(real.sum())
        assert real[:count].all()  # padding comes last
        assert (window.inputs[count:] == 999).all()
        assert (window.targets[count:] == IGNORED).all()
        assert all(array.dtype == np.int32 and array.shape == (T,) for array in window)
        owners = of_token[window.inputs[:count]]
        for t in range(count):
            target = window.targets[t]
            if target != IGNORED:  # the next token, of the same document
                assert target == window.inputs[t] + 1
                assert of_token[target] == owners[t]
        assert np.array_equal(window.documents[1:count] != window.documents[: count - 1], owners[1:] != owners[:-1])
        assert window.documents[:count].tolist() == np.unique(owners, return_inverse=True)[1].tolist()
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        expected = np.arange(count) - np.repeat(starts, np.diff([*starts, count])) if reset else np.arange(count)
        assert window.positions[:count].tolist() == expected.tolist()


@given(lengths=LENGTHS, T=st.integers(1, 9))
def test_joined_windows_are_full(lengths: list[int], T: int) -> None:
    dataset = packed(lengths, T, "join")
    assert len(dataset) == -(-sum(lengths) // T)
    assert np.concatenate([window.inputs for window in dataset])[: sum(lengths)].tolist() == list(range(sum(lengths)))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=14))
def test_first_fit_is_the_rule_of_the_book(lengths: list[int]) -> None:
    T = 9
    bins: list[list[int]] = []
    for document, length in enumerate(lengths):
        for content in bins:
            if sum(lengths[d] for d in content) + length <= T:
                content.append(document)
                break
        else:
            bins.append([document])
    dataset, of_token = packed(lengths, T, "first_fit"), np.repeat(np.arange(len(lengths)), lengths)
    found = [np.unique(of_token[window.inputs[window.documents >= 0]]).tolist() for window in dataset]
    assert found == bins


def test_first_fit_looks_at_the_open_windows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(packed([5, 6, 6, 6, 4], 9, "first_fit")) == 4
    monkeypatch.setattr(packing, "OPEN_WINDOWS", 3)
    assert len(packed([5, 6, 6, 6, 4], 9, "first_fit")) == 5  # the first window was closed


@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=30), chunk=st.integers(1, 12), parts=st.integers(1, 3))
def test_documents_are_found_by_their_ends(ids: list[int], chunk: int, parts: int) -> None:
    tokens = JoinedTokens(list(np.array_split(np.array(ids), parts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "CHUNK", chunk)
        offsets = document_offsets(tokens, 3)
    documents = [ids[a:b] for a, b in pairwise(offsets)]
    assert [i for document in documents for i in document] == ids
    assert all(document and 3 not in document[:-1] for document in documents)
    assert all(document[-1] == 3 for document in documents[:-1])
    PackedDataset(tokens, offsets, 4)  # they are what packing wants


def test_batches_of_windows_and_the_mask_that_keeps_documents_apart() -> None:
    dataset = packed([3, 2, 4], 5, "first_fit")
    batch = dataset.loader(2, seed=0).batch(0)
    assert batch.inputs.shape == (2, 5)
    mask = create_document_mask(batch.documents)
    assert mask.shape == (2, 1, 5, 5)
    for row, documents in enumerate(batch.documents.tolist()):
        for t in range(5):
            for s in range(5):
                assert mask[row, 0, t, s] == (documents[t] == documents[s])


def test_attention_in_a_packed_window_is_that_of_each_document_alone() -> None:
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 5, 2, 4))
    documents = np.array([[0, 0, 0, 1, 1]])
    together, _ = attention_forward(q, k, v, causal=True, mask=create_document_mask(documents))
    for part in (slice(0, 3), slice(3, 5)):
        alone, _ = attention_forward(q[:, part], k[:, part], v[:, part], causal=True)
        np.testing.assert_allclose(together[:, part], alone, rtol=1e-12)


def test_arguments_that_do_not_fit() -> None:
    tokens = np.arange(6)
    with pytest.raises(ConfigError, match="block_size must be at least 1, not 0"):
        PackedDataset(tokens, np.array([0, 6]), 0)
    with pytest.raises(ConfigError, match="no packing method 'best': choose one of join, first_fit"):
        PackedDataset(tokens, np.array([0, 6]), 4, method="best")
    for offsets in ([0, 5], [1, 6], [0, 3, 3, 6], [0, 4, 2, 6], [0], [], [[0, 6]]):
        with pytest.raises(DataError, match=r"ascend from 0 to the number of tokens, 6.*document_offsets"):
            PackedDataset(tokens, np.array(offsets), 4)
    for wrong in (np.zeros(3, int), np.zeros((2, 3))):
        with pytest.raises(ShapeError, match=r"create_document_mask: documents must be \(B, T\) integers"):
            create_document_mask(wrong)
