"""Folders that a `Trainer` in Python wrote: what they say, and which of their models can be made again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from minitrain.checkpoint import CheckpointStore, Contents
from minitrain.data import CharTokenizer
from minitrain.errors import CheckpointError
from minitrain.folder import RunFolder
from minitrain.models.presets import MODELS, PRESETS, build_model
from minitrain.nn import Linear
from minitrain.runs import evaluate_run, load_run, resume_run
from minitrain.runs.python_run import _least_weights, facts_of, is_opaque, read_settings, rebuild_model, run_info
from minitrain.training import TrainingConfig
from tests.helpers.small_runs import tiny_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of four steps, and its last weights."""
    folder = tmp_path_factory.mktemp("python") / "run"
    trainer = tiny_trainer(folder, config=TrainingConfig(max_steps=4, log_every=1), progress=False)
    trainer.train()
    return folder, {name: array.copy() for name, array in trainer.model.state_dict().items()}


@pytest.fixture
def run(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of its folder."""
    return shutil.copytree(trained[0], tmp_path / "run")


def describe(run: Path, **settings: Any) -> RunFolder:
    """The folder with these settings."""
    (run / "config.yaml").write_text(yaml.safe_dump({"kind": "python", **settings}))
    return RunFolder(run)


def test_a_library_model_is_loaded_with_its_weights(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, weights = trained
    loaded = load_run(folder)
    assert (loaded.config, loaded.tokenizer, loaded.step) == (None, None, 4)
    for name, array in loaded.model.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    assert not is_opaque(RunFolder(folder))


def test_it_is_evaluated_on_a_text(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        evaluate_run(run)
    (run / "tokenizer.json").write_text(json.dumps(CharTokenizer("abcdefghijk").to_json()))
    with pytest.raises(CheckpointError, match="--text FILE"):
        evaluate_run(run)
    (run.parent / "some.txt").write_text("abcdefghijk" * 20)
    assert evaluate_run(run, text=run.parent / "some.txt").loss > 0


def test_it_goes_on_in_its_script_alone(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trainer\.resume\(\) before trainer\.train\(\)"):
        resume_run(run)


def test_facts_come_from_the_last_session_and_the_metrics(run: Path) -> None:
    facts = facts_of(RunFolder(run))
    assert facts["model"] == "GPT, of a run made in Python"
    assert facts["steps"] == "4"
    assert re.fullmatch(r"[\d,]+", facts["parameters"])
    assert {"loss", "val_loss"} <= facts.keys()
    (run / "metrics.jsonl").unlink()
    (run / "run.json").write_text("[1]")
    assert facts_of(describe(run)) == {"model": "unknown, of a run made in Python"}


def test_settings_come_from_run_json_where_there_is_no_config(run: Path) -> None:
    (run / "config.yaml").unlink(missing_ok=True)
    settings = read_settings(RunFolder(run))
    assert settings == {**run_info(RunFolder(run))["settings"], "kind": "python"}
    (run / "run.json").write_text("{")
    assert read_settings(RunFolder(run)) == {"kind": "python"}
    for name in ("metrics.jsonl", "checkpoints"):
        (run / name).rename(run / f"no {name}")
    with pytest.raises(CheckpointError, match="is not the folder of a run"):
        read_settings(RunFolder(run))
    with pytest.raises(CheckpointError, match="there is no run folder"):
        read_settings(RunFolder(run / "nowhere"))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"class": "Unknown", "width": 3}, "Unknown, is not one of minitrain's"),
        ({}, "does not say what its model is"),
        ("GPT", "does not say what its model is"),
        ({"class": "GPT", "n_embd": "wide"}, "cannot be made again"),
    ],
)
def test_a_model_that_cannot_be_made_again(run: Path, model: Any, says: str) -> None:
    folder = describe(run, model=model)
    with pytest.raises(CheckpointError, match=says):
        load_run(run)
    assert is_opaque(folder)


def test_weights_are_loaded_into_a_model_of_your_own_that_fits(run: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    describe(run, model={"class": "Unknown"})
    model = tiny_trainer(None, progress=False).model
    assert load_run(run, model=model).step == 4
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, trained[1][name])
    with pytest.raises(CheckpointError):
        load_run(run, model=Linear(2, 1, np.random.default_rng(0)))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        load_run(run, model=model)


def test_every_library_model_of_a_python_run_is_made_again_and_never_a_giant(tmp_path: Path) -> None:
    own = [model for model in MODELS if model.__module__.startswith("minitrain.")]  # other tests register theirs
    for kind, model in [(model.config_type, model) for model in own]:
        name = min((name for name, config in PRESETS.items() if type(config) is kind), key=lambda n: len(n))
        name = {"GPT": "gpt-nano", "Llama": "llama-char", "Encoder": "encoder-tiny"}.get(model.__name__, name)
        name = {"Seq2Seq": "seq2seq-copy", "ViT": "vit-digits", "MLP": "mlp-digits"}.get(model.__name__, name)
        made = build_model(name)
        assert _least_weights(PRESETS[name]) <= made.parameter_count()
        folder = tmp_path / name
        CheckpointStore(folder / "checkpoints").save(Contents(1, made.state_dict(), {"moments": {}}, {}))
        described = {"class": model.__name__, **dataclasses.asdict(PRESETS[name])}
        assert rebuild_model(RunFolder(folder), {"model": described}).config == PRESETS[name]
        large = {"widths": [64, 10**6, 10]} if "widths" in described else {"n_embd": 96 * 10**4}
        with pytest.raises(CheckpointError, match="cannot be made again: it would take"):
            rebuild_model(RunFolder(folder), {"model": described | large})
        for wrong in ({"n_embd": "x"}, {"nonsense": 1}, {"class": 3}, {"class": "os.system"}):
            with pytest.raises(CheckpointError):
                rebuild_model(RunFolder(folder), {"model": described | wrong})
