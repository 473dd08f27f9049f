"""Texts with a class each: the same promises as for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.errors import DataError
from minitrain.runs import RunConfig, evaluate_run, load_run, start_run
from minitrain.tasks.outcome import Measured
from minitrain.tasks.records.classes import TextProcessor
from tests.helpers.measuring.classes import WORDS, reviews, small, text_table
from tests.helpers.small_runs import killed_and_continued, outcome


def texts(folder: Path, path: Path, **changes: Any) -> RunConfig:
    return small(folder, path, **changes | {"data": {"name": "labelled_text", **changes.get("data", {})}})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    start_run(texts(folder / "run", text_table(folder, reviews(80)), data={"max_tokens": 80})).train()
    return folder / "run"


@pytest.mark.parametrize("loss", [None, "focal"])
def test_it_learns(tmp_path: Path, loss: str | None) -> None:
    """With a tokenizer of its own, and with another loss than the model's, which has to leave padding out too."""
    config = texts(
        tmp_path / "run",
        text_table(tmp_path, reviews(600)),
        data={"tokenizer": "bpe", "vocab_size": 300, "block_size": 24},
        optimizer={"learning_rate": 1e-2},
        loss=loss,
        trainer={"max_steps": 80, "batch_size": 32, "validation_frequency": 40},
    )
    result = start_run(config).train()
    assert isinstance(result.validation, Measured)
    assert result.validation.values["accuracy %"] > 0.95
    assert "taken for" in result.sample
    assert {"confusion.png", "reliability.png"} <= {path.name for path in result.pictures}


@pytest.mark.parametrize("steps", [1, 4])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(texts(tmp_path / "run", trained.parent / "texts.tsv", data={"max_tokens": 80}))
    killed_and_continued(run, steps, monkeypatch)
    assert outcome(tmp_path / "run", 6) == outcome(trained, 6)


def test_a_folder_for_each_class(trained: Path, tmp_path: Path) -> None:
    for number, (text, label) in enumerate(reviews(30, seed=1)):
        path = tmp_path / "texts" / label / f"{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run = start_run(texts(tmp_path / "run", tmp_path / "texts", data={"val_fraction": 0.5}))
    assert list(run.prepared.processor.classes) == sorted(WORDS)
    found = evaluate_run(trained, text=tmp_path / "texts")
    assert isinstance(found, Measured)
    assert found.counted == "30 texts"


def test_a_model_answers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An overlong text is cut, as in training; letters that it never saw are bytes like others."""
    for prompt in ("fine", "überaus fine " * 100):
        assert main(["generate", str(trained), "--prompt", prompt]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sorted(line.split("%")[1].strip() for line in lines) == sorted(WORDS)
    assert main(["generate", str(trained), "--prompt", ""]) == 2
    assert "empty" in capsys.readouterr().err


def test_texts_that_cannot_be_used(tmp_path: Path) -> None:
    rows = [*reviews(40), ("", "good"), ("x" * 50, "bad")]
    path = text_table(tmp_path, rows)
    with pytest.raises(DataError, match=r"texts\.tsv:42: column 'text' is empty"):
        start_run(texts(tmp_path / "no", path))
    with pytest.raises(DataError, match=r"column 'text' has \d+ tokens, more than 12"):
        start_run(texts(tmp_path / "no", text_table(tmp_path, rows[:-2] + rows[-1:]), data={"overlong": "refuse"}))
    assert not (tmp_path / "no").exists()
    how = {"broken": "skip", "max_broken": 0.1, "overlong": "skip", "block_size": 48}
    run = start_run(texts(tmp_path / "run", text_table(tmp_path, rows), data=how))
    assert "2 left out" in run.describe()
    held_out = text_table(tmp_path, [("fine", "good"), ("fine", "superb")], "other.tsv")
    with pytest.raises(DataError, match=r"other\.tsv: record 3: the class 'superb' is not one of the 3 classes"):
        start_run(texts(tmp_path / "no", text_table(tmp_path, reviews(40)), data={"val_path": str(held_out)}))


def test_the_processor_is_kept(trained: Path) -> None:
    found = load_run(trained).processor
    assert isinstance(found, TextProcessor)
    assert (found.block_size, list(found.classes)) == (12, sorted(WORDS))
    np.testing.assert_array_equal(found.read("abc").inputs, [[97, 98, 99]])
