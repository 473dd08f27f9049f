"""The table of what recipes end with: trained once, continued, and held against what is to be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import task_results
from benchmarks.task_results import GOALS, Goal, Result, main, missed, read, table

SHORT = ["--set", "trainer.max_steps=3", "--set", "model.n_layer=1", "--set", "trainer.batch_size=4"]


def result(seed: int, value: float, copied: float = 0.25) -> Result:
    return Result("copy", seed, 1.5, "some processor", {"loss": 1.0, "right %": value}, {"x": {"right %": copied}}, [])


@pytest.mark.parametrize(
    ("goal", "good", "bad"),
    [
        (Goal("right %", 0.9), 0.9, 0.899),
        (Goal("loss", 1.5, at_most=True), 1.5, 1.51),
    ],
)
def test_a_goal_is_met_on_its_side(goal: Goal, good: float, bad: float) -> None:
    assert goal.met(good)
    assert not goal.met(bad)


def test_the_mean_over_seeds_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_results, "GOALS", {"copy": (Goal("right %", 0.9), Goal("right %", 0.6, over="x"))})
    assert missed([result(1, 0.85), result(2, 0.97)]) == []
    assert missed([result(1, 0.85), result(2, 0.94)]) == ["copy: right % is 89.50 %, not 90.00 %"]
    rows = table([result(1, 0.85), result(2, 0.95)]).rows
    assert rows[0] == ["copy", "right %", "90.00 % ± 7.07 %", "≥ 90.00 %", "2", "1.5", "some processor"]
    assert rows[1][:3] == ["copy", "right %, more than x", "65.00 % ± 7.07 %"]
    assert table([]).rows == []


def test_what_is_trained_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["copy", "--seeds", "1", "--out", str(tmp_path), *SHORT]
    assert main(arguments) == 1, "three steps do not learn it"
    assert "below what is to be reached: copy" in capsys.readouterr().out
    kept = read(tmp_path / "results.jsonl")
    assert [(one.recipe, one.seed) for one in kept] == [("copy", 1)]
    assert main(arguments) == 1
    assert read(tmp_path / "results.jsonl") == kept
    assert "seed 1" not in capsys.readouterr().out
    (tmp_path / "results.jsonl").unlink()  # the run is there: it is finished, and only measured
    assert main(arguments) == 1
    assert read(tmp_path / "results.jsonl")[0].measures == kept[0].measures


def test_every_goal_is_of_a_recipe() -> None:
    from minitrain.conf import packaged_options

    assert GOALS.keys() <= set(packaged_options("recipe"))
    with pytest.raises(SystemExit):
        main(["nothing"])
