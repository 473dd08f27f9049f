"""``minitrain bench``: what it tells, what it writes, and what it says when something is wrong."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain import cli
from minitrain.benchmark import chart, contestants, sgemm, train_step
from minitrain.benchmark.machine import commit
from minitrain.benchmark.sizes import SIZES, step_flops
from minitrain.benchmark.tokens import markov_tokens
from minitrain.benchmark.turns import Worker
from minitrain.errors import WorkerError
from tests.helpers.fake_race import GFLOPS, MEMORY, fake_race

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def bench(capsys: Any, folder: Path, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["bench", "--rounds", "2", "--out", str(folder), *arguments])
    return code, *capsys.readouterr()


def test_figures_chart_and_tables(capsys, monkeypatch, tmp_path):
    fake_race(monkeypatch)
    code, out, err = bench(capsys, tmp_path / "new" / "folder")
    assert (code, err) == (0, "")
    (result,) = json.loads((tmp_path / "new" / "folder" / "bench.json").read_text())
    assert result["ratio_to_torch_eager"] == pytest.approx(1.4)
    assert result["ratio_to_torch_compiled"] == pytest.approx(1.2)
    assert result["peak_rss_ratio"] == pytest.approx(0.7)
    assert result["settings"]["rounds"] == 2
    assert (tmp_path / "new" / "folder" / "bench.png").read_bytes().startswith(PNG)
    row = next(line for line in out.splitlines() if "│ minitrain" in line)
    assert "1.400 [1.400, 1.400]" in row
    assert "1.200 [1.200, 1.200]" in row
    assert "sgemm peak 250 GFLOP/s on 2.00 cores (minitrain's 200, NumPy's 250, PyTorch's 100)" in out


def test_efficiency_is_measured_by_the_fastest_product(monkeypatch, tmp_path):
    fake_race(monkeypatch)
    result = train_step.measure("char", rounds=1)
    in_a_step = step_flops(SIZES["char"]).total / 0.010
    assert result["sgemm_efficiency"] == pytest.approx(in_a_step / (1e9 * max(GFLOPS.values())))
    assert result["sgemm_fastest"] == "sgemm-numpy"


def test_without_pytorch_one_line_says_so(capsys, monkeypatch, tmp_path):
    fake_race(monkeypatch, torch=False)
    code, out, _ = bench(capsys, tmp_path)
    assert code == 0
    assert out.count("PyTorch is not installed (pip install torch): minitrain runs alone") == 1
    (result,) = json.loads((tmp_path / "bench.json").read_text())
    assert list(result["programs"]) == ["minitrain"]
    assert result["ratio_to_torch_eager"] is None
    assert (tmp_path / "bench.png").read_bytes().startswith(PNG)


def test_a_peer_that_does_not_start_is_left_out(capsys, monkeypatch, tmp_path):
    fake_race(monkeypatch, broken=("compiled",))
    code, out, _ = bench(capsys, tmp_path)
    assert code == 0
    assert "char: leaving out PyTorch compiled: compiled stopped: out of" in out
    (result,) = json.loads((tmp_path / "bench.json").read_text())
    assert list(result["programs"]) == ["minitrain", "eager"]


def test_minitrain_itself_does_not_start(capsys, monkeypatch, tmp_path):
    fake_race(monkeypatch, broken=("minitrain",))
    code, _, err = bench(capsys, tmp_path)
    assert (code, err) == (1, "minitrain: error: minitrain stopped: out of luck\n")


def test_what_was_measured_stays_when_a_later_size_fails(capsys, monkeypatch, tmp_path):
    fake = fake_race(monkeypatch)
    real = train_step.measure

    def fail_at_gpt2(config: str, **settings: Any) -> Any:
        fake.broken = frozenset({"minitrain"} if config == "gpt2" else ())
        return real(config, **settings)

    monkeypatch.setattr(train_step, "measure", fail_at_gpt2)
    code, _, _ = bench(capsys, tmp_path, "--config", "all")
    assert code == 1
    assert [result["config"] for result in json.loads((tmp_path / "bench.json").read_text())] == ["char", "baby"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "big"], "argument --config: invalid choice: 'big' (choose from"),
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["--steps", "-3"], "--steps -3: give 1 or more"),
        (["--threads", "0"], "--threads 0: give 1 or more"),
    ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    fake_race(monkeypatch)
    code, out, err = bench(capsys, tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("minitrain: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_measured(capsys, monkeypatch, tmp_path):
    fake = fake_race(monkeypatch)
    (tmp_path / "file").write_text("")
    code, _, err = bench(capsys, tmp_path / "file")
    assert code == 2
    assert "a file of that name is in the way" in err
    assert not fake.started


def test_a_processor_named_for_openblas_is_warned_of(capsys, monkeypatch, tmp_path):
    fake_race(monkeypatch)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    _, _, err = bench(capsys, tmp_path)
    assert err.startswith("minitrain: warning: OPENBLAS_CORETYPE=Haswell is set: OpenBLAS, in NumPy and in minitrain")
    assert "put `env -u OPENBLAS_CORETYPE` before the command to measure without it" in err


def test_threads_reach_every_program(capsys, monkeypatch, tmp_path):
    fake = fake_race(monkeypatch)
    bench(capsys, tmp_path, "--threads", "3")
    assert len(fake.started) == 5 + len(GFLOPS)  # minitrain and compiled twice: cold, then warm
    assert {worker.environment[f"{n}_NUM_THREADS"] for worker in fake.started for n in ("MINITRAIN", "OMP")} == {"3"}


@pytest.mark.parametrize(("instructions", "default"), [("AVX-512", "own"), (None, "openblas")])
def test_with_mkl_minitrain_runs_on_both(monkeypatch, instructions, default):
    fake = fake_race(monkeypatch, mkl=True)
    monkeypatch.setattr(contestants, "widest_instructions", lambda: instructions)
    result = train_step.measure("char", rounds=1)
    asked = {worker.name: worker.environment.get("MINITRAIN_BLAS") for worker in fake.started}
    assert (asked["minitrain"], asked["minitrain_mkl"]) == (default, "mkl")
    assert result["programs"]["minitrain_mkl"]["ratios"]["compiled"]["median"] == pytest.approx(1.5)
    monkeypatch.setenv("MINITRAIN_BLAS", "system")
    failures: dict[str, str] = {}
    assert contestants.contestants((), failures) == [contestants.Contestant("minitrain")]
    assert failures == {"minitrain_mkl": "MINITRAIN_BLAS=system is set: minitrain runs on that alone"}


def test_labels_of_the_bars(monkeypatch):
    fake_race(monkeypatch)
    result = train_step.measure("char", rounds=1)
    tokens = SIZES["char"].tokens
    assert chart.speed_labels(result) == [
        f"{tokens / 0.010:,.0f}",
        f"{tokens / 0.014:,.0f}   minitrain is 1.40x as fast",
        f"{tokens / 0.012:,.0f}   minitrain is 1.20x as fast",
    ]
    assert chart.memory_labels(result) == [
        f"{MEMORY['minitrain']:.0f}",
        "300   minitrain takes 0.70x of it",
        "420   minitrain takes 0.50x of it",
    ]
    result["programs"]["minitrain"]["peak_rss_mb"] = None
    assert chart.memory_labels(result) == ["not known here", "300", "420"]


def test_a_child_trains_and_answers(tmp_path):
    np.save(tmp_path / "tokens.npy", markov_tokens(65, 2000))
    arguments = train_step.program("minitrain", "char", tmp_path / "tokens.npy")
    with Worker("minitrain", arguments, {"MINITRAIN_KERNELS": "reference"}) as worker:
        assert worker.greeting["first_loss"] == pytest.approx(4.2, abs=0.1)  # log 65
        reply = worker.ask("run 1")
    assert reply["loss"] < worker.greeting["first_loss"]
    assert reply["seconds"] > 0
    assert reply["peak_rss_mb"] > 10


def test_a_child_that_dies_says_why():
    with pytest.raises(WorkerError, match=r"(?s)rival stopped: .*invalid choice: 'rival'"):
        Worker("rival", train_step.program("rival", "char", Path("tokens.npy")))


def test_a_program_that_talks_nonsense_is_ended():
    """Pytest makes an error of what it leaves open."""
    with pytest.raises(ValueError, match="Expecting value"):
        Worker("poem", ["this"])
    gc.collect()


def test_products_are_products(monkeypatch):
    monkeypatch.setattr(sgemm, "SGEMM_SIZE", 48)
    a, b = (matrix.astype(np.float64) for matrix in sgemm._matrices())
    assert a.shape == b.shape == (48, 48)
    out, _ = sgemm.minitrain_product()()
    np.testing.assert_allclose(out, a @ b.T, atol=1e-4)
    np.testing.assert_allclose(sgemm.numpy_product()(), a @ b, atol=1e-4)


def test_no_commit_outside_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr("minitrain.benchmark.machine.ROOT", tmp_path)
    assert commit() is None
