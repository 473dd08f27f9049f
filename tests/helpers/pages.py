"""The code of a page, and a folder of its own to run it in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.places import ROOT

TEXT = "the quick brown fox jumps over the lazy dog\nand runs away from it, as fast as it can\n" * 30

NOT_RUN = {
    ("docs/architecture.md", "class LayerNormCache"): "an abridged copy of ops/norms/layer_norm.py",
    ("docs/architecture.md", "for update in self.loop"): "an abridged copy of training/trainer.py",
    (
        "docs/gradient_checks.md",
        "from minitrain.testing.adapters import check_jax",
    ): "tests/peers/test_torch_gradients.py and test_jax_gradients.py make such calls",
    (
        "docs/gradient_checks.md",
        "import numpy as np\nimport pytest\n\ndef test_softmax",
    ): "tests/pytest_plugin/test_plugin.py runs such tests in pytest",
    (
        "docs/evaluation.md",
        "import lm_eval",
    ): "tests/peers/test_lm_eval.py makes these calls, where the harness is installed",
}
"""Blocks of Python that stay as they are, by page and beginning, with the reason."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(path: str) -> list[Block]:
    """All fenced blocks of a page, those in lists without their indentation."""
    found = re.findall(
        r"^( *)```([^\n]*)\n(.*?)^ *```$", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [
        Block(language.split()[0] if language else "", re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        for indent, language, text in found
    ]


def is_left_out(path: str, text: str) -> bool:
    """Whether a block is one of those that are not run."""
    return any(page == path and text.startswith(beginning) for page, beginning in NOT_RUN)


def snippets(path: str) -> list[str]:
    """The Python of a page, without the blocks that are not run."""
    return [text for language, text in blocks(path) if language == "python" and not is_left_out(path, text)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT)


def run(path: str, *snippets: str, **names: Any) -> dict[str, Any]:
    """The names that the snippets leave behind, run one after the other.

    Args:
        path: the page, for messages.
        snippets: its code.
        names: what the page takes as given.
    """
    names = {"__name__": "page", **names}
    for snippet in snippets:
        exec(compile(snippet, path, "exec"), names)
    return names
