"""The code on the page about beam search, contrastive search and speculative decoding runs."""

from __future__ import annotations

import pytest

from tests.helpers.pages import run, snippets

PAGE = "docs/search.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = snippets(PAGE)
    names = run(PAGE, *code)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + 2 + 2 + 2, "two results a prompt, then one for each source and each of the others"
    assert all(line.endswith(("True", "False")) for line in lines[4:6])
    assert len(names["best"].tokens) == 8
    assert all("accepted" in line for line in lines[-2:])
