"""The page about safety: its code runs."""

from __future__ import annotations

import pytest

from tests.helpers.pages import run, snippets


def test_the_code_runs() -> None:
    pytest.importorskip("dp_accounting")
    run("docs/safety.md", *snippets("docs/safety.md"))
