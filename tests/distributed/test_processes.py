"""Ranks as real processes, started by minitrain and by mpirun: the same bytes, and one end for all."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.distributed.tcp.meeting import free_port
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from tests.distributed.small_trainings import environment
from tests.helpers.small_runs import SMALL, TEXT

STEPS = 6
SETTINGS = [*SMALL, "trainer.gradient_accumulation_steps=4", "model.dropout=0.1", "trainer.save_every=2"]
TRAIN = [sys.executable, "-m", "minitrain", "train"]
MPIRUN = next(
    (
        path
        for path in (str(Path(sys.prefix) / "bin" / "mpirun"), shutil.which("mpirun"))
        if path and os.path.exists(path)
    ),
    None,
)
try:
    import mpi4py  # noqa: F401

    HAS_MPI = MPIRUN is not None
except ImportError:
    HAS_MPI = False
needs_mpi = pytest.mark.skipif(not HAS_MPI, reason="needs mpi4py and mpirun: pip install 'minitrain[distributed]'")

PLUGIN = """
import os, signal, sys, time
from minitrain.training import Callback, register_callback

@register_callback("misfortune")
class Misfortune(Callback):
    \"\"\"Happens to one rank at a step.

    Args:
        what: raise, kill or stop.
        rank: whose.
        step: when.
    \"\"\"

    def __init__(self, what: str = "raise", rank: int = 1, step: int = 3) -> None:
        self.what, self.rank, self.step = what, rank, step

    def on_step_begin(self, view):
        if view.step != self.step or int(os.environ.get("MINITRAIN_RANK", os.environ.get("PMI_RANK", 0))) != self.rank:
            return
        if self.what == "raise":
            raise ZeroDivisionError("a misfortune")
        if self.what == "memory":
            raise MemoryError("a misfortune")
        if self.what == "exit":
            sys.exit(3)
        os.kill(os.getpid(), signal.SIGKILL if self.what == "kill" else signal.SIGSTOP)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    yield tmp_path
    deadline = time.monotonic() + 3
    while (left := processes_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left, "processes are left"


def processes_in(folder: Path) -> list[int]:
    """Processes of Python whose present folder this is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.readlink(entry / "cwd") == str(folder):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(entry.name)] * (state != "Z")
        except OSError:
            continue
    return found


def run(command: list[str], folder: Path, limit: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=limit, check=False
    )


def train(folder: Path, name: str, *more: str, before: tuple[str, ...] = ()) -> Any:
    result = run([*before, *TRAIN, *SETTINGS, f"run_dir={name}", *more], folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def on_processes(ranks: int) -> list[str]:
    return ["distributed=processes", f"ranks={ranks}"]


def summary(run_dir: Path, steps: int = STEPS) -> dict[str, Any]:
    """What must not depend on the number of ranks."""
    checkpoint = read_checkpoint(run_dir / "checkpoints" / f"step-{steps:08d}")
    records = read_metrics(run_dir / "metrics.jsonl")
    return {
        "weights": {name: array.tobytes() for name, array in checkpoint.model.items()},
        "moments": {name: array.tobytes() for name, array in checkpoint.optimizer["moments"].items()},
        "metrics": [{key: value for key, value in one.items() if key not in TIMING} for one in records],
        "state": {key: value for key, value in checkpoint.state["trainer"].items() if "seconds" not in key},
    }


def test_processes_end_with_the_bytes_of_one(folder):
    """One process that adds in a tree, 2 and 4 of them; one progress, one folder, one report."""
    train(folder, "one", "trainer.gradient_sum=tree")
    two = train(folder, "two", *on_processes(2))
    train(folder, "four", *on_processes(4), "trainer.zero=2")
    assert summary(folder / "two") == summary(folder / "one")
    assert summary(folder / "four") == summary(folder / "one")
    assert two.stdout.count("run folder:") == 1
    assert two.stdout.count("trained ") == 1
    assert "error" not in two.stderr


@pytest.mark.slow
@needs_mpi
def test_mpirun_ends_with_the_same_bytes(folder):
    assert MPIRUN is not None
    train(folder, "one", "trainer.gradient_sum=tree")
    train(folder, "two", before=(MPIRUN, "-n", "2"))
    train(folder, "four", before=(MPIRUN, "-n", "4"))
    assert summary(folder / "two") == summary(folder / "one") == summary(folder / "four")


@pytest.mark.slow
def test_srun_is_recognised_by_its_variables(folder):
    """Two processes with the variables that Slurm sets, on one machine."""
    train(folder, "one", "trainer.gradient_sum=tree")
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    slurm |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": "2"}
    command = [*TRAIN, *SETTINGS, "run_dir=two"]
    ranks = [
        subprocess.Popen(
            command, cwd=folder, env=environment(**slurm, SLURM_PROCID=str(rank)), stdout=subprocess.DEVNULL
        )
        for rank in range(2)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    assert summary(folder / "two") == summary(folder / "one")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(folder):
    """And the way through 2, 4 and 1 of them does not show: only the number of steps counts."""
    for name, ranks in (("changing", (2, 4, 1)), ("constant", (1, 1, 1))):
        train(folder, name, "distributed=processes", f"ranks={ranks[0]}", "trainer.max_steps=2")
        for count, steps in zip(ranks[1:], (4, STEPS), strict=True):
            result = run([*TRAIN, "--resume", name, f"ranks={count}", f"trainer.max_steps={steps}"], folder)
            assert result.returncode == 0, result.stderr
    assert summary(folder / "changing") == summary(folder / "constant")


def starts(engine: str) -> tuple[list[str], list[str]]:
    if engine == "mpirun":
        assert MPIRUN is not None
        return [MPIRUN, "-n", "2"], []
    return [], on_processes(2)


ENGINES = ["processes", pytest.param("mpirun", marks=needs_mpi)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("what", ["raise", "memory", "exit", "kill", "stop"])
def test_a_rank_that_fails_ends_all_within_ten_seconds(folder, engine, rank, what):
    """With its traceback, a code that is not 0, no process left, and a checkpoint that the run goes on from."""
    before, more = starts(engine)
    misfortune = f"callbacks=[{{name: misfortune, what: {what}, rank: {rank}, step: 3}}]"
    command = [*before, *TRAIN, "--plugin", "plugin.py", *SETTINGS, "run_dir=run", misfortune, *more]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    saved = folder / "run/checkpoints/step-00000002"
    deadline = time.monotonic() + 90
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert saved.exists()
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    took = time.monotonic() - began
    assert took < 10, (took, errors)
    assert process.returncode != 0
    if what == "raise":
        assert f"rank {rank}:" in errors
        assert "Traceback" in errors
        assert re.search(r"ZeroDivisionError: a misfortune", errors)
    if what == "stop" and engine == "processes":
        assert f"rank {rank} stands still" in errors
    deadline = time.monotonic() + 2
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(folder) == []
    assert read_checkpoint(saved).step == 2


@pytest.mark.slow
def test_the_run_goes_on_after_a_failure_with_the_same_bytes(folder):
    train(folder, "whole", "trainer.gradient_sum=tree")
    misfortune = "callbacks=[{name: misfortune, what: kill, rank: 1, step: 5}]"
    result = run([*TRAIN, "--plugin", "plugin.py", *SETTINGS, "run_dir=run", misfortune, *on_processes(2)], folder)
    assert result.returncode == 128 + signal.SIGKILL, result.stderr
    assert "rank 1 was ended by SIGKILL" in result.stderr
    (folder / "plugin.py").write_text(PLUGIN.replace("view.step != self.step or", "True or"))
    again = run([*TRAIN, "--plugin", "plugin.py", "--resume", "run"], folder)
    assert again.returncode == 0, again.stderr
    assert summary(folder / "run") == summary(folder / "whole")


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(folder):
    command = [
        *TRAIN,
        *SETTINGS,
        "run_dir=run",
        *on_processes(2),
        "trainer.max_steps=100000",
        "trainer.save_every=100000",
    ]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    metrics = folder / "run/metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "everything is saved; go on with: minitrain train --resume run" in errors
    assert errors.count("stopped by Ctrl-C") == 1
    assert len(list((folder / "run/checkpoints").glob("step-*"))) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mistake_in_the_command_is_told_once(folder, engine):
    before, more = starts(engine)
    result = run([*before, *TRAIN, *SETTINGS, "run_dir=run", "data.path=nowhere.txt", *more], folder)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("nowhere.txt") == 1, result.stderr


def test_ranks_with_other_settings_are_refused_in_a_sentence(folder):
    root = f"127.0.0.1:{free_port()}"
    variables = {"MINITRAIN_RANKS": "2", "MINITRAIN_ROOT": root, "MINITRAIN_TOKEN": "x"}
    ranks = [
        subprocess.Popen(
            [*TRAIN, *SETTINGS, "run_dir=run", f"trainer.batch_size={4 + 4 * rank}"],
            cwd=folder,
            env=environment(**variables, MINITRAIN_RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert errors[1] == ""
    assert errors[0].count("\n") == 1
    assert "rank 1 has trainer.batch_size=8 and rank 0 has trainer.batch_size=4" in errors[0]
    assert not (folder / "run").exists()


SCRIPT = """
import hashlib, sys
import numpy as np
import minitrain as mt
from minitrain.distributed import joined
from minitrain.training import Trainer, TrainingConfig

with joined() as group:
    model = mt.GPT(mt.GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16), seed=1)
    tokens = np.random.default_rng(0).integers(0, 11, 400)
    trainer = Trainer(
        model=model,
        train_data=mt.TokenLoader(tokens, block_size=8, batch_size=8, seed=0),
        config=TrainingConfig(batch_size=8, gradient_accumulation_steps=4, max_steps=3, gradient_sum="tree"),
        progress=False,
        group=group,
    )
    trainer.train()
    if len(sys.argv) > 1 and group.rank == 1:
        raise ZeroDivisionError("a misfortune")
    group.barrier()
    digest = hashlib.sha256(b"".join(array.tobytes() for array in model.state_dict().values())).hexdigest()
    print(digest + "\\n", end="")  # in one piece, whatever other ranks print
"""


@needs_mpi
def test_a_script_of_ones_own_under_mpirun(folder):
    """Every rank has the same weights; and an error on one ends the others."""
    assert MPIRUN is not None
    (folder / "script.py").write_text(SCRIPT)
    result = run([MPIRUN, "-n", "2", sys.executable, "script.py"], folder)
    assert result.returncode == 0, result.stderr
    one, two = result.stdout.split()
    assert one == two
    began = time.monotonic()
    result = run([MPIRUN, "-n", "2", sys.executable, "script.py", "fail"], folder, limit=60)
    assert result.returncode != 0
    assert "ZeroDivisionError: a misfortune" in result.stderr
    assert time.monotonic() - began < 45  # the start of Python takes most of it
