"""The pages for learners: their code runs, and the lines of the cheat sheet are gradients."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minitrain import check_gradients
from minitrain.testing import GradientMismatch
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

X = np.random.default_rng(0).standard_normal((5, 6))
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_the_cheat_sheets_code(capsys: pytest.CaptureFixture[str]) -> None:
    run("docs/cheat_sheet.md", *snippets("docs/cheat_sheet.md"))
    assert "worst relative error" in capsys.readouterr().out


def test_the_net_for_people_who_know_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("docs/for_pytorch_users.md", *snippets("docs/for_pytorch_users.md"))
    assert capsys.readouterr().out.count("worst relative error") == 5  # the input, two weights, two biases
    assert names["net"].parameter_count() == 8 * 32 + 32 + 32 * 3 + 3


def sigma(x):
    return 1 / (1 + np.exp(-x))


def rows(x):
    return x.mean(axis=-1, keepdims=True)


def total(x):
    return x.sum(axis=-1, keepdims=True)


def standardised(x):
    return (x - rows(x)) / np.sqrt(rows((x - rows(x)) ** 2))


LINES = {
    "SiLU": (lambda x: x * sigma(x), lambda d, x, y: d * sigma(x) * (1 + x * (1 - sigma(x)))),
    "tanh": (np.tanh, lambda d, x, y: d * (1 - y**2)),
    "logistic": (sigma, lambda d, x, y: d * y * (1 - y)),
    "softmax": (lambda x: np.exp(x) / total(np.exp(x)), lambda d, x, p: p * (d - total(d * p))),
    "log-softmax": (lambda x: x - np.log(total(np.exp(x))), lambda d, x, y: d - np.exp(y) * total(d)),
    "layer norm": (
        standardised,
        lambda g, x, y: (g - rows(g) - y * rows(g * y)) / np.sqrt(rows((x - rows(x)) ** 2)),
    ),
    "RMS norm": (
        lambda x: x / np.sqrt(rows(x * x)),
        lambda g, x, y: (g - y * rows(g * y)) / np.sqrt(rows(x * x)),
    ),
    "L2": (
        lambda x: x / np.sqrt(total(x * x)),
        lambda d, x, y: (d - y * total(y * d)) / np.sqrt(total(x * x)),
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_the_cheat_sheet_is_a_gradient(name: str) -> None:
    forward, backward = LINES[name]
    pair = (lambda x: (forward(x), (x, forward(x))), lambda d, cache: backward(d, *cache))
    assert check_gradients(pair, X).worst < 1e-6
    with pytest.raises(GradientMismatch):
        check_gradients((pair[0], lambda d, cache: 1.01 * backward(d, *cache)), X)


def test_the_glossary_is_in_order_and_each_word_stands_once() -> None:
    words = re.findall(r"^\*\*(.+?)\.\*\*", GLOSSARY, re.MULTILINE)
    assert len(words) >= 40
    assert [word.lower() for word in words] == sorted({word.lower() for word in words})
