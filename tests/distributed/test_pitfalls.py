"""Pitfalls of programs on several machines that no other file here tests: what ranks need, and what Ray offers."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minitrain.distributed.launch import ray_train
from minitrain.errors import ConfigError
from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import folder
from tests.helpers.places import ROOT, TESTS

assert folder  # a fixture

WITHOUT = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "mpi4py", "ray", "cupy"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Missing())
import numpy as np
from minitrain.distributed.launch.processes import run_processes

if len(sys.argv) == 1:
    sys.exit(run_processes([sys.executable, __file__, "rank"], 2))
from minitrain.distributed import joined

with joined() as group:
    array = np.full(3, 1.0 + group.rank, np.float32)
    group.all_reduce(array)
    assert array.tolist() == [3.0] * 3
    group.barrier()
    if group.is_main:
        print("added")
"""


def test_processes_need_neither_pytorch_nor_mpi_nor_ray(folder: Path):
    (folder / "script.py").write_text(WITHOUT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "added\n"), done.stderr


def test_a_ray_without_what_is_used_is_named(monkeypatch, tmp_path):
    """An older or a newer one: the error says what is missing and what to install."""
    for name in ("ray", "ray.train", "ray.train.v2", "ray.train.v2.api", "ray.train.v2.api.data_parallel_trainer"):
        monkeypatch.setitem(sys.modules, name, None)
    job = ray_train.RayJob(lambda argv: 0, (), 2, 2, str(tmp_path), "config.yaml")
    with pytest.raises(ConfigError, match=r"distributed=ray needs Ray \(.*\): pip install 'minitrain\[ray\]'"):
        ray_train.run_on_ray(job)


@pytest.mark.sweeps
def test_the_installed_ray_has_what_is_used():
    pytest.importorskip("ray")
    trainer = importlib.import_module("ray.train.v2.api.data_parallel_trainer").DataParallelTrainer
    assert callable(trainer.fit)
    group = importlib.import_module("ray.train.v2._internal.execution.worker_group.worker_group").WorkerGroup
    assert callable(group.execute)
    assert callable(group.execute_single)
    config = importlib.import_module("ray.train").FailureConfig(max_failures=0, controller_failure_limit=0)
    assert config.max_failures == 0


def test_the_table_of_pitfalls_names_tests_that_are_there():
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    table = text.partition("### What others ran into")[2].partition("\n\n|")[2].split("\n\n")[0]
    rows = [row for row in table.splitlines()[2:] if row.startswith("|")]
    assert len(rows) >= 14
    for row in rows:
        test = row.rstrip("|").rpartition("|")[2]
        files = re.findall(r"`([\w/]+\.py)`", test)
        assert files or "the table above" in test, row
        for file in files:
            assert (TESTS / file).is_file(), file
