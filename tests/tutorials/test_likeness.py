"""Wrong results are told apart by the pattern of their error, and nothing is told of errors without a pattern."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.tutorials import Exercise

X, Y = (np.random.default_rng(seed).standard_normal((4, 5)) for seed in (0, 1))
ROW = np.random.default_rng(2).standard_normal(5)


def reference(x, y, row):
    return x * y + row, (x * y).sum(axis=0)


RIGHT, SUM = reference(X, Y, ROW)


def finding(first, second=SUM) -> str:
    exercise = Exercise("both", reference=reference, inputs={"x": X, "y": Y, "row": ROW})
    verdict = exercise.check(lambda x, y, row: (first, second))
    assert not verdict.passed
    return verdict.findings


def only(axis: int, at: int):
    wrong = RIGHT.copy()
    np.moveaxis(wrong, axis, 0)[at] += Y[:, 0] if axis else Y[0]
    return wrong


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (-RIGHT, "every element has the wrong sign"),
        (2.5 * RIGHT, "all are 2.5 times that"),
        (RIGHT - 3, "all are -3 away"),
        (0 * RIGHT, "it is 0 everywhere"),
        (RIGHT.T, "the shape is (5, 4), and (4, 5) is asked for; transposed, it is right"),
        (RIGHT.reshape(2, 10), "the numbers are right: reshape it"),
        (RIGHT[:, ::-1], "along axis 1, it is the wrong way round"),
        (np.roll(RIGHT, -1, 0), "along axis 0, all are one place early"),
        (np.random.default_rng(0).permutation(RIGHT.ravel()).reshape(4, 5), "in the wrong places"),
        (abs(RIGHT), "some signs are wrong"),
        (RIGHT * X, "there is a factor too many: x"),
        (RIGHT / ROW, "a factor is missing: times row"),
        (RIGHT - ROW, "a term is missing: plus row"),
        (RIGHT + Y, "there is a term too many: y"),
        (X, "it is x, unchanged"),
        (RIGHT * X[:, :1], "along axis 1, all are wrong by the same factor"),
        (RIGHT + ROW**2, "along axis 0, all are away by the same amount"),
        (only(0, 2), "along axis 0, only 2 of 4 are wrong"),
        (only(1, 4), "along axis 1, only 4 of 5 are wrong"),
    ],
)
def test_a_pattern_is_named(first, words):
    assert words in finding(first)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (X * Y, "the shape is (4, 5), and (5,) is asked for; summed over axis 0, it is right"),
        ((X * Y * 4), "averaged over axis 0, it is right"),
        (SUM[None], "the numbers are right: reshape it"),
        (SUM / 4, "all are 0.25 times that"),
    ],
)
def test_a_missing_sum_is_named(second, words):
    assert words in finding(RIGHT, second)


def test_swapped_results_are_named():
    exercise = Exercise("two", reference=lambda x, y: (x + y, x - y), inputs={"x": X, "y": Y})
    assert "result 1 should be" in exercise.check(lambda x, y: (x - y, x + y)).findings


@given(st.integers(0, 10_000))
def test_an_error_without_a_pattern_gets_no_words(seed):
    found = RIGHT + np.random.default_rng([seed, 9]).standard_normal(RIGHT.shape)
    assert finding(found).count(";") == 0


square = st.integers(2, 5)


@given(square, st.integers(0, 1000))
def test_a_transposed_square_is_named(size, seed):
    x = np.random.default_rng(seed).standard_normal((size, size))
    exercise = Exercise("square", reference=lambda x: x @ x, inputs={"x": x})
    assert "transposed, it is right" in exercise.check(lambda x: (x @ x).T).findings
