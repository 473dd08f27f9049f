"""A run with averaged weights is evaluated, opened and sampled with the weights that its validation used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minitrain.checkpoint import Checkpoint, read_checkpoint
from minitrain.errors import CheckpointError
from minitrain.runs import RunConfig, evaluate_run, load_run, start_run
from minitrain.training.saving.capture import evaluation_weights
from tests.helpers.small_runs import small_config


@pytest.fixture(scope="module", params=["ema", "swa"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = small_config(tmp_path_factory.mktemp("averaged")).to_dict()
    started = start_run(RunConfig.from_dict({**values, "callbacks": [request.param]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())
        result = started.train()
    evaluated = evaluate_run(started.run_dir)
    assert evaluated.loss == pytest.approx(result.validation.loss, rel=1e-6)  # the batches have other sizes
    name = request.param.upper()
    assert f"this model ({name} weights)" in evaluated.describe()
    return started.run_dir


def test_the_weights_are_the_averages(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "step-00000007")
    weights, name = evaluation_weights(checkpoint)
    loaded = load_run(run).model.state_dict()
    for path, array in weights.items():
        np.testing.assert_array_equal(loaded[path], array)
    assert any((weights[path] != checkpoint.model[path]).any() for path in weights)
    assert name in checkpoint.state["callbacks"]


@pytest.mark.parametrize("averages", [None, {}, 3, {"tok_emb.weight": np.zeros(2)}, {"tok_emb.weight": "x"}])
def test_averages_of_another_model_are_refused(run: Path, averages: object) -> None:
    one = read_checkpoint(run / "checkpoints" / "step-00000007")
    callbacks = {**one.state["callbacks"], one.state["evaluation_weights"]: averages}
    other = Checkpoint(one.path, one.step, one.model, one.optimizer, {**one.state, "callbacks": callbacks}, one.metrics)
    if averages == {}:
        assert evaluation_weights(other)[0].keys() == one.model.keys()
        return
    with pytest.raises(CheckpointError):
        evaluation_weights(other)
