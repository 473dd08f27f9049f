"""Scaling laws: planted ones are found again within their intervals, and what cannot be told is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.errors import ConfigError, DataError
from minitrain.runs import fit_runs, fit_scaling, run_size, start_run
from tests.helpers.small_runs import STEPS, small_config

# The law of the paper: E, A, alpha, B, beta.
PAPER = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}


def sweep(noise: float, seed: int = 0) -> tuple[Any, Any, Any]:
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6)))
    law = PAPER["E"] + PAPER["A"] / N ** PAPER["alpha"] + PAPER["B"] / D ** PAPER["beta"]
    return law * np.exp(noise * np.random.default_rng(seed).standard_normal(len(N))), N, D


def test_a_law_without_noise_is_found_exactly() -> None:
    losses, N, D = sweep(0.0)
    fit = fit_scaling(losses, parameters=N, tokens=D, resamples=5)
    for name, value in PAPER.items():
        assert fit.values[name] == pytest.approx(value, rel=0.05), name
    np.testing.assert_allclose(fit.predict(parameters=N, tokens=D), losses, rtol=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_law_is_within_its_intervals(seed: int) -> None:
    losses, N, D = sweep(0.002, seed)
    fit = fit_scaling(losses, parameters=N, tokens=D, resamples=60)
    for name, value in PAPER.items():
        low, high = fit.intervals[name]
        wide = (high / low) ** 0.5  # 90 % intervals miss one of ten: half as much on either side
        assert low / wide <= value <= high * wide, (name, low, high)
    assert fit.values["alpha"] == pytest.approx(PAPER["alpha"], rel=0.15)
    assert "compute^0." in fit.describe()


@pytest.mark.parametrize("name", ["parameters", "tokens"])
def test_one_variable_alone(name: str, tmp_path: Path) -> None:
    x = np.geomspace(1e4, 1e7, 12)
    losses = 1.2 + 30 / x**0.3
    both = {"parameters": np.full(12, 5e5), "tokens": np.full(12, 1e6)} | {name: x}
    fit = fit_scaling(losses, **both, resamples=60)
    assert set(fit.points) == {name}
    coefficient, exponent = ("A", "alpha") if name == "parameters" else ("B", "beta")
    assert fit.values == pytest.approx({"E": 1.2, coefficient: 30, exponent: 0.3}, rel=0.02)
    assert fit.plot(tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")
    assert not fit.warnings


def test_a_run_that_went_wrong_hardly_matters() -> None:
    x = np.geomspace(1e4, 1e7, 12)
    losses = 1.2 + 30 / x**0.3
    losses[4] *= 1.5
    assert fit_scaling(losses, tokens=x, resamples=5).values["beta"] == pytest.approx(0.3, abs=0.03)


def test_the_intervals_are_a_function_of_the_seed() -> None:
    losses, N, D = sweep(0.01)
    first, second = (fit_scaling(losses, parameters=N, tokens=D, resamples=10) for _ in range(2))
    assert first.intervals == second.intervals
    assert fit_scaling(losses, parameters=N, tokens=D, resamples=10, seed=1).intervals != first.intervals


def test_doubts_are_told() -> None:
    x = np.array([100.0, 150.0, 200.0, 250.0])
    noisy = 3 - 0.1 * np.log(x) + np.array([0.01, -0.02, 0.02, -0.01])
    said = " ".join(fit_scaling(noisy, parameters=x, resamples=30).warnings)
    assert "4 runs for 3 numbers" in said
    assert "parameters differ by a factor of 2.5 only" in said
    assert "hardly determined" in said


@pytest.mark.parametrize(
    ("numbers", "kind", "says"),
    [
        (
            {"losses": [1.0, 2.0], "tokens": [1.0, 2.0]},
            DataError,
            "3 numbers needs 3 runs or more, better 9; there are 2",
        ),
        ({"losses": [1.0, 2.0], "tokens": [5.0, 5.0]}, ConfigError, "vary one of them"),
        ({"losses": [1.0, np.nan], "tokens": [1.0, 2.0]}, DataError, "losses must be one finite number above 0"),
        ({"losses": [1.0, 2.0], "tokens": [1.0, 0.0]}, DataError, "tokens must be one finite number above 0"),
    ],
)
def test_what_cannot_be_fitted_is_told(numbers: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        fit_scaling(**numbers)


def test_runs_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = []
    for width in (4, 8, 16, 32):
        config = small_config(tmp_path / str(width), model_n_embd=width, trainer_sample_tokens=0)
        run = start_run(config)
        run.train()
        runs.append(run.run_dir)
        size = run_size(run.run_dir)
        assert size.parameters == run.trainer.model.parameter_count()
        assert size.tokens == STEPS * 5 * 8
    assert set(fit_runs(runs).points) == {"parameters"}
    assert main(["fit-scaling", *map(str, runs), "--out", "law.png"]) == 0
    said = capsys.readouterr().out
    assert "L = E + A / parameters^alpha, from 4 runs" in said and "careful:" in said
    assert (tmp_path / "law.png").exists()
    assert main(["fit-scaling", str(runs[0]), str(tmp_path)]) == 2
    (runs[0] / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert main(["fit-scaling", *map(str, runs)]) == 2
    assert "has no validation loss yet" in capsys.readouterr().err
