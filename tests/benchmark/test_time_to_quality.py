"""Time to quality: who is judged by what, the table that says so, and the fast recipe on a text of its own."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from benchmarks.quality_programs import build
from benchmarks.shakespeare import read_split, windows
from benchmarks.time_to_quality import GOAL, Point, Race, draw, evaluation_steps, first_at, summarise, table
from minitrain.cli.compose import compose_config
from minitrain.optim import ExponentialAverage, Muon


@pytest.fixture
def text(tmp_path):
    """Words that follow each other by chance: a text of about 3000 characters."""
    rng = np.random.default_rng(0)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(rng.choice(["once", "upon", "a", "time", "there", "was", "thé", "end."], 700)), "utf-8")
    return path


class FakeWorker:
    """A program whose losses are known before; each turn takes two seconds."""

    def __init__(self, losses, total_steps=80):
        self.name, self.seconds_to_ready, self.asked = "fast", 0.5, []
        self.greeting = {"total_steps": total_steps}
        self._losses = iter(losses)

    def ask(self, command):
        self.asked.append(command)
        return {"seconds": 2.0, "val_loss": next(self._losses), "cpu_seconds": 3.0 * len(self.asked)}


def run_of(program, seed, losses, pace=1.0):
    curve = [Point(10 * i, pace * i, loss) for i, loss in enumerate(losses, start=1)]
    reached = first_at(curve, GOAL)
    return {
        "program": program,
        "seed": seed,
        "reached": reached and reached._asdict(),
        "start_seconds": 0.5,
        "cpu_seconds": 1.0,
        "curve": curve,
    }


@pytest.mark.parametrize("total", [1, 2, 7, 150, 2000])
def test_evaluations_end_with_the_run_and_come_closer_together(total):
    steps = evaluation_steps(total)
    assert steps == sorted(set(steps))
    assert steps[0] >= 1
    assert steps[-1] == total
    if total == 2000:
        gaps = np.diff(steps)
        assert set(gaps[: len([s for s in steps if s < 1500]) - 1]) == {100}
        assert set(gaps[-20:]) == {25}


def test_the_first_point_at_the_goal_counts_even_if_the_loss_rises_again():
    curve = [Point(1, 1.0, 2.5), Point(2, 2.5, 1.92), Point(3, 3.0, 1.95), Point(4, 4.0, 1.90)]
    assert first_at(curve, 1.92) == curve[1]
    assert first_at(curve, 1.91) == curve[3]
    assert first_at(curve, 1.8) is None
    assert first_at([], 1.92) is None


def test_a_program_trains_until_the_goal_and_no_further():
    worker = FakeWorker([2.5, 2.1, 1.9])
    race = Race(worker, goal=1.92)
    assert [race.turn(), race.turn(), race.turn()] == [True, True, False]
    assert worker.asked == ["train 4", "train 8", "train 12"]
    result = race.result(seed=7)
    assert result["reached"] == {"step": 12, "seconds": 6.0, "val_loss": 1.9}
    assert (result["seed"], result["cpu_seconds"]) == (7, 9.0)


def test_a_program_that_never_arrives_stops_at_its_last_step():
    worker = FakeWorker([2.5] * 3, total_steps=2)
    race = Race(worker, goal=1.92)
    while race.turn():
        pass
    assert worker.asked == ["train 1", "train 2"]
    assert race.result(seed=7)["reached"] is None


def test_ratios_are_of_the_same_seed_and_need_every_seed():
    runs = [
        run_of("fast", 1, [1.9]),
        run_of("eager", 1, [2.5, 2.2, 1.9]),
        run_of("char", 1, [2.0, 1.95]),
        run_of("fast", 2, [2.0, 1.9], pace=10.0),
        run_of("eager", 2, [2.5, 1.9], pace=50.0),
        run_of("char", 2, [2.0, 1.91]),
    ]
    summary = summarise(runs)
    assert summary["fast"]["seconds"] == [1.0, 20.0]
    assert summary["fast"]["median"] == 10.5
    assert summary["fast"]["eager_to_this"].median == 4.0  # of 3 / 1 and 100 / 20
    assert summary["char"] == {"seconds": [None, 2.0], "median": None, "eager_to_this": None}
    without = summarise([run for run in runs if run["program"] != "eager"])
    assert without["fast"]["eager_to_this"] is None


def test_the_table_has_every_seed_and_names_who_did_not_arrive():
    runs = [run_of("fast", 1, [2.0, 1.9]), run_of("eager", 1, [2.5, 2.4, 2.3])]
    _, columns, rows = table(runs, GOAL)
    assert columns[2] == "seconds to 1.92"
    assert all(len(row) == len(columns) for row in rows)
    assert rows[0] == ["minitrain, shakespeare_fast", "1", "2.0", "20", "1.9000", "0.5", ""]
    assert rows[1][1:3] == ["median", "2.0"]
    assert rows[2] == ["PyTorch, eager", "1", "not reached", "30", "2.3000", "0.5", ""]
    assert rows[3][1:3] == ["median", "not reached"]


def test_the_picture_shows_runs_with_and_without_the_goal(tmp_path):
    path = tmp_path / "picture.png"
    draw([run_of("fast", 1, [2.0, 1.9]), run_of("eager", 1, [2.5, 2.4])], GOAL, path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [2, 9, 10, 21, 26])
def test_the_windows_predict_every_token_but_the_first_once(count):
    tokens = np.arange(count)
    seen = list(windows(tokens, length=5, batch=2))
    assert np.concatenate([batch.targets.reshape(-1) for batch in seen]).tolist() == tokens[1:].tolist()
    for batch in seen:
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)


def test_the_split_is_made_of_the_text_alone(text):
    train, held_out, vocab_size = read_split(text)
    characters = text.read_text("utf-8")
    assert vocab_size == len(set(characters))
    assert len(held_out) == len(characters) - int(0.9 * len(characters))
    ids = np.concatenate([train, held_out])
    assert "".join(sorted(set(characters))[i] for i in ids) == characters


def test_shakespeare_fast_fits_the_conditions_of_the_race():
    """The same text, split and windows as nanoGPT's recipe; Muon for its hidden matrices."""
    fast, char = (compose_config([f"recipe=shakespeare_{name}", "data.path=x"]) for name in ("fast", "char"))
    assert fast.data == char.data
    assert fast.trainer.max_steps * fast.trainer.batch_size < char.trainer.max_steps * char.trainer.batch_size / 3
    assert (fast.model.name, fast.model.qk_norm, fast.optimizer.name) == ("llama", True, "muon")


def test_the_fast_recipe_trains_and_is_measured_as_a_run_measures_itself(text, tmp_path):
    with contextlib.closing(build("fast", text, seed=3, run_dir=tmp_path / "run")) as program:
        assert isinstance(program.trainer.optimizer, Muon)
        before = program.evaluate()
        program.train(2)
        program.train(4)
        assert program.trainer.state.step == 4
        after = program.evaluate()
        assert after < before - 0.1
        assert after == pytest.approx(program.trainer.validate()["val_loss"], abs=1e-5)
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_averaged_weights_are_measured_where_a_run_keeps_them(text, tmp_path):
    with contextlib.closing(build("fast", text, seed=3, run_dir=tmp_path / "run")) as program:
        average = ExponentialAverage(program.trainer.model, decay=0.9)  # stays what it is: the first weights
        before = program.evaluate()
        program.train(2)
        assert program.evaluate() != before
        program.trainer.run.weights.use("average", average.applied)
        assert program.evaluate() == before
