"""The folder of a sweep: names of jobs, what is written down, and folders from somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.runs import RunConfig
from minitrain.runs.sweep.jobs import Outcome
from minitrain.runs.sweep.names import LONGEST, job_name
from minitrain.runs.sweep.store import begin_sweep, load_sweep


@given(st.lists(st.text(max_size=300), min_size=1, max_size=5))
def test_any_values_make_a_short_and_plain_name(values: list[str]) -> None:
    name = job_name(7, 2, [("data.path", value) for value in values])
    assert name.startswith("07_path=")
    assert len(name.encode()) <= LONGEST
    assert Path(name).name == name
    assert name.isascii() and name.isprintable() and " " not in name
    assert not name.endswith(".")


def test_names_of_values_that_look_alike_differ(tmp_path: Path) -> None:
    alike = ["a/b", "a b", "a_b", "日" * 200, "日" * 200 + "月", "A_B"]
    names = [job_name(i, 1, [("data.path", value)]) for i, value in enumerate(alike)]
    assert len({name.lower() for name in names}) == len(alike)
    for name in names:
        (tmp_path / f".{name}.0123456789ab.tmp").mkdir()  # as files are written first


def test_what_came_of_jobs_is_found_again(tmp_path: Path) -> None:
    sweep = begin_sweep(tmp_path, {name: RunConfig() for name in ("0_a", "1_b", "2_c")})
    for state in ("interrupted", "finished"):
        sweep.record(Outcome("0_a", state))
    sweep.record(Outcome("1_b", "failed", "no memory", 3.5))
    again = load_sweep(tmp_path)
    assert again.states == {"0_a": "finished", "1_b": "failed"} == sweep.states
    assert not again.is_finished("0_a"), "its run is not there"
    (tmp_path / "0_a").mkdir()
    (tmp_path / "0_a" / "report.html").write_text("")
    assert again.is_finished("0_a")
    assert not again.is_finished("1_b")


def test_records_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    begin_sweep(tmp_path, {"0_a": RunConfig()})
    lines = ["{", "[]", "3", '{"name": "0_a"}', '{"name": ["0_a"], "state": "finished"}']
    lines += [
        '{"name": "0_a", "state": "great"}',
        '{"name": "../x", "state": "finished"}',
        '{"state": {}, "name": "0_a"}',
    ]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(lines) + "\n" + '{"name": "0_a", "sta')
    assert load_sweep(tmp_path).states == {}


@pytest.mark.parametrize("name", ["outcomes.jsonl", "0_a"])
def test_links_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    begin_sweep(folder, {"0_a": RunConfig()})
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"{name} is a link"):
        load_sweep(folder)


SEARCH: dict[str, Any] = {
    "trials": 4,
    "metric": "val_loss",
    "direction": "minimize",
    "seed": 0,
    "arguments": ["recipe=tiny"],
    "ranges": {"seed": {"low": 1, "high": 4, "whole": True, "log": False, "step": None}},
    "chosen": {"0_a": {"seed": 2}},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": "four"},
        {"trials": 10**12},
        {"direction": "up"},
        {"metric": []},
        {"chosen": {}},
        {"chosen": {"0_a": {"seed": 9}}},
        {"chosen": {"0_a": {"seed": [2]}}},
        {"chosen": {"0_a": {}}},
        {"chosen": {"0_a": 3}},
        {"ranges": {"seed": {"low": 4, "high": 1}}},
        {"ranges": {"seed": {"low": "1", "high": 4}}},
        {"ranges": {"seed": {"code": "x"}}},
        {"ranges": 5},
        {"launcher": "slurm"},
    ],
)
def test_a_damaged_search(changes: dict[str, Any], tmp_path: Path) -> None:
    begin_sweep(tmp_path, {"0_a": RunConfig()})
    path = tmp_path / "sweep.json"
    contents = json.loads(path.read_text())
    path.write_text(json.dumps(contents | {"search": SEARCH}))
    assert load_sweep(tmp_path).search is not None
    path.write_text(json.dumps(contents | {"search": SEARCH | changes}))
    with pytest.raises(DataError, match="is damaged: its search"):
        load_sweep(tmp_path)
