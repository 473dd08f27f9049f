"""Texts about images: a run learns to write them, goes on with the same bytes, and shows where it looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.errors import ConfigError, DataError
from minitrain.runs import compare_evaluations, evaluate_run, load_run, plot_run, recipe, start_run
from minitrain.tasks.captioning import describe_images, look
from minitrain.tasks.outcome import Measured
from minitrain.tasks.settings.model import MODEL_CONFIGS
from tests.helpers.measuring.captions import as_rows, halves, small
from tests.helpers.measuring.classes import png
from tests.helpers.small_runs import killed_and_continued, outcome


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    start_run(small(folder / "run", as_rows(folder, halves(60)), "captioning")).train()
    return folder / "run"


def test_it_learns(tmp_path: Path) -> None:
    """After training, all pictures that it never saw are described without an error, by one of two texts."""
    config = small(
        tmp_path / "run",
        as_rows(tmp_path, halves(300)),
        "captioning",
        data={"shift": 0},
        model={"dropout": 0.0},
        optimizer={"learning_rate": 1e-2},
        trainer={"max_steps": 150, "batch_size": 32, "validation_frequency": 75, "save_every": 0},
    )
    result = start_run(config).train()
    found = result.validation
    assert isinstance(found, Measured)
    assert found.values["right %"] == 1
    assert found.values["errors of words %"] == 0
    assert "written " in result.sample
    assert {"captions.png", "attention.png"} <= {path.name for path in result.pictures}
    assert all(path.exists() for path in result.pictures)


@pytest.mark.parametrize("steps", [3])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = {"workers": 2, "prefetch": 2}
    run = start_run(small(tmp_path / "run", trained.parent / "texts.tsv", "captioning", data=ahead))
    killed_and_continued(run, steps, monkeypatch)
    assert outcome(tmp_path / "run", 6) == outcome(trained, 6)


def test_an_evaluation_says_what_the_end_of_the_training_said(trained: Path) -> None:
    found = evaluate_run(trained)
    assert isinstance(found, Measured)
    assert {"errors of words %", "right %"} <= set(found.values)
    assert found.describe() in (trained / "report.html").read_text()
    assert plot_run(trained)
    assert evaluate_run(trained, text=trained.parent / "texts.tsv").describe().startswith("validation, 60 images")


def test_an_image_file_is_described(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained.parent / "one.png"
    path.write_bytes(png(halves(1, size=20)[0][0]))
    assert main(["generate", str(trained), "--prompt", str(path)]) == 0
    words = capsys.readouterr().out.split()
    assert set(words) <= {"red", "green", "blue", "on", "the", "left", "right", "is"}
    assert main(["generate", str(trained), "--prompt", "nothing.png"]) == 2
    assert "there is no image nothing.png" in capsys.readouterr().err


def test_two_runs_are_compared(trained: Path, tmp_path: Path) -> None:
    start_run(
        small(tmp_path / "other", trained.parent / "texts.tsv", "captioning", model={"n_embd": 8})
    ).trainer.train()
    for run in (trained, tmp_path / "other"):
        assert main(["eval", str(run)]) == 0
    assert {"loss", "right %"} <= set(compare_evaluations([trained, tmp_path / "other"]).differences)


def test_a_batch_is_described_like_its_images_alone(trained: Path) -> None:
    loaded = load_run(trained)
    images = np.concatenate([loaded.processor.pictures.array(one.transpose(2, 0, 1)) for one, _ in halves(5, seed=1)])
    together = describe_images(loaded.config, loaded.model, loaded.processor, images)
    assert together == [
        describe_images(loaded.config, loaded.model, loaded.processor, images[i : i + 1])[0] for i in range(5)
    ]


def test_the_weights_of_what_is_written_are_shares_of_the_patches(trained: Path) -> None:
    loaded = load_run(trained)
    image = loaded.processor.pictures.array(halves(1)[0][0].transpose(2, 0, 1))
    found = look(loaded.model, loaded.processor, image, "cpu")
    for _, weights in found:
        assert weights.shape == (4,)
        assert weights.sum() == pytest.approx(1, abs=1e-5)
    words = [word for word, _ in found if word != "end"]
    assert " ".join(words).split() == describe_images(loaded.config, loaded.model, loaded.processor, image)[0].split()


def test_mistakes_are_told(tmp_path: Path) -> None:
    path = as_rows(tmp_path, halves(20))

    def start(**changes: Any) -> None:
        start_run(small(tmp_path / "run", path, "captioning", **changes))

    with pytest.raises(DataError, match=r"has 4 tokens, more than 3"):
        start(data={"block_size": 5, "overlong": "refuse"})
    with pytest.raises(ConfigError, match=r"data.block_size"):
        start(data={"block_size": 2})
    with pytest.raises(ConfigError, match=r"model.name=clip is for task=contrastive; task=captioning trains captioner"):
        replace(small(tmp_path / "run", path, "captioning"), model=MODEL_CONFIGS["clip"]())
    (tmp_path / "texts.tsv").write_text((tmp_path / "texts.tsv").read_text() + "001.png\t\tred\n")
    with pytest.raises(DataError, match=r"column 'caption' is empty"):
        start()


@pytest.mark.slow
def test_the_recipe_reaches_its_aim(tmp_path: Path) -> None:
    found = start_run(recipe("captioning", run_dir=str(tmp_path / "run"))).train().validation
    assert isinstance(found, Measured)
    assert found.values["right %"] >= 0.99
