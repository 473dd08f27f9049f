"""The page about safety: its code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.pages import run, snippets


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for package in ("dp_accounting", "datasketch", "phonenumbers", "py3langid", "stdnum"):
        pytest.importorskip(package)
    run("docs/safety.md", *snippets("docs/safety.md"))
