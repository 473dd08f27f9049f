"""Buckets: whole parameters in the order of memory, of at least so many elements, and nothing between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.models import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import buckets
from minitrain.optim.buckets import Bucket, buckets_of, cut
from minitrain.optim.groups import flat_groups


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=8), at_least=st.integers(1, 20)
)
def test_a_buffer_is_cut_as_early_as_is_allowed(sizes: list[tuple[int, int]], at_least: int) -> None:
    """Parameters may have gaps behind them, which belong to the bucket before."""
    spans, start = {}, 0
    for number, (size, gap) in enumerate(sizes):
        spans[f"p{number}"] = slice(start, start + size)
        start += size + gap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "SMALLEST", at_least)
        found = list(cut(spans, start))
    assert [path for _, paths in found for path in paths] == list(spans)
    assert [where.start for where, _ in found] == [0, *(where.stop for where, _ in found[:-1])]
    assert found[-1][0].stop == start
    for where, paths in found:
        assert where.start == spans[paths[0]].start
        assert where.stop - where.start >= at_least or where.stop == start
        assert spans[paths[-1]].start - where.start < at_least  # one parameter less would not do


def model() -> GPT:
    made = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=8), seed=1)
    made.parameters()[0].trainable = False
    return made


def test_buckets_are_the_memory_of_all_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "SMALLEST", 200)
    made = model()
    pack(made)
    found = buckets_of(made)
    groups = flat_groups(made)
    assert len(found) > len(groups) > 1
    assert sum(bucket.grad.size for bucket in found) == sum(group.grad.size for group in groups)
    check(found)
    assert {path for bucket in found for path in bucket.parameters} == {
        path for group in groups for path in group.parameters
    }


def test_of_a_model_that_is_not_packed_each_parameter_is_one() -> None:
    made = model()
    found = buckets_of(made)
    check(found)
    assert [list(bucket.parameters) for bucket in found] == [
        [path] for path, p in made.named_parameters() if p.trainable
    ]


def check(found: list[Bucket]) -> None:
    """The gradient of each parameter is in its bucket, one after the other."""
    for bucket in found:
        assert bucket.grad.ndim == 1
        assert bucket.grad.flags.c_contiguous
        for parameter in bucket.parameters.values():
            parameter.grad_buffer()[...] = 0
        end = 0
        for parameter in bucket.parameters.values():
            parameter.grad_buffer()[...] = 1
            (places,) = np.nonzero(bucket.grad)
            assert places.size == parameter.data.size
            assert places[0] >= end
            end = places[-1] + 1
            parameter.grad_buffer()[...] = 0
