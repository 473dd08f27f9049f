"""The page about safety: its code runs."""

from __future__ import annotations

import pytest

from tests.helpers.pages import run, snippets


def test_the_code_runs() -> None:
    for package in ("dp_accounting", "datasketch", "phonenumbers", "py3langid", "stdnum"):
        pytest.importorskip(package)
    run("docs/safety.md", *snippets("docs/safety.md"))
