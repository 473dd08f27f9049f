"""The setting ``parametrization=mup`` of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitrain.errors import ConfigError
from minitrain.runs import RunConfig, load_run, resume_run, start_run
from tests.helpers.small_runs import STEPS, half_done, outcome, small_config


def wide(folder: Path, **changes: Any) -> RunConfig:
    """Twice the base width."""
    config = small_config(folder, model_n_embd=32, model_n_head=4, model_tie_weights=False)
    return RunConfig.from_dict(config.to_dict() | {"parametrization": "mup", "base_width": 16} | changes)


def test_a_run_has_its_rates_and_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    run = start_run(wide(tmp_path))
    model = run.trainer.model
    assert not model.head.weight.data.any()
    scales = {path: parameter.group.lr_scale for path, parameter in model.named_parameters()}
    assert scales["blocks.0.attention.qkv.weight"] == scales["head.weight"] == 0.5
    assert scales["tok_emb.weight"] == scales["norm.weight"] == 1
    decay = run.config.optimizer.weight_decay
    assert model.head.weight.group.weight_decay == pytest.approx(2 * decay)
    run.train()
    copy = half_done(run.run_dir, tmp_path / "copy")
    resume_run(copy).train()
    assert outcome(copy) == outcome(run.run_dir)
    assert load_run(run.run_dir).step == STEPS


def test_the_usual_parametrization_is_untouched(tmp_path: Path) -> None:
    model = start_run(small_config(tmp_path)).trainer.model
    assert {parameter.group.lr_scale for parameter in model.parameters()} == {1.0}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": ({"optimizer": {"name": "sgd", "learning_rate": 0.1}}, "not for optimizer=sgd"),
    "adapter": ({"adapter": "lora"}, "leave out the adapter"),
    "base": ({"base_width": 12}, r"n_head \* base width / n_embd must be a whole number; it is 4 \* 12 / 32"),
    "name": ({"parametrization": "mupp"}, "parametrization"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name: str, tmp_path: Path) -> None:
    changes, says = MISTAKES[name]
    with pytest.raises(ConfigError, match=says):
        wide(tmp_path, **changes)
    with pytest.raises(ConfigError, match="tie_weights=false"):
        replace(small_config(tmp_path), parametrization="mup")
