"""The context of a long sequence: it starts again with its last half, and depends on the length alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minitrain.generation.context import context_start, restart_length


@given(longest=st.integers(1, 40), length=st.integers(1, 300))
def test_the_context_grows_by_one_or_starts_again_with_half(longest: int, length: int) -> None:
    size, after = (n - context_start(n, longest) for n in (length, length + 1))
    assert 1 <= size <= longest
    assert after == (size + 1 if size < longest else restart_length(longest))


@given(longest=st.integers(1, 40), length=st.integers(1, 40))
def test_a_short_sequence_is_seen_in_full(longest: int, length: int) -> None:
    assert (context_start(length, longest) == 0) == (length <= longest)


def test_half_of_the_longest() -> None:
    assert [restart_length(longest) for longest in (1, 2, 3, 4, 5, 64)] == [1, 1, 1, 2, 2, 32]
