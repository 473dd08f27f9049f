"""Exercises: right answers pass, and a mistake is told in words, whatever the reader writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.ops import layer_norm_forward, registry
from minitrain.testing.strategies import arrays
from minitrain.tutorials import Exercise


def scale_forward(x, weight):
    return x * weight, (x, weight)


def scale_backward(dout, cache):
    x, weight = cache
    return dout * weight, (dout * x).sum(axis=0)


def scaling(**settings) -> Exercise:
    return Exercise("scale_backward", forward=scale_forward, inputs={"x": (5, 3), "weight": (3,)}, **settings)


def test_a_right_backward_passes_and_its_errors_are_shown():
    verdict = scaling().check(scale_backward)
    assert verdict.passed
    assert verdict.hint == ""
    assert verdict.findings.count("worst relative error") == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda dout, cache: None, "not written yet"),
        (lambda dout, cache: (dout * cache[1], (dout * cache[0])), "shape"),
        (lambda dout, cache: (2 * dout * cache[1], (dout * cache[0]).sum(0)), "2 times what it should be"),
        (lambda dout, cache: (-dout * cache[1], (dout * cache[0]).sum(0)), "wrong sign"),
        (lambda dout, cache: (dout * cache[1], (dout * cache[0]).mean(0)), "0.2 times what it should be"),
        (lambda dout, cache: dout @ cache[1].T @ cache[1].T, "ValueError"),
        (lambda dout, cache: cache["weight"], "TypeError"),
        (lambda dout: dout, "TypeError"),
    ],
)
def test_a_wrong_backward_is_told_what_is_wrong(answer, words):
    verdict = scaling().check(answer)
    assert not verdict.passed
    assert words in verdict.findings


def test_an_answer_that_writes_to_its_arguments_is_told():
    def answer(dout, cache):
        dout *= cache[1]
        return dout, (dout * cache[0]).sum(0)

    assert not scaling().check(answer).passed


def test_hints_come_one_by_one_and_the_last_stays():
    exercise = scaling(hints=["first", "second"])
    hints = [exercise.check(lambda dout, cache: None).hint for _ in range(4)]
    assert hints == ["first (1 of 2)", "second (2 of 2)", "second (2 of 2)", "second (2 of 2)"]
    assert exercise.check(scale_backward).passed
    assert exercise.passed
    assert exercise.attempts == 4


def test_advice_comes_beside_the_hints_and_hides_none():
    exercise = scaling(hints=["one", "two", "three"], advice={"wrong sign": "look at the minus"})
    verdicts = [exercise.check(lambda dout, cache: (-dout * cache[1], (dout * cache[0]).sum(0))) for _ in range(3)]
    assert [verdict.advice for verdict in verdicts] == ["look at the minus"] * 3
    assert [verdict.hint for verdict in verdicts] == ["one (1 of 3)", "two (2 of 3)", "three (3 of 3)"]
    assert repr(verdicts[0]).endswith("Advice: look at the minus\nHint: one (1 of 3)")
    assert "<b>Advice.</b> look at the minus" in verdicts[0]._repr_html_()
    assert exercise.check(lambda dout, cache: None).advice == ""


def test_a_later_wrong_answer_takes_the_pass_back():
    exercise = scaling()
    exercise.check(scale_backward)
    exercise.check(lambda dout, cache: None)
    assert not exercise.passed


def test_expect_notices_a_wrong_answer_that_passes_and_missing_words():
    exercise = scaling()
    with pytest.raises(AssertionError, match="a wrong answer passes"):
        exercise.expect(scale_backward, "anything")
    with pytest.raises(AssertionError, match="is not in"):
        exercise.expect(lambda dout, cache: None, "words that no checker says")
    exercise.expect(lambda dout, cache: None, "not written yet")
    assert exercise.attempts == 0
    assert len(exercise.mistakes) == 1


def test_the_operations_of_the_library_are_right_answers():
    inputs = {"x": (4, 6), "weight": (6,), "bias": (6,)}
    exercise = Exercise("layer_norm_backward", forward=layer_norm_forward, inputs=inputs)
    verdict = exercise.check(registry()["layer_norm"].backward)
    assert verdict.passed, verdict


@given(arrays((3, 4)), st.sampled_from([2.0, -1.0, 0.5]))
def test_values_are_compared_and_a_factor_is_named(x, factor):
    exercise = Exercise("twice", reference=lambda x: 2 * x, inputs={"x": x})
    assert exercise.check(lambda x: x + x).passed
    wrong = exercise.check(lambda x: 2 * factor * x)
    if abs(x).max() > 0.01:
        assert not wrong.passed
        assert ("wrong sign" if factor == -1 else f"{factor:g} times") in wrong.findings


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: None, "not written yet"),
        (lambda x: (x, x), "returns 2 results, and 1 are asked for"),
        (lambda x: x[:1], "the shape is (1, 2), and (2, 2) is asked for"),
        (lambda x: x + 3, "+3 away"),
        (lambda x: x * np.nan, "not finite"),
        (lambda x: "text", "it is a str"),
        (lambda x: x @ x @ np.ones(3), "ValueError"),
        (lambda x: x + np.eye(2), "element (0, 0) is"),
    ],
)
def test_a_wrong_value_is_told_what_is_wrong(answer, words):
    exercise = Exercise("same", reference=lambda x: x, inputs={"x": (2, 2)})
    verdict = exercise.check(answer)
    assert not verdict.passed
    assert words in verdict.findings


def test_the_answer_cannot_change_what_the_reference_sees():
    def answer(x):
        x[:] = 0
        return x

    assert not Exercise("same", reference=lambda x: x, inputs={"x": (2, 2)}).check(answer).passed


def test_an_answer_that_writes_to_a_given_array_cannot_change_the_next_check():
    given = np.array([3.0, 1.0, 2.0])
    exercise = Exercise("sorted", reference=np.sort, inputs={"x": given})

    def in_place(x):
        x.sort()
        return x

    assert exercise.check(in_place).passed
    assert not exercise.check(lambda x: x).passed
    np.testing.assert_array_equal(given, [3, 1, 2])


def test_the_line_of_the_mistake_is_shown():
    def answer(x):
        return undefined_name + x  # noqa: F821

    findings = Exercise("same", reference=lambda x: x, inputs={"x": (2,)}).check(answer).findings
    assert "NameError" in findings
    assert "undefined_name + x" in findings


def test_an_exercise_needs_one_thing_to_compare_with():
    with pytest.raises(ConfigError, match="either a forward or a reference"):
        Exercise("nothing")
    with pytest.raises(ConfigError, match="either a forward or a reference"):
        Exercise("both", forward=scale_forward, reference=scale_forward)


def test_a_verdict_shows_as_text_and_as_html_without_letting_html_through():
    exercise = Exercise("<b>", reference=lambda x: x, inputs={"x": (2,)}, hints=["a < b"])
    verdict = exercise.check(lambda x: x + 1)
    assert repr(verdict).splitlines()[0] == "<b>: not yet"
    assert "&lt;b&gt;: not yet" in verdict._repr_html_()
    assert "a &lt; b" in verdict._repr_html_()
