"""The page about safety: its code runs."""

from __future__ import annotations

import re

import pytest

from tests.helpers.places import ROOT


def test_the_code_runs() -> None:
    pytest.importorskip("dp_accounting")
    names: dict[str, object] = {}
    page = (ROOT / "docs/safety.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "safety.md", "exec"), names)
