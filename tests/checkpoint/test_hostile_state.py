"""A state with correct sums and strange values: refused with a clear message, or a value that its owner could write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend.arrays import is_array
from minitrain.checkpoint import Checkpoint, Contents, read_checkpoint
from minitrain.checkpoint.format import write_checkpoint
from minitrain.errors import CheckpointError
from minitrain.optim import AdamW, NAdam, ReduceOnPlateau
from minitrain.states import Arrays, Flag, Group, ListOf, Maybe, Number, OneArray, TableOf, Text, Whole, checked
from minitrain.training import EMA, Callback, CsvLogger, EarlyStopping, Histograms, NaNGuard, SpikeGuard
from minitrain.training.callbacks.loggers.tracker import Tracker
from tests.helpers.small_trainers import make

STRANGE: list[Any] = [
    None,
    True,
    -1,
    3,
    10**6,
    0.5,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    2**63,
    "",
    "x",
    "x" * 20_000,
    [],
    [1],
    {},
    {"a": 1},
    np.zeros(0),
    np.array(3.0),
    np.array(["x"]),
]
OTHERS = {"callbacks"}
"""Parts whose owners check themselves; those that are known to are in `KNOWN_CALLBACKS`."""
KNOWN_CALLBACKS = {"CsvLogger", "EMA", "EarlyStopping", "Histograms", "JsonlLogger", "NaNGuard", "Shelf", "SpikeGuard"}
NULLABLE = {"best", "best_val_loss", "best_step"}
SIGNED = {"best", "best_val_loss", "mean", "window_loss"}


class Shelf(Tracker):
    """A tracker that sends nothing anywhere."""

    package, service = "json", "The shelf"

    def _begin(self, step: int, setup: Any, run: Any) -> None:
        self.id = "run-1"

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        pass


def callbacks() -> list[Callback]:
    """One of every kind that has a state."""
    histograms = Histograms(every=4, most=2, bins=5)
    return [CsvLogger(), EMA(0.9), EarlyStopping(), histograms, NaNGuard(), SpikeGuard(), Shelf()]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("state")
    trainer = make(folder / "run", *callbacks())
    trainer.train()
    return read_checkpoint(folder / "run" / "checkpoints" / "step-00000008")


def leaves(tree: Any, *place: Any) -> Iterator[tuple[Any, ...]]:
    """The places of all values, groups and lists too."""
    if place:
        yield place
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from leaves(value, *place, key)


def changed(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    key, *rest = place
    if isinstance(tree, dict):
        return {**tree, key: changed(tree[key], tuple(rest), value)}
    return [changed(one, tuple(rest), value) if i == key else one for i, one in enumerate(tree)]


def could_be(place: tuple[Any, ...], real: Any, value: Any) -> bool:
    """Whether the owner of the value ``real`` could have written ``value``; said here without looking at the code."""
    if place[0] in ("config", "versions"):
        return True  # for people to read: nobody takes them up
    if place == ("products",) and value == {}:
        return True  # nothing is recorded for a model on a GPU
    if place[0] == "products" and len(place) == 3:
        return isinstance(value, str) and (value == real if place[2] == "name" else len(value) <= 100)
    if place[0] == "callbacks" and len(place) == 2 and value == {}:
        return True  # as if the checkpoint knew nothing of the callback
    if is_array(real) or isinstance(real, dict | list):
        return False
    if value is None:
        return place[-1] in NULLABLE
    if type(value) is int and (type(real) is float or place[-1] == "best_val_loss"):
        value = float(value) if abs(value) < 10**300 else math.inf
    if isinstance(real, float) or place[-1] == "best_val_loss":
        return type(value) is float and math.isfinite(value) and (value >= 0 or place[-1] in SIGNED)
    if isinstance(real, str):
        return isinstance(value, str) and len(value) <= 10_000
    if place[-1] in ("epoch", "best_step"):
        return type(value) is int and 0 <= value <= 8
    if place == ("trainer", "step"):
        return value == real
    return type(value) is int and 0 <= value <= 2**53


def places(saved: Checkpoint) -> list[tuple[Any, ...]]:
    state = [place for place in leaves(saved.state) if place[0] not in OTHERS]
    known = [place for place in leaves(saved.state) if place[0] == "callbacks" and len(place) > 1]
    state += [place for place in known if place[1] in KNOWN_CALLBACKS]
    return state + [("optimizer", *place) for place in leaves(saved.optimizer)]


def test_every_value_of_a_state(saved: Checkpoint, tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", *callbacks())
    accepted = refused = 0
    for place in places(saved):
        whole = {**saved.state, "optimizer": saved.optimizer}
        real: Any = whole
        for key in place:
            real = real[key]
        for value in STRANGE:
            other = changed(whole, place, value)
            strange = Checkpoint(saved.path, saved.step, saved.model, other.pop("optimizer"), other, saved.metrics)
            before = trainer.state.to_dict(), trainer.optimizer.state_dict()["step"], trainer.history.to_dict()
            try:
                trainer.restorer.restore(strange)
            except CheckpointError as error:
                refused += 1
                assert len(str(error)) < 1000
                assert (
                    trainer.state.to_dict(),
                    trainer.optimizer.state_dict()["step"],
                    trainer.history.to_dict(),
                ) == before
            else:
                accepted += 1
                good = could_be(place if place[0] != "optimizer" else place[1:], real, value)
                assert good, f"{place}: {value!r:.40} was taken up in place of {real!r:.40}"
    assert refused > 500
    assert accepted > 30


def test_what_is_taken_up_can_be_trained_on(saved: Checkpoint, tmp_path: Path) -> None:
    """The largest values that pass: no number is so large that a step fails with an error nobody foresaw."""
    for place in [("trainer", "data_offset"), ("trainer", "tokens"), ("trainer", "seconds"), ("trainer", "rollbacks")]:
        trainer = make(tmp_path / place[1], CsvLogger(), max_steps=9)
        state = changed(saved.state, place, 2**53)
        trainer.restorer.restore(Checkpoint(saved.path, saved.step, saved.model, saved.optimizer, state, saved.metrics))
        trainer.train()


@pytest.mark.parametrize("value", ["", math.nan, -1, 10**400, [1], True, None])
@pytest.mark.parametrize("name", ["step", "lr", "momentum_product"])
def test_optimizers(name: str, value: Any) -> None:
    model = make(None).model
    optimizer = NAdam(model)
    state = optimizer.state_dict()
    with pytest.raises(CheckpointError, match=name):
        optimizer.load_state_dict({**state, name: value})
    assert optimizer.state_dict()["step"] == 0


@pytest.mark.parametrize("value", [[], 3.0, None, np.zeros(3, np.int32), np.zeros((2, 2))])
def test_moments(value: Any) -> None:
    optimizer = AdamW(make(None).model)
    moments = optimizer.state_dict()["moments"]
    name = next(iter(moments))
    with pytest.raises(CheckpointError, match="must be an array of floats of shape"):
        optimizer.load_state_dict({**optimizer.state_dict(), "moments": {**moments, name: value}})


@pytest.mark.parametrize("value", ["", math.nan, math.inf, 10**400, [1], True])
@pytest.mark.parametrize("name", ["best", "bad", "cooling", "lr"])
def test_schedules(name: str, value: Any) -> None:
    plateau = ReduceOnPlateau(AdamW(make(None).model))
    with pytest.raises(CheckpointError, match=name):
        plateau.load_state_dict({**plateau.state_dict(), name: value})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Whole(), [0, 2**53], [-1, True, 1.0, 2**53 + 1, "1", None]),
        (Whole(1, 3), [1, 3], [0, 4]),
        (Number(), [0, -1.5, 10**300], [math.nan, math.inf, 10**400, True, "1", None]),
        (Number(0, 1), [0, 0.5, 1], [-0.1, 1.1]),
        (Number(finite=False), [math.nan, math.inf], ["nan", 10**400]),
        (Text(3), ["", "abc"], ["abcd", 1, None]),
        (Flag(), [True, False], [0, 1, "true"]),
        (Maybe(Whole()), [None, 3], [-1, ""]),
        (ListOf(Whole()), [[], [1, 2], (1,)], [[-1], 3, {}, "ab"]),
        (ListOf(Whole(), 2), [[1, 2]], [[1], [1, 2, 3]]),
        (TableOf(Whole()), [{}, {"a": 1}], [{"a": -1}, {1: 1}, []]),
        (
            Group({"a": Whole(), "b": Flag()}, optional={"b"}),
            [{"a": 1}, {"a": 1, "b": True}],
            [{}, {"a": 1, "c": 1}, []],
        ),
        (
            OneArray((None, 2)),
            [np.zeros((0, 2)), np.ones((3, 2), np.float32)],
            [np.zeros(2), np.zeros((1, 2), int), [[1, 2]]],
        ),
        (OneArray(np.zeros(2, np.int64)), [np.ones(2, np.int64)], [np.ones(2), np.ones(3, np.int64)]),
        (OneArray((), sort="iu"), [np.array(1), np.array(1, np.uint8)], [np.array(1.0), 1]),
        (Arrays({"w": np.zeros(2)}), [{"w": np.ones(2)}], [{}, {"w": np.ones(2), "v": np.ones(2)}, {"w": 1}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kinds(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert checked("thing", {"x": value}, {"x": kind})["x"] is value
    for value in bad:
        with pytest.raises(
            CheckpointError,
            match=r"the thing state is (damaged: \w+ is .*, it must be |of another thing: only|.*, not a group)",
        ):
            checked("thing", {"x": value}, {"x": kind})
    with pytest.raises(CheckpointError, match="only one of the two has x"):
        checked("thing", {}, {"x": kind})


def test_a_state_of_another_step_is_refused(saved: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "step-00000003"
    path.mkdir()
    write_checkpoint(path, Contents(3, saved.model, saved.optimizer, saved.state))
    with pytest.raises(CheckpointError, match="is of step 3, its trainer's state of 8"):
        make(None).load_checkpoint(path)
