"""Which drafted tokens are kept: some by hand, and all of them by their frequencies."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.generation.speculative.acceptance import accept_drawn, accept_guesses

SEEDS = st.integers(0, 10**6)
ROWS = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0]), min_size=3, max_size=3).filter(any)


def grid(n: int, **at: int) -> Any:
    """Numbers in the middle of ``n`` equal parts of [0, 1), one for each name."""
    return lambda purpose, position: (at[f"{purpose}{position}"] + 0.5) / n


def rows(target: Any, asked: list[int] | None = None) -> Any:
    """The rows of an array, as they are asked for."""

    def row(i: int) -> Any:
        if asked is not None:
            asked.append(i)
        return target[i]

    return row


@settings(max_examples=30)
@given(p=ROWS, q=ROWS)
def test_a_kept_or_replaced_token_has_the_distribution_of_the_target(p: list[float], q: list[float]) -> None:
    """Every drafted token with its probability, and evenly spaced numbers instead of random ones."""
    target, draft, n = np.array([p, p]), np.array([q]) / sum(q), 20
    frequency = np.zeros(3)
    for token in np.flatnonzero(draft[0]):
        for accept, replace in itertools.product(range(n), range(n)):
            number = grid(n, accept5=accept, token5=replace, token6=replace)
            kept = list(accept_drawn(np.array([token]), draft, rows(target), number, 5))
            frequency[kept[0]] += draft[0, token] / n**2
            assert len(kept) == 1 or kept[0] == token
    assert frequency == pytest.approx(np.array(p) / sum(p), abs=3 / n)


@settings(max_examples=5)
@given(seed=SEEDS)
def test_two_drafted_tokens_and_what_follows_have_the_distribution_of_the_target(seed: int) -> None:
    """The probability of each text of two tokens, from all drafts of two tokens and all outcomes."""
    rng, n = np.random.default_rng(seed), 6
    p1, q1 = rng.dirichlet([1, 1], 2)
    p2, q2 = rng.dirichlet([1, 1], (2, 2))  # after each first token
    found = np.zeros((2, 2))
    for first, second in itertools.product(range(2), range(2)):
        target = np.array([p1, p2[first], [0.5, 0.5]])
        draft = np.array([q1, q2[first]])
        for a0, a1, t0, t1 in itertools.product(range(n), repeat=4):
            number = grid(n, accept0=a0, accept1=a1, token0=t0, token1=t1, token2=0)
            kept = list(accept_drawn(np.array([first, second]), draft, rows(target), number, 0))
            share = q1[first] * q2[first, second] / n**4
            if len(kept) > 1:
                found[kept[0], kept[1]] += share
            else:  # the next round decides the second token, which has the target's distribution
                found[kept[0]] += share * p2[kept[0]]
    assert found == pytest.approx(p1[:, None] * p2, abs=4 / n)
    assert found.sum(axis=1) == pytest.approx(p1, abs=2 / n)


def test_a_target_that_differs_by_rounding_only() -> None:
    """Then nothing is left to replace a rejected token from, and the target replaces it."""
    target = np.array([[0.5, 0.5]] * 2)
    kept = accept_drawn(np.array([1]), np.array([[0.5 + 1e-3, 0.5 + 1e-3]]), rows(target), lambda *_: 0.9999, 0)
    assert list(kept) == [1]


@given(p=ROWS, guess=st.integers(0, 2))
def test_a_guess_is_right_as_often_as_the_target_draws_it(p: list[float], guess: int) -> None:
    n = 600
    target, drafted = np.array([p, p]), np.array([guess])
    kept = [list(accept_guesses(drafted, rows(target), grid(n, token2=i, token3=i), 2)) for i in range(n)]
    share = np.array(p) / sum(p)
    assert np.bincount([one[0] for one in kept], minlength=3) / n == pytest.approx(share, abs=1.01 / n)
    assert np.mean([len(one) == 2 for one in kept]) == pytest.approx(share[guess], abs=1.01 / n)
    assert all((one[0] == guess) == (len(one) == 2) for one in kept)


TARGET = np.array([[2.0, 6.0, 0.0], [1.0, 1.0, 2.0], [0.0, 3.0, 3.0]])  # not normalised
DRAFT = np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])


@pytest.mark.parametrize(
    ("drafted", "numbers", "kept"),
    [
        ([0, 1], {"accept7": 0.49, "accept8": 0.99, "token9": 0.49}, [0, 1, 1]),
        ([0, 1], {"accept7": 0.49, "accept8": 0.99, "token9": 0.51}, [0, 1, 2]),
        ([0, 1], {"accept7": 0.5, "token7": 0.9}, [1]),  # p = 1/4 and q = 1/2: kept below a half, and not at it
        ([1, 0], {"accept7": 0.99, "accept8": 0.49, "token9": 0.0}, [1, 0, 1]),
        ([1, 0], {"accept7": 0.99, "accept8": 0.51, "token8": 0.0}, [1, 2]),  # only token 2 is likelier than drafted
        ([], {"token7": 0.2}, [0]),
        ([], {"token7": 0.3}, [1]),
    ],
)
def test_some_drawn_tokens(drafted: list[int], numbers: dict[str, float], kept: list[int]) -> None:
    """Only the numbers that are there are asked for, and only the distributions after what is kept."""
    draft, asked = DRAFT[: len(drafted)], list[int]()
    found = accept_drawn(
        np.array(drafted, int), draft, rows(TARGET, asked), lambda purpose, at: numbers[f"{purpose}{at}"], 7
    )
    assert list(found) == kept
    assert asked == list(range(len(kept)))


@pytest.mark.parametrize(
    ("drafted", "numbers", "kept"),
    [
        ([1, 0], [0.3, 0.1, 0.6], [1, 0, 2]),
        ([1, 0], [0.2], [0]),
        ([1, 0], [0.3, 0.6], [1, 2]),
        ([], [0.3], [1]),
    ],
)
def test_some_guesses(drafted: list[int], numbers: list[float], kept: list[int]) -> None:
    """The next one is drawn only if this one was right."""
    asked: list[int] = []
    found = accept_guesses(
        np.array(drafted, int), rows(TARGET, asked), lambda purpose, at: {"token": numbers}[purpose][at - 7], 7
    )
    assert list(found) == kept
    assert asked == list(range(len(kept)))


def test_nothing_is_computed_for_tokens_that_nobody_takes() -> None:
    for accept in (
        accept_guesses(np.array([1, 0]), rows(TARGET[:1]), lambda *_: 0.3, 7),
        accept_drawn(np.array([1, 0]), DRAFT, rows(TARGET[:1]), lambda *_: 0.3, 7),
    ):
        assert next(accept) == 1
