"""The code on the page about ONNX runs, and does what the text around it says."""

from __future__ import annotations

import re

import pytest

from minitrain.interop.onnx import trials
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = "docs/onnx.md"


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    names = run(PAGE, *snippets(PAGE))
    said = capsys.readouterr().out.splitlines()
    assert said[-3].startswith("model.onnx ")
    assert said[-2].startswith("the quick")
    assert re.fullmatch(r"\d\.\de-0[6-9] of the largest logit", said[-1])
    assert names["found"].shape == (1, len("the quick") + 20)


def test_the_table_names_the_inputs_of_a_decoder() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert f"`{trials.TOKENS}`" in text
    assert f"`{trials.LOGITS}`" in text
