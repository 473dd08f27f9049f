"""The cores of containers, bound processes and processes of one job, from made-up machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import cores, info, set_threads, thread_count, use_kernels
from minitrain.backend.cores import cgroup_quota, local_processes, machine_cores, usable_cores
from minitrain.backend.cpu.products import blas
from minitrain.backend.product import Product
from minitrain.backend.threads import GRAIN, threads_for
from tests.helpers.processes import run_python

Files = dict[str, str]


def machine(folder: Path, files: Files) -> tuple[Path, Path]:
    """A made-up ``/sys/fs/cgroup`` with these files, and the path of its ``membership``."""
    root = folder / "cgroup"
    root.mkdir()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root, root / "membership"


def version_1(group: str, quota: str, period: str = "100000") -> Files:
    return {f"{group}/cpu.cfs_quota_us": quota, f"{group}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, None, id="no control groups"),
        pytest.param({"membership": "0::/", "cpu.max": "150000 100000"}, 1.5, id="a container sees itself as the root"),
        pytest.param(
            {"membership": "0::/a/b", "a/b/cpu.max": "max 100000", "a/cpu.max": "max 100000"}, None, id="no limit"
        ),
        pytest.param(
            {"membership": "0::/a/b", "a/b/cpu.max": "50000 20000", "a/cpu.max": "max 100000"}, 2.5, id="its own"
        ),
        pytest.param(
            {"membership": "0::/a/b/c", "a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"},
            3,
            id="a parent's",
        ),
        pytest.param(
            {"membership": "0::/a", "a/cpu.max": "200000 100000", "cpu.max": "100000 100000"}, 1, id="the root's"
        ),
        pytest.param({"membership": "0::/a", "b/cpu.max": "100000 100000"}, None, id="a neighbour's is nobody's"),
        pytest.param({"membership": "0::/docker/1f", "cpu.max": "400000 100000"}, 4, id="a path outside the container"),
        pytest.param(
            {"membership": "0::/../x", "../x/cpu.max": "100000 100000", "cpu.max": "400000 100000"},
            4,
            id="a path above the root",
        ),
        pytest.param({"membership": "0::/a", "a/cpu.max": "nonsense"}, None, id="a file of the future"),
        pytest.param(
            {"membership": "4:cpu,cpuacct:/a/b\n0::/", **version_1("cpu,cpuacct/a/b", "250000")}, 2.5, id="version 1"
        ),
        pytest.param(
            {
                "membership": "4:cpu:/a/b\n3:memory:/",
                **version_1("cpu/a/b", "-1"),
                **version_1("cpu/a", "75000"),
                **version_1("memory/a", "10"),
            },
            0.75,
            id="version 1, a parent's",
        ),
        pytest.param(
            {"membership": "4:cpu:/docker/1f", **version_1("cpu", "300000")}, 3, id="version 1, outside the container"
        ),
    ],
)
def test_the_quota_is_the_smallest_of_a_group_and_those_around_it(tmp_path: Path, files: Files, expected: float):
    assert cgroup_quota(*machine(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"membership": "0::/a/b", "a/cpuset.cpus.effective": "0-3,8", "cpuset.cpus.effective": "0-63"}, 5),
        pytest.param({"membership": "0::/a", "a/cpuset.cpus.effective": "7"}, 1),
        pytest.param({"membership": "2:cpuset:/a", "cpuset/a/cpuset.cpus": "0-1,4-5"}, 4),
        pytest.param({"membership": "2:cpuset:/docker/1f", "cpuset/cpuset.effective_cpus": "0-2"}, 3),
        pytest.param({"membership": "0::/a", "a/cpuset.cpus.effective": ""}, os.cpu_count()),
        pytest.param({}, os.cpu_count()),
    ],
)
def test_the_machine_is_what_the_container_may_use_of_it(tmp_path: Path, files: Files, expected: int):
    assert machine_cores(*machine(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),
        ({"MPI_LOCALNRANKS": "3", "PMI_SIZE": "12"}, 3),
        ({"MV2_COMM_WORLD_LOCAL_SIZE": "2"}, 2),
        ({"PMI_LOCAL_SIZE": "8"}, 8),
        ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "16"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "4"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "3(x2),5"}, 5),
        ({"SLURM_NTASKS_PER_NODE": "4", "SLURM_TASKS_PER_NODE": "4", "SLURM_LOCALID": "0"}, 1),  # a batch script
        ({"SLURM_STEP_TASKS_PER_NODE": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),  # mpirun inside of srun
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "none", "LOCAL_WORLD_SIZE": "0"}, 1),
    ],
)
def test_launchers_say_how_many_processes_share_the_machine(environment: Files, expected: int):
    assert local_processes(environment) == expected


@pytest.fixture
def pretend(monkeypatch):
    """Pretend to be a process with these limits."""

    def set_up(total: int, bound: int, quota: float | None, ranks: int) -> None:
        monkeypatch.setattr(cores, "machine_cores", lambda: total)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(bound)), raising=False)
        monkeypatch.setattr(cores, "cgroup_quota", lambda: quota)
        monkeypatch.setattr(cores, "local_processes", lambda environment: ranks)

    return set_up


@pytest.mark.parametrize(
    ("total", "bound", "quota", "ranks", "expected", "reason"),
    [
        (16, 16, None, 1, 16, "all cores"),
        (16, 3, None, 1, 3, "bound to 3 of 16 cores"),
        (16, 16, 2.5, 1, 2, "CPU quota 2.5"),
        (16, 16, 0.5, 1, 1, "CPU quota 0.5"),
        (16, 16, None, 4, 4, "16 cores, shared by 4 processes of one job"),
        (16, 4, None, 4, 4, "16 cores, shared by 4 processes of one job"),  # bound to its share: not cut twice
        (16, 2, None, 4, 2, "bound to 2 of 16 cores"),
        (16, 8, None, 8, 2, "16 cores, shared by 8 processes of one job"),  # four bound to each socket of eight
        (16, 16, 6.0, 4, 1, "CPU quota 6, shared by 4 processes of one job"),
        (2, 2, None, 3, 1, "2 cores, shared by 3 processes of one job"),
    ],
)
def test_cores_of_a_process(pretend, total, bound, quota, ranks, expected, reason):
    pretend(total, bound, quota, ranks)
    assert usable_cores() == (expected, reason)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_bound_process_takes_its_cores_alone_and_says_so():
    """The affinity is that of the process, which may be set after Python has started."""
    code = """
        import os
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        from minitrain.backend import thread_count
        from minitrain.backend.threads import thread_reason
        print(thread_count(), thread_reason())
    """
    answer = run_python(code, MINITRAIN_NUM_THREADS="", OMP_NUM_THREADS="")
    assert answer.strip() == "1 as many as cores; MINITRAIN_NUM_THREADS=N makes it N"


def test_info_says_why(pretend, monkeypatch):
    pretend(16, 16, 2.5, 1)
    monkeypatch.setattr(blas, "blas", lambda: blas.Blas(Product("openblas", "0.3.31", "Zen"), 0, True))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    set_threads(3)
    try:
        with use_kernels("auto"):
            facts = info.collect()
    finally:
        set_threads(None)
    assert facts["cores"] == f"2 of {os.cpu_count()} (CPU quota 2.5)"
    assert facts["threads"] == "3 (set by set_threads)"
    assert facts["BLAS"].endswith(", held to its Haswell kernels by OPENBLAS_CORETYPE")
    monkeypatch.setattr(blas, "blas", lambda: blas.Blas(Product("mkl", "2025"), 0, False))
    with use_kernels("auto"):
        assert "OPENBLAS" not in info.collect()["BLAS"]


@given(st.integers(0, 1 << 24), st.integers(1, 64))
def test_small_work_is_not_split(elements: int, threads: int):
    set_threads(threads)
    try:
        parts = threads_for(elements)
        assert 1 <= parts <= thread_count()
        assert parts == 1 or elements >= parts * GRAIN
        assert parts == threads or elements < (parts + 1) * GRAIN  # and large work is
    finally:
        set_threads(None)
