"""The page about text: its code runs, and its figures are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minitrain.data.text.gguf_vocabulary import PRE_TOKENIZERS
from tests.helpers.places import ROOT
from tests.helpers.texts.chats import TEMPLATES
from tests.helpers.texts.tokenizers_of_others import KINDS, described

PAGE = (ROOT / "docs/text.md").read_text()


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llguidance")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SmolLM2-135M").mkdir()
    (tmp_path / "SmolLM2-135M" / "tokenizer.json").write_text(json.dumps(described("smollm")))
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(code, "text.md", "exec"), names)


def test_what_it_says_is_there() -> None:
    for name in PRE_TOKENIZERS:
        assert f"`{name}`" in PAGE
    words = {6: "six", 8: "eight"}
    assert f"{words[len(KINDS)]} kinds of tokenizers" in PAGE
    assert f"compare\n{words[len(TEMPLATES)]} templates" in PAGE
