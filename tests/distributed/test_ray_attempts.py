"""How often Ray starts the ranks, with which arguments, and how many of them; without Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.distributed.launch import ray_train
from minitrain.distributed.launch.ray_train import RayJob, workers_that_fit
from minitrain.distributed.micro_batches import check_ranks, valid_ranks
from minitrain.errors import WorkerError


@pytest.mark.parametrize(
    ("argv", "attempt", "begun", "expected"),
    [
        (("a=1", "--plugin", "p.py"), 0, True, ["a=1", "--plugin", "p.py"]),  # another run is refused, not continued
        (("a=1", "--plugin", "p.py"), 1, True, ["--resume", "RUN", "--plugin", "p.py"]),
        (("--plugin=p.py", "a=1"), 1, True, ["--resume", "RUN", "--plugin=p.py"]),
        (("a=1",), 1, False, ["a=1"]),
        (("--resume", "old", "trainer.max_steps=9"), 1, True, ["--resume", "old", "trainer.max_steps=9"]),
    ],
)
def test_a_later_attempt_goes_on_where_the_first_got_to(tmp_path: Path, argv, attempt, begun, expected):
    if begun:
        (tmp_path / "config.yaml").touch()
    job = RayJob(lambda argv: 0, argv, 2, 4, str(tmp_path), "config.yaml", 3)
    assert [str(tmp_path) if word == "RUN" else word for word in expected] == job.arguments(attempt)


@given(micro_batches=st.integers(1, 64), wanted=st.integers(1, 64), room=st.integers(0, 70))
def test_as_many_workers_as_fit_and_end_with_the_same_bytes(micro_batches, wanted, room):
    found = workers_that_fit(wanted, micro_batches, room)
    valid = [one for one in valid_ranks(micro_batches) if one <= min(wanted, room)]
    assert found == (valid[-1] if valid else 0)
    assert (found == 0) is (room == 0)
    if found:
        check_ranks(micro_batches, found)


class Attempts:
    """In place of Ray: what the trainers of all attempts were given, and how each ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rooms: list[int], ends: list[str | None]) -> None:
        self.rooms, self.ends = list(rooms), list(ends)
        self.workers: list[int] = []
        self.careful: list[bool] = []
        monkeypatch.setattr(ray_train, "_room", self._room)
        monkeypatch.setattr(ray_train, "_trainer", self._trainer)

    def _room(self, cpus: int, *, careful: bool) -> int:
        self.careful.append(careful)
        return self.rooms.pop(0)

    def _trainer(self, task: Any, workers: int, cpus: int, scratch: str, attempt: int) -> Any:
        self.workers.append(workers)

        def fit() -> None:
            if (message := self.ends.pop(0)) is not None:
                raise RuntimeError(message)

        return SimpleNamespace(fit=fit)

    def run(self, folder: Path, ranks: int = 4, max_failures: int = 3) -> int:
        job = RayJob(lambda argv: 0, (), ranks, 4, str(folder), "config.yaml", max_failures)
        return ray_train._attempts(job, 1, 1, str(folder), max_failures)


def test_a_machine_that_is_gone_leaves_the_next_lower_number_and_comes_back(monkeypatch, tmp_path, capsys):
    attempts = Attempts(monkeypatch, [4, 3, 4], ["a machine\nrank 1 ended with exit code 1", "again", None])
    assert attempts.run(tmp_path) == 0
    assert attempts.workers == [4, 2, 4]
    assert attempts.careful == [False, True, True]  # Ray may count a machine that is gone a while longer
    said = capsys.readouterr().err
    assert "rank 1 ended with exit code 1; starting again, 3 times at most" in said
    assert "Ray has no room for 4 workers: 2 train" in said


def test_too_many_failures_end_with_the_code_of_the_last(monkeypatch, tmp_path, capsys):
    attempts = Attempts(monkeypatch, [4] * 3, ["x", "y", "rank 0 ended with exit code 137"])
    assert attempts.run(tmp_path, max_failures=2) == 137
    assert attempts.workers == [4] * 3
    assert "minitrain: error: rank 0 ended with exit code 137" in capsys.readouterr().err


def test_a_mistake_in_the_command_is_made_once(monkeypatch, tmp_path):
    attempts = Attempts(monkeypatch, [4], ["rank 0 ended with exit code 2"])
    assert attempts.run(tmp_path) == 2


def test_no_room_at_all_is_said(monkeypatch, tmp_path, capsys):
    assert Attempts(monkeypatch, [0], []).run(tmp_path) == 1
    assert "no machine with 1 free cores" in capsys.readouterr().err


@pytest.mark.parametrize("address", [None, "auto"])
def test_a_ray_that_does_not_start_is_named(monkeypatch, tmp_path, address):
    """Ray waits half a minute for itself: on a busy machine that is tried again. Nothing is left behind."""
    tried: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        tried.append(options)
        raise Exception("The current node timed out during startup." if address is None else "no such cluster")

    fake = ModuleType("ray")
    vars(fake).update(init=init, shutdown=lambda: None, LoggingConfig=lambda **options: None)
    for name in ("ray.train", "ray.train.v2", "ray.train.v2.api", "ray.train.v2.api.data_parallel_trainer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    place = "on this machine" if address is None else "at the address auto"
    with pytest.raises(WorkerError, match=f"Ray cannot be started or reached {place}: "):
        ray_train.run_on_ray(RayJob(lambda argv: 0, (), 2, 2, str(tmp_path / "run"), "config.yaml"))
    assert len(tried) == (3 if address is None else 1)
    assert tried[0]["address"] == (address or "local")  # by default Ray would join one that runs already
    assert not list(tmp_path.iterdir())
    assert not Path(tried[0].get("_temp_dir", "/nowhere")).exists()
