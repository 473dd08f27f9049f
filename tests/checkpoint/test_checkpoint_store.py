"""Which checkpoints a store keeps and finds: the newest, the best, and nothing that does not fit."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minitrain.checkpoint import CheckpointStore, Contents, read_checkpoint
from minitrain.checkpoint.space import size_of
from minitrain.errors import CheckpointError, ConfigError
from minitrain.files import FileError
from minitrain.formats import size
from tests.helpers.small_checkpoints import contents


def kept(store: CheckpointStore) -> list[int]:
    return [int(Path(path).name[5:]) for path in store.checkpoints()]


def save_all(store: CheckpointStore, losses: list[float]) -> None:
    for step, loss in enumerate(losses, 1):
        store.save(contents(step, val_loss=loss))


# The best.


def test_the_best_stay_beside_the_newest(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2, keep_best=2)
    save_all(store, [3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    assert kept(store) == [2, 3, 5, 6]
    assert store.best() == tmp_path / "step-00000002"
    assert store.latest() == tmp_path / "step-00000006"


def test_more_can_be_better(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1, keep_best=1, metric="accuracy", mode="max")
    for step, accuracy in enumerate([0.5, 0.9, 0.7], 1):
        store.save(contents(step, accuracy=accuracy))
    assert (kept(store), store.best()) == ([2, 3], tmp_path / "step-00000002")


def test_of_equal_ones_the_oldest_is_the_best(tmp_path: Path) -> None:
    for mode in ("min", "max"):
        store = CheckpointStore(tmp_path / mode, keep=1, keep_best=1, mode=mode)
        save_all(store, [1.0, 1.0, 1.0])
        assert kept(store) == [1, 3]
        assert not store.is_among_best(1.0)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_no_number_is_never_the_best(tmp_path: Path, mode: str) -> None:
    store = CheckpointStore(tmp_path, keep=1, keep_best=2, mode=mode)
    save_all(store, [math.nan, math.inf, -math.inf])
    store.save(contents(4))
    assert (kept(store), store.best()) == ([4], None)
    assert not any(map(store.is_among_best, (math.nan, math.inf, -math.inf)))
    assert store.is_among_best(1e9)


def test_the_best_is_known_to_a_store_that_did_not_save_it(tmp_path: Path) -> None:
    save_all(CheckpointStore(tmp_path, keep=3), [1.0, 3.0, 2.0])
    store = CheckpointStore(tmp_path, keep=1, keep_best=1)
    assert store.best() == tmp_path / "step-00000001"
    store.save(contents(4, val_loss=9.0))
    assert kept(store) == [1, 4]


def test_a_damaged_best_is_passed_over(tmp_path: Path) -> None:
    save_all(CheckpointStore(tmp_path), [1.0, 2.0, 3.0])
    (tmp_path / "step-00000001" / "model.safetensors").write_bytes(b"")
    told: list[str] = []
    assert CheckpointStore(tmp_path).best(told.append) == tmp_path / "step-00000002"
    assert len(told) == 1
    assert "skipping a damaged checkpoint" in told[0]
    (tmp_path / "step-00000002" / "state.json").write_bytes(b"")  # its figure is not known then
    assert CheckpointStore(tmp_path, warn=told.append).best() == tmp_path / "step-00000003"


def test_a_figure_is_that_of_the_latest_save(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    save_all(store, [1.0, 2.0])
    assert store.best() == tmp_path / "step-00000001"
    (tmp_path / "step-00000001" / "model.safetensors").write_bytes(b"")
    store.save_as("step-00000001", contents(1, val_loss=3.0))  # in place of the damaged one
    assert store.best() == tmp_path / "step-00000002"


@settings(max_examples=30)
@given(
    losses=st.lists(st.sampled_from([1.0, 2.0, 3.0, math.nan, math.inf]), max_size=8),
    keep=st.integers(1, 3),
    keep_best=st.integers(0, 3),
    mode=st.sampled_from(["min", "max"]),
)
def test_kept_are_the_newest_and_the_best(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float], keep: int, keep_best: int, mode: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    store = CheckpointStore(folder, keep=keep, keep_best=keep_best, mode=mode)
    sign = 1 if mode == "min" else -1
    expected: list[int] = []
    for step, loss in enumerate(losses, 1):
        ranked = sorted((sign * losses[s - 1], s) for s in expected if math.isfinite(losses[s - 1]))
        wanted = len(ranked) < keep_best or (keep_best > 0 and sign * loss < ranked[keep_best - 1][0])
        assert store.is_among_best(loss) == (wanted and math.isfinite(loss))
        store.save(contents(step, val_loss=loss))
        expected.append(step)
        ranked = sorted((sign * losses[s - 1], s) for s in expected if math.isfinite(losses[s - 1]))
        best = {s for _, s in ranked[:keep_best]}
        expected = [s for s in expected if s in expected[-keep:] or s in best]
        assert kept(store) == expected
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "least"}, "mode = 'least'"),
        ({"keep": 0}, "keep=0 must be at least 1"),
        ({"keep_best": -1}, "keep_best=-1"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CheckpointStore(tmp_path, **settings)


# What can be saved.


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"callbacks": {"Mine": {"when": 1 + 2j}}}, r"cannot save callbacks\.Mine\.when: it is a complex"),
        ({"callbacks": {"Mine": {3: "x"}}}, r"cannot save callbacks\.Mine: its key 3 is not text; use str"),
        ({"a": [{"b": {1, 2}}]}, r"cannot save a\.0\.b: it is a set"),
    ],
)
def test_a_state_that_would_come_back_changed_is_refused(tmp_path: Path, state: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        CheckpointStore(tmp_path).save(contents(1)._replace(state=state))
    assert list(tmp_path.iterdir()) == []


_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.lists(st.integers(0, 9), max_size=3).map(lambda values: np.array(values, np.int32))
)  # fmt: skip
_names = st.sampled_from(["a", "b", "a.b", "a.b'", ""]) | st.text(max_size=3)
_states = st.dictionaries(
    _names,
    st.recursive(_leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3)),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and a.tolist() == b.tolist()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@given(state=_states)
@example(state={"a.b": np.zeros(1), "a": {"b": np.ones(2), "b'": np.ones(3)}})
def test_any_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = CheckpointStore(folder).save(contents(1)._replace(state=state))
    assert same(read_checkpoint(path).state, state)


# Room on the disk.


def disk(free: int) -> Any:
    return lambda path: SimpleNamespace(total=10**12, used=0, free=free)


def test_what_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    big = Contents(2, {"w": np.zeros(5_000_000, np.float32)}, {"moments": {}}, {})
    store.save(contents(1))
    monkeypatch.setattr(shutil, "disk_usage", disk(20_900_000))
    with pytest.raises(
        FileError, match=r"step-00000002: it needs 21\.0 MB, and 20\.9 MB are free where .*free some space"
    ):
        store.save(big)
    assert kept(store) == [1]
    monkeypatch.setattr(shutil, "disk_usage", disk(21_500_000))
    store.save(big)
    assert kept(store) == [1, 2]


@given(st.integers(0, 10**15))
def test_sizes_are_said_in_four_digits(count: int) -> None:
    number, unit = size(count).split()
    exponent = ["bytes", "kB", "MB", "GB", "TB", "PB"].index(unit)
    assert float(number) * 1000**exponent == pytest.approx(count, rel=0.06, abs=0.06)
    assert float(number) < 1000


def test_the_size_is_known_before_it_is_written(tmp_path: Path) -> None:
    arrays = {f"blocks.{i}.weight": np.zeros((100, 30)) for i in range(30)}
    state = {"history": [{"values": [0.123456789] * 1000}], "average": arrays}
    whole = Contents(1, arrays, {"moments": arrays}, state)
    path = CheckpointStore(tmp_path).save(whole)
    written = sum(file.stat().st_size for file in Path(path).iterdir())
    assert written < size_of(whole) < written + 1_100_000
