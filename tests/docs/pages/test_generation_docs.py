"""The page about generation: its code runs, and its table has the settings in the order in which they are applied."""

from __future__ import annotations

import re

import pytest

from minitrain.generation import SamplingParams, choosing
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = "docs/generation.md"


def test_the_code_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(PAGE, *snippets(PAGE))
    said = capsys.readouterr().out
    assert [result.finish_reason for result in names["results"]].count("length") >= 1
    assert said.count("length") >= 1
    assert [len(tokens) for tokens in names["written"].values()] == [8, 5]
    assert not names["engine"].busy


def test_the_table_has_the_order() -> None:
    table = (ROOT / PAGE).read_text(encoding="utf-8").partition("## The methods")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    documented = choosing.__doc__ or ""
    settings = SamplingParams.__dataclass_fields__
    applied = [name for name in re.findall(r"``(\w+)``", documented) if name in settings]
    assert named == list(dict.fromkeys(applied))
    others = {"max_new_tokens", "stop_token_ids", "stop", "num_samples", "seed", "logprobs"}
    assert set(named) == settings.keys() - others
