"""Runs that train adapters: what is saved, opened, continued, exported, and taken over by other runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.checkpoint.store import warn_user
from minitrain.errors import CheckpointError, ConfigError
from minitrain.interop import load_huggingface
from minitrain.interop.formats import export
from minitrain.nn.adapters.lora import has_adapters
from minitrain.runs import RunConfig, load_run, resume_run, start_run
from minitrain.runs.weights.adapters import create_adapter
from minitrain.runs.weights.initial import load_initial
from minitrain.tasks.text.need import least_need
from tests.helpers.small_runs import STEPS, outcome, small_config

ADAPTER = {"name": "lora", "rank": 2, "alpha": 3.0, "targets": ["*attention*", "*feed_forward*"]}
NEWEST = f"checkpoints/step-{STEPS:08d}"


def tuned(folder: Path, **changes: Any) -> RunConfig:
    return RunConfig.from_dict(small_config(folder).to_dict() | {"adapter": ADAPTER} | changes)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = start_run(small_config(tmp_path_factory.mktemp("base")))
    run.trainer.train()
    return Path(run.run_dir)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of adapters on the weights of ``base``."""
    run = start_run(tuned(tmp_path_factory.mktemp("tuned"), init_from=str(base)))
    assert has_adapters(run.trainer.model)
    run.trainer.train()
    return Path(run.run_dir)


def test_the_weights_of_the_model_stay_and_the_adapters_learn(base: Path, trained: Path) -> None:
    before, after = read_checkpoint(base / NEWEST).model, read_checkpoint(trained / NEWEST).model
    adapters = {path for path in after if "lora_" in path}
    assert len(adapters) == 2 * 2 * 4  # two matrices for four layers in each of two blocks
    assert all(after[path].any() for path in adapters)
    for path in after.keys() - adapters:
        np.testing.assert_array_equal(after[path], before[path.replace(".base.", ".")], err_msg=path)


def test_an_opened_run_has_merged_weights(base: Path, trained: Path) -> None:
    model, weights = load_run(trained).model, read_checkpoint(trained / NEWEST).model
    assert not has_adapters(model)
    assert model.state_dict().keys() == load_run(base).model.state_dict().keys()
    path = "blocks.1.attention.qkv"
    correction = 1.5 * weights[f"{path}.lora_b"] @ weights[f"{path}.lora_a"]
    np.testing.assert_allclose(
        model.state_dict()[f"{path}.weight"], weights[f"{path}.base.weight"] + correction, rtol=1e-6
    )


def test_an_interrupted_run_ends_with_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(trained, tmp_path / "copied")
    shutil.rmtree(copied / NEWEST)
    run = resume_run(copied)
    assert run.trainer.state.step == 4
    assert has_adapters(run.trainer.model)
    run.train()
    for part in ("weights", "moments", "metrics"):
        assert outcome(copied)[part] == outcome(trained)[part], part


def test_other_runs_take_over_merged_weights(trained: Path, tmp_path: Path) -> None:
    merged = load_run(trained).model.state_dict()
    for place in (trained, trained / NEWEST):
        weights = load_initial(str(place), warn_user, {}).model
        assert weights.keys() == merged.keys()
        for path, weight in merged.items():
            np.testing.assert_allclose(weights[path], weight, rtol=1e-6, atol=1e-7, err_msg=path)
    run = start_run(RunConfig.from_dict(small_config(tmp_path).to_dict() | {"init_from": str(trained)}))
    np.testing.assert_allclose(run.trainer.model.tok_emb.weight.data, merged["tok_emb.weight"], rtol=1e-6)


def test_a_checkpoint_alone_does_not_say_its_scale(trained: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(trained / NEWEST, tmp_path / "a" / "b" / "alone")
    with pytest.raises(CheckpointError, match=r"has the weights of adapters, .* give the run folder"):
        load_initial(str(alone), warn_user, {})


def test_a_merged_model_is_exported(trained: Path, tmp_path: Path) -> None:
    run = load_run(trained)
    tokens = np.arange(8)[None] % run.tokenizer.vocab_size
    expected = run.model.forward(tokens)[0]
    export(run.model, "huggingface", tmp_path / "x")
    np.testing.assert_allclose(load_huggingface(tmp_path / "x").forward(tokens)[0], expected, rtol=1e-5, atol=1e-5)


def test_frozen_weights_need_less_memory(tmp_path: Path) -> None:
    assert least_need(tuned(tmp_path), 30).weights * 4 == least_need(small_config(tmp_path), 30).weights


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lorra", "adapter = 'lorra': did you mean 'lora'"),
        ({"name": "lora", "rank": 0}, "rank=0 must be 1 or more"),
        ({"name": "lora", "alpha": 0.0}, "alpha=0.0 positive"),
        ({"name": "lora", "dropout": 1.0}, "dropout=1.0"),
        ({"name": "lora", "targets": []}, "targets not empty"),
        ({"name": "lora", "ranks": 2}, "rank"),
        ({"rank": 2}, "name"),
    ],
)
def test_wrong_settings_are_explained(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(small_config(tmp_path).to_dict() | {"adapter": value})


def test_a_name_is_enough() -> None:
    adapter = create_adapter("lora")
    assert adapter is not None
    assert (adapter.rank, adapter.scale) == (8, 2.0)
    assert create_adapter(None) is None
