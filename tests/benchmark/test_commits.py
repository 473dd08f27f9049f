"""The comparison of two commits: turns, checkouts, and what the table says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import commits
from minitrain.errors import WorkerError


class Fake:
    """A program that notes when it had a turn."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def ask(self, command: str) -> dict[str, Any]:
        assert command == "run 1"
        self.turns.append(self.name)
        return {"seconds": 2.0 if self.name == "old" else 1.0, "cores": 1.5, "cpu_seconds": 3.0}


def test_programs_take_single_steps_in_turn_and_who_is_first_changes() -> None:
    turns: list[str] = []
    old, new = commits.steps_in_turn((Fake("old", turns), Fake("new", turns)), 3)  # type: ignore[arg-type]
    assert turns == ["new", "old", "old", "new", "new", "old"]
    assert [commits.seconds_of(reply, "wall") for reply in old] == [2.0] * 3
    assert [commits.seconds_of(reply, "cpu") for reply in new] == [1.5] * 3


@pytest.mark.parametrize(("bound", "verdict"), [(0.971, "reached"), (0.969, "not reached")])
def test_the_bound_decides_and_not_the_median(bound: float, verdict: str) -> None:
    ratio = {"median": 1.2, "low": 1.1, "high": 1.3}
    result = {"config": "char", "ratio": ratio, "lower_bound": bound, "milliseconds": [12.0, 10.0]}
    assert commits.table([result]).rows == [["char", "12.0", "10.0", "1.200 [1.100, 1.300]", f"{bound:.3f}", verdict]]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_a_checkout_has_the_files_of_its_commit_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text)
        git(tmp_path, "add", "file")
        git(tmp_path, *who, "commit", "-q", "-m", text)
    monkeypatch.setattr(commits, "ROOT", tmp_path)
    with commits.checkout("HEAD~1") as folder:
        assert (folder / "file").read_text() == "first"
    assert not folder.exists()
    with commits.checkout(None) as folder:
        assert folder == tmp_path
    with pytest.raises(WorkerError, match="cannot check out 'nothing'"), commits.checkout("nothing"):
        pass
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1
