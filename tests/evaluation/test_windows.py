"""The windows of a text: every token is scored once, with as many tokens before it as the stride leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.evaluation import windows


@given(tokens=st.integers(0, 200), longest=st.integers(1, 40), data=st.data())
def test_each_token_but_the_first_is_scored_once(tokens: int, longest: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, longest))
    seen: list[int] = []
    for start, end, scored in windows(tokens, longest, stride):
        assert 0 <= start < end <= tokens - 1
        assert end - start <= longest
        targets = range(end - scored + 1, end + 1)
        assert all(target > start for target in targets)
        for target in targets:  # the tokens from `start` on stand before it
            assert target - start >= min(target, longest - stride + 1)
        seen += targets
    assert seen == list(range(1, tokens))


@given(tokens=st.integers(2, 200), longest=st.integers(1, 40))
def test_with_stride_1_each_token_has_the_most_context(tokens: int, longest: int) -> None:
    for start, end, scored in windows(tokens, longest, 1):
        if scored == 1:
            assert end - start == min(end, longest)


@given(tokens=st.integers(2, 200), longest=st.integers(1, 40))
def test_the_widest_stride_is_windows_side_by_side(tokens: int, longest: int) -> None:
    found = list(windows(tokens, longest, longest))
    assert len(found) == -(-(tokens - 1) // longest)
    assert all(w.scored == longest and w.start == i * longest for i, w in enumerate(found[:-1]))


@pytest.mark.parametrize("stride", [0, -1, 9, True, 2.0])
def test_a_stride_outside_the_context_is_refused(stride: int) -> None:
    with pytest.raises(ConfigError, match="from 1 to 8"):
        list(windows(20, 8, stride))
