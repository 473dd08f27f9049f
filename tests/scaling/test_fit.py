"""The fit gets back the costs that a measurement was made from; what it predicts is what the ranks' calls send."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.cli import main
from minitrain.distributed import Group, run_ranks
from minitrain.errors import ConfigError
from minitrain.scaling import tables
from minitrain.scaling.measured import runs
from minitrain.scaling.measured.fit import Costs, Exchanged, costs_from
from minitrain.scaling.measured.rank import LARGE, SMALL, Meter
from minitrain.scaling.measured.runs import MICRO_BATCHES
from tests.distributed.test_groups import over_tcp
from tools import scaling_predictions

small = st.floats(1e-7, 1e-2)
made_up = st.builds(
    Costs,
    micro_batch=small,
    addition=small,
    update=small,
    byte=st.floats(1e-11, 1e-8),
    call=small,
    message=small,
    weights=st.integers(1, 10**7),
    calls=st.integers(1, 50).map(float),
)


def exchanged(costs: Costs, count: int, ranks: int = 2) -> Exchanged:
    """An all-reduce of ``count`` numbers, in two calls of each rank."""
    nbytes, calls = 2.0 * (ranks - 1) * 4 * count, 2.0 * ranks
    seconds = nbytes * costs.byte + calls * costs.call + calls * (ranks - 1) * costs.message
    return Exchanged(seconds, nbytes, calls, calls * (ranks - 1))


@given(made_up, st.sampled_from([(1, 4), (2, 4), (1, 8)]))
def test_the_fit_gets_back_what_a_measurement_is_made_of(costs, counts):
    alone = {count: costs.seconds(1, count) for count in counts}
    exchanges = exchanged(costs, LARGE), exchanged(costs, SMALL), exchanged(costs, SMALL, 4)
    found = costs_from(alone, costs.addition, *exchanges, weights=costs.weights, calls=costs.calls)
    scale = max(costs.seconds(1, 8), 1e-6)
    for name, value in costs._asdict().items():
        assert math.isclose(getattr(found, name), value, rel_tol=1e-6, abs_tol=1e-9 * scale), name
    for ranks in (1, 2, 4, 8):
        assert math.isclose(found.seconds(ranks, 8), costs.seconds(ranks, 8), rel_tol=1e-6)


def test_a_fit_needs_two_points():
    costs = Costs(1, 1, 1, 1, 1, 1, 1, 1)
    large, little, wider = exchanged(costs, 9), exchanged(costs, 1), exchanged(costs, 1, 4)
    for alone, *three in (
        ({2: 1.0}, large, little, wider),
        ({1: 1.0, 2: 1.0}, large, large, wider),
        ({1: 1.0, 2: 1.0}, large, little, little),
    ):
        with pytest.raises(ConfigError, match="two numbers of micro-batches, of ranks, and two buffers"):
            costs_from(alone, 0, *three, weights=1, calls=1)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("engine", [run_ranks, over_tcp], ids=["threads", "tcp"])
def test_a_sum_sends_the_bytes_of_the_formula(ranks, engine):
    """By the group's own count, and by the system's where it has one."""
    count = 12 * 1000
    costs = Costs(0, 0, 0, 0, 0, 0, count, 2)

    def work(group: Group) -> tuple[float, float, float]:
        meter = Meter(group)
        before = meter.read()
        group.all_reduce(np.zeros(count, np.float32))
        group.barrier()
        after = meter.read()
        return tuple(after[name] - before[name] for name in ("bytes", "wire", "calls"))

    sums: Any = np.sum(engine(ranks, work), axis=0)
    barrier = ranks * (ranks - 1)
    assert sums[0] == costs.bytes_of_step(ranks) + barrier
    assert sums[1] == pytest.approx(sums[0], abs=50 * ranks)  # rings of shared memory count too
    assert sums[2] == (3 if ranks > 1 else 2) * ranks  # nothing is scattered to nobody


def fake(found: dict[str, float]) -> dict[str, Any]:
    row = {"ranks": 2, "cpu_seconds": 1.0, "predicted_cpu_seconds": 1.1, "bytes": 100.0, "predicted_bytes": 100.0}
    row |= {"wall_seconds": 0.5, "parts": {"micro-batches": 1.1}} | found
    costs = Costs(1e-3, 1e-4, 1e-3, 1e-9, 1e-5, 1e-5, 1000, 8.0)._asdict()
    machine = {"cpu": "a processor"}
    return {"size": "char", "micro_batches": 8, "costs": costs, "rows": [row], "machine": machine} | {
        "cores_used_by_others": 0.0
    }


def test_a_prediction_that_is_off_is_called_so():
    assert "are within 15%" in tables.verdict(fake({}))[0]
    assert "are NOT within 15%" in tables.verdict(fake({"predicted_cpu_seconds": 1.2}))[0]
    assert "are NOT within 15%" in tables.verdict(fake({"predicted_bytes": 80.0}))[0]


def test_the_command_measures_draws_and_says_how_far_off_it_is(monkeypatch, tmp_path, capsys):
    asked: list[Any] = []

    def measure(*arguments: Any, **more: Any) -> dict[str, Any]:
        asked.append((arguments, more))
        return fake({})

    monkeypatch.setattr(runs, "measure", measure)
    assert main(["bench", "--scaling", "--ranks", "1,2", "--rounds", "2", "--out", str(tmp_path)]) == 0
    assert asked == [(("char", [1, 2]), {"rounds": 2, "steps": 10})]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpus.png", "scaling.json", "scaling.png"]
    printed = capsys.readouterr().out
    assert "+10.0%" in printed
    assert "no cluster was met" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ranks", "3"], "--ranks 3: give some of 1,2,4,8"),
        (["--ranks", "two"], "--ranks two"),
        (["--ranks", ""], "--ranks '': give some of"),
        (["--config", "gpt2"], "give char or baby"),
        (["--threads", "2", "--no-torch"], "--threads and --no-torch: --scaling measures minitrain alone"),
        (["--precision", "bfloat16"], "--precision: --scaling"),
        (["--equal-instructions"], "--equal-instructions: --scaling"),
    ],
)
def test_what_cannot_be_measured_is_refused(more, message, capsys):
    assert main(["bench", "--scaling", *more]) == 2
    assert message in capsys.readouterr().err


def test_ranks_without_scaling_are_refused(capsys):
    assert main(["bench", "--ranks", "1,2"]) == 2
    assert "--ranks goes with --scaling" in capsys.readouterr().err


def test_a_cost_below_zero_is_called_noise():
    result = fake({})
    assert "noise" not in " ".join(tables.verdict(result))
    noisy = result | {"costs": result["costs"] | {"call": -1e-5}}
    assert "a call costs less than nothing, which is noise" in " ".join(tables.verdict(noisy))


def test_the_page_has_the_tables_that_the_model_gives():
    page = scaling_predictions.PAGE.read_text(encoding="utf-8")
    found = scaling_predictions.REGION.search(page)
    assert found is not None
    assert found[0] == scaling_predictions.text(), "run python -m tools.scaling_predictions --write"


@pytest.mark.slow
def test_a_measurement_on_this_machine():
    """Bytes are those of the formula; CPU seconds are positive, and in the right order of magnitude."""
    result = runs.measure("char", [1, 2], rounds=1, steps=3)
    for row in result["rows"]:
        assert row["bytes"] == pytest.approx(row["predicted_bytes"], rel=0.01, abs=2000)
        assert 0.3 < row["predicted_cpu_seconds"] / row["cpu_seconds"] < 3
    assert result["micro_batches"] == MICRO_BATCHES
