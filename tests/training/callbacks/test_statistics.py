"""Figures of single parameters and layers in the records."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.losses import MeanSquaredError
from minitrain.nn import Linear, Module
from minitrain.ops import relu_backward, relu_forward
from minitrain.records import read_metrics
from minitrain.training import (
    ActivationStatistics,
    Callback,
    EarlyStopping,
    GradientStatistics,
    Histograms,
    LearningRateMonitor,
    RunContext,
    Trainer,
    TrainingConfig,
    WeightStatistics,
)
from tests.helpers.small_trainers import make


class Spy(Callback):
    """Keeps gradients and weights at logged steps."""

    def __init__(self) -> None:
        self.gradients: dict[int, Any] = {}
        self.weights: dict[int, Any] = {}

    def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
        self.model = setup.model

    def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
        named = dict(self.model.named_parameters())
        self.gradients[view.step + 1] = {k: p.grad / gradient.loss.count for k, p in named.items()}
        self.weights[view.step] = {k: p.data.copy() for k, p in named.items()}


def records(folder: Path) -> dict[int, dict[str, float]]:
    return {r["step"]: r for r in read_metrics(folder / "metrics.jsonl") if "loss" in r}


def test_norms_of_gradients_are_those_of_the_mean_gradient(tmp_path: Path) -> None:
    make(tmp_path / "run", spy := Spy(), log_gradients=True).train()
    for step, record in records(tmp_path / "run").items():
        norms = {name.removeprefix("grad_norm."): v for name, v in record.items() if name.startswith("grad_norm.")}
        expected = {path: np.linalg.norm(gradient) for path, gradient in spy.gradients[step].items()}
        assert norms == pytest.approx(expected, rel=1e-5)
        assert record["grad_norm"] == pytest.approx(np.linalg.norm(list(norms.values())), rel=1e-5)


def test_a_pattern_chooses_parameters(tmp_path: Path) -> None:
    make(tmp_path / "run", GradientStatistics("blocks.0.norm*"), WeightStatistics("tok_emb.*")).train()
    names = {name for record in records(tmp_path / "run").values() for name in record if "." in name}
    kinds = {"weight_norm.tok_emb.weight", "update_ratio.tok_emb.weight"}
    assert names == {"grad_norm.blocks.0.norm1.weight", "grad_norm.blocks.0.norm2.weight"} | kinds


def test_norms_of_weights_and_of_their_changes(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", spy := Spy(), WeightStatistics())
    trainer.train()
    for step in (1, 2, 4, 6):  # after each of these there is another step, before which the spy looks
        record = records(tmp_path / "run")[step]
        for path, after in spy.weights[step].items():
            assert record[f"weight_norm.{path}"] == pytest.approx(np.linalg.norm(after), rel=1e-5)
            change = np.linalg.norm(after - spy.weights[step - 1][path]) / np.linalg.norm(after)
            assert record[f"update_ratio.{path}"] == pytest.approx(change, rel=1e-3)


class Relu(Module):
    """Two of four units never fire."""

    def __init__(self) -> None:
        self.linear = Linear(3, 4, np.random.default_rng(0))
        assert self.linear.bias is not None
        self.linear.bias.data[:] = [0, 0, -100, -100]

    def forward(self, x: Any) -> Any:
        hidden, linear = self.linear.forward(x)
        out, relu = relu_forward(hidden)
        return out, {"linear": linear, "relu": relu, "out": out}

    def backward(self, dout: Any, cache: Any) -> Any:
        return self.linear.backward(relu_backward(dout, cache["relu"]), cache["linear"])


def test_dead_units_are_seen() -> None:
    x = np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32)
    data = [(x, np.zeros((16, 4), np.float32))]
    trainer = Trainer(
        model=Relu(),
        train_data=data,
        val_data=data,
        loss_fn=MeanSquaredError(),
        config=TrainingConfig(max_steps=1),
        callbacks=[ActivationStatistics()],
        progress=False,
    )
    history = trainer.train().history
    assert history.get_latest("dead.model.out") == 0.5
    out = trainer.model.forward(x)[0]
    assert history.get_latest("activation_std.model.out") == pytest.approx(out.std(), rel=1e-5)
    assert not [name for name in history.names() if "weight" in name]
    assert ActivationStatistics().batch is None
    with pytest.raises(ConfigError, match="needs a batch"):
        Trainer(
            model=Relu(),
            train_data=data,
            loss_fn=MeanSquaredError(),
            callbacks=[ActivationStatistics()],
            progress=False,
        ).train()


def test_rates_of_groups() -> None:
    monitor, setup = LearningRateMonitor(), SimpleNamespace(optimizer=SimpleNamespace(lr_scales=(1.0, 0.1)))
    nothing: Any = None
    monitor.on_train_begin(nothing, setup, RunContext())  # type: ignore[arg-type]
    record: dict[str, Any] = {"lr": 0.5}
    monitor.on_log(nothing, record)
    assert record == {"lr": 0.5, "lr.0": 0.5, "lr.1": 0.05}


def test_histograms_count_every_weight_and_survive_a_stop(tmp_path: Path) -> None:
    make(tmp_path / "whole", whole := Histograms(every=2, most=3)).train()
    assert whole.steps == [0, 2, 4, 6, 8]
    assert len(whole.counts) == 3
    picture = tmp_path / "whole" / "plots" / "histograms.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    make(tmp_path / "run", Histograms(every=2, most=3), EarlyStopping(patience=None, target=99.0)).train()
    trainer = make(tmp_path / "run", resumed := Histograms(every=2, most=3))
    trainer.resume()
    trainer.state.stopped = ""
    trainer.train()
    assert resumed.steps == whole.steps
    for path, parameter in list(trainer.model.named_parameters())[:3]:
        assert [counts.sum() for counts in resumed.counts[path]] == [parameter.data.size] * 5
        np.testing.assert_array_equal(resumed.counts[path], whole.counts[path])
        np.testing.assert_array_equal(resumed.edges[path], whole.edges[path])
    with pytest.raises(ConfigError, match="Histograms"):
        Histograms(every=0)
