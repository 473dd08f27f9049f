"""The how-to pages: their Python and their commands run, from top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main

ROOT = Path(__file__).resolve().parents[2]
HOWTOS = ROOT / "docs" / "howto"
TEXT = "the quick brown fox jumps over the lazy dog\nand runs away from it, as fast as it can\n" * 30


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text(TEXT.swapcase().swapcase()[::-1])


def run(page: str) -> dict[str, Any]:
    """Do what a page says; returns the names that its Python leaves behind."""
    names: dict[str, Any] = {"__name__": "page"}
    text = (HOWTOS / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(compile(block, page, "exec"), names)
            continue
        assert language == "sh", "the only other language that a how-to is written in"
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            if program == "minitrain":
                assert main(arguments) == 0, line
    return names


def test_your_own_data() -> None:
    names = run("data.md")
    assert names["result"].history.get_metric("val_accuracy")[-1] > 0.8
    assert len(list(Path("runs").iterdir())) == 2


def test_existing_weights() -> None:
    names = run("weights.md")
    steps = sorted(path.name for path in Path("runs/adapted/checkpoints").iterdir() if path.is_dir())
    assert steps[-1] == "step-00000004"
    assert names["run"].tokenizer.vocab_size == len(set(TEXT))


def test_lora() -> None:
    assert main(["train", "recipe=tiny", "data.path=my.txt", "run_dir=runs/base"]) == 0
    names = run("lora.md")
    assert names["adapters"]
    merged, again = names["model"], names["again"]
    tokens = np.arange(8)[None] % 20
    with_adapters, _ = again.forward(tokens)
    without, _ = merged.forward(tokens)
    np.testing.assert_allclose(with_adapters, without, rtol=1e-4, atol=1e-4)


def test_trackers() -> None:
    pytest.importorskip("tensorboard")
    run("trackers.md")
    assert list(Path("runs/tracked/tensorboard").iterdir())
