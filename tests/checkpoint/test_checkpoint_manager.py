"""The checkpoint manager for loops of your own: its names, its state, the best with a direction, patience."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import CheckpointManager, CheckpointStore, Contents
from minitrain.errors import CheckpointError, ConfigError, DeviceError
from minitrain.nn import Linear
from minitrain.optim import AdamW


def refuse(message: str) -> None:
    raise AssertionError(message)


def make(folder: Path, *, width: int = 3, manager: type[CheckpointManager] = CheckpointManager, **options: Any) -> Any:
    model = Linear(4, width, init_rng=np.random.default_rng(width))
    return manager(model, AdamW(model, lr=0.1), folder, **({"warn": refuse} | options))


def train(manager: CheckpointManager) -> None:
    manager.optimizer.zero_grad()
    out, cache = manager.model.forward(np.ones((2, 4), np.float32))
    manager.model.backward(out, cache)
    manager.optimizer.step()


def weights(manager: CheckpointManager) -> dict[str, bytes]:
    moments = manager.optimizer.state_dict()["moments"]
    return {name: array.tobytes() for name, array in {**manager.model.state_dict(), **moments}.items()}


class Plateau:
    """A schedule with a state."""

    def __init__(self) -> None:
        self.factor = 1.0

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def load_state_dict(self, state: Any) -> None:
        self.factor = state["factor"]


def test_saved_and_loaded_with_the_documented_calls(tmp_path: Path) -> None:
    manager = make(tmp_path / "a" / "b", scheduler=Plateau(), device="cpu")
    assert (tmp_path / "a" / "b").is_dir()
    assert manager.get_latest_checkpoint() is None
    train(manager)
    manager.scheduler.factor = 0.5
    manager.update_state(current_epoch=5, global_step=1000, best_val_metric=0.85)
    path = manager.get_checkpoint_path(epoch=5, metric_value=0.85)
    assert path == tmp_path / "a" / "b" / "epoch-0005-val_loss-0.8500"
    assert manager.save_checkpoint(path, note="x", array=np.arange(3)) == path
    expected = weights(manager)

    other = make(tmp_path / "a" / "b", scheduler=Plateau())
    train(other)
    assert weights(other) != expected or other.scheduler.factor != 0.5
    assert other.get_latest_checkpoint() == path
    state = other.load_checkpoint(path)
    assert weights(other) == expected
    assert other.scheduler.factor == 0.5
    assert (state["current_epoch"], state["global_step"], state["note"]) == (5, 1000, "x")
    assert state["array"].tolist() == [0, 1, 2]
    assert other.state == manager.state


@pytest.mark.parametrize("mode", ["min", "max"])
def test_only_better_ones_are_saved_and_patience_is_counted(tmp_path: Path, mode: str) -> None:
    manager = make(tmp_path, mode=mode, metric="score")
    sign = 1 if mode == "min" else -1
    saved, patience = [], []
    for epoch, value in enumerate([3.0, 2.0, 2.0, math.nan, math.inf, -math.inf, 1.0, 4.0]):
        manager.update_state(current_epoch=epoch)
        saved.append(manager.save_best_checkpoint(sign * value) is not None)
        patience.append(manager.state["patience_counter"])
    assert saved == [True, True, False, False, False, False, True, False]
    assert patience == [0, 0, 1, 2, 3, 4, 0, 1]
    assert manager.state["best_val_metric"] == sign * 1.0
    assert manager.get_best_checkpoint() == tmp_path / f"epoch-0006-score-{sign * 1.0:.4f}"


def test_the_best_and_the_newest_are_kept(tmp_path: Path) -> None:
    manager = make(tmp_path, keep=2, keep_best=1)
    for epoch, value in enumerate([3.0, 1.0, 2.0, 5.0, 4.0]):
        train(manager)
        manager.save_checkpoint(manager.get_checkpoint_path(epoch, value))
    assert [Path(path).name[:10] for path in manager.store.checkpoints()] == ["epoch-0001", "epoch-0003", "epoch-0004"]
    assert Path(manager.get_best_checkpoint()).name == "epoch-0001-val_loss-1.0000"
    assert Path(manager.get_latest_checkpoint()).name == "epoch-0004-val_loss-4.0000"


def test_a_name_of_your_own_is_left_alone(tmp_path: Path) -> None:
    manager = make(tmp_path, keep=1, keep_best=0)
    manager.update_state(current_epoch=7)
    mine = manager.save_checkpoint(tmp_path / "mine")
    elsewhere = manager.save_checkpoint(tmp_path / "other" / "epoch-0001-x")
    for epoch in range(2):
        manager.save_checkpoint(manager.get_checkpoint_path(epoch, 1.0))
    assert [Path(path).name[:10] for path in manager.store.checkpoints()] == ["epoch-0001"]
    for path in (mine, elsewhere):
        assert manager.load_checkpoint(path)["current_epoch"] == 7


def test_a_subclass_adds_what_it_wants(tmp_path: Path) -> None:
    class Mine(CheckpointManager):
        temperature = 0.7

        def save_checkpoint(self, path: Any, **extra: Any) -> Any:
            return super().save_checkpoint(path, temperature=self.temperature, **extra)

    manager = make(tmp_path, manager=Mine)
    path = manager.save_best_checkpoint(1.0, epoch=2, note="y")
    state = manager.load_checkpoint(path)
    assert (state["temperature"], state["note"], state["best_val_metric"]) == (0.7, "y", 1.0)


def test_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    told: list[str] = []
    manager = make(tmp_path, warn=told.append)
    first, second = (manager.save_checkpoint(manager.get_checkpoint_path(epoch, 1.0)) for epoch in (1, 2))
    (second / "model.safetensors").write_bytes(b"")
    assert manager.get_latest_checkpoint() == first
    assert len(told) == 1


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path, width=5).save_best_checkpoint(1.0)
    manager = make(tmp_path)
    train(manager)
    before, state = weights(manager), dict(manager.state)
    with pytest.raises(CheckpointError, match=r"of another model: weight is \(5, 4\).* and \(3, 4\)"):
        manager.load_checkpoint(path)
    alien = CheckpointStore(tmp_path / "alien").save(
        Contents(1, manager.model.state_dict(), manager.optimizer.state_dict(), {"trainer": {}})
    )
    with pytest.raises(CheckpointError, match="was not saved by a CheckpointManager"):
        manager.load_checkpoint(alien)
    assert (weights(manager), manager.state) == (before, state)


def test_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mode = 'least'"):
        make(tmp_path, mode="least")
    with pytest.raises(ConfigError, match="an epoch is counted from 0, it cannot be -1"):
        make(tmp_path).get_checkpoint_path(-1, 0.0)
    with pytest.raises(DeviceError, match=r"the model is on cpu, not on cuda: call model\.to\('cuda'\)"):
        make(tmp_path, device="cuda")
