"""Ranks that mpirun started: the promises of a group, and what makes programs on MPI hang or fail."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minitrain.distributed.mpi as module
from tests.distributed.test_processes import MPIRUN, folder, needs_mpi, run

assert folder  # a fixture

CONTRACT = """
import numpy as np
from minitrain.distributed import joined, part
from minitrain.distributed.rows import gather_rows

def terms(count, dtype):
    draw = np.random.default_rng(count)
    return [(draw.standard_normal(count) * 10.0 ** draw.integers(-4, 5, count)).astype(dtype) for _ in range(size)]

def added(terms):
    if len(terms) == 1:
        return terms[0]
    half = max(2**k for k in range(10) if 2**k < len(terms))
    return added(terms[:half]) + added(terms[half:])

with joined() as group:
    size = group.size
    for count in (0, 1, 7, 1000):
        for dtype in ("float32", "float64"):
            mine = terms(count, dtype)[group.rank]
            expected = added(terms(count, dtype))
            own = group.reduce_scatter(scattered := mine.copy())
            assert scattered[own].tobytes() == expected[own].tobytes()
            group.all_reduce(mine)
            assert mine.tobytes() == expected.tobytes()
    array = np.arange(5.0) + group.rank
    group.broadcast(array, root=size - 1)
    assert array.tolist() == (np.arange(5.0) + size - 1).tolist()
    assert group.gather({"rank": group.rank}) == [{"rank": rank} for rank in range(size)]
    assert len(gather_rows(group, [np.full((group.rank, 2), group.rank)])[0]) == size * (size - 1) // 2
    print("kept")
"""

LARGE = """
import numpy as np
from minitrain.distributed import joined

COUNT = 2**31 + 5  # bytes: more than an int of C counts
with joined() as group:
    if group.is_main:
        sent = np.zeros(COUNT, np.uint8)
        sent[-3:] = 1, 2, 3
        group.exchange({1: sent.data}, {})
    else:
        received = np.full(COUNT, 9, np.uint8)
        group.exchange({}, {0: received.data})
        assert received[-3:].tolist() == [1, 2, 3] and not received[:-3].any()
        print("whole")
"""

FAILS = """
import sys
from minitrain.distributed import joined

with joined() as group:
    group.barrier()
    if group.rank == 1:
        print("met", flush=True)
        WHAT
    group.barrier()
"""


def script(folder: Path, text: str, ranks: int, limit: float = 300) -> subprocess.CompletedProcess[str]:
    assert MPIRUN is not None
    (folder / "script.py").write_text(text)
    return run([MPIRUN, "-n", str(ranks), sys.executable, "script.py"], folder, limit=limit)


def test_only_calls_that_send_memory_as_it_is():
    """The lower-case ones of mpi4py pickle, and fail beyond 2 GiB (mpi4py 575 and 650); none is called."""
    tree = ast.parse(inspect.getsource(module))
    calls = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "_world" in ast.unparse(node.func)
    }
    assert {"Irecv", "Isend"} <= calls
    assert all(name[0].isupper() for name in calls)
    assert "Allreduce" not in calls  # which promises no order of its sums


@needs_mpi
@pytest.mark.parametrize("ranks", [1, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_the_promises_of_a_group(folder: Path, ranks: int):
    result = script(folder, CONTRACT, ranks)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("kept") == ranks  # lines of several ranks may come as one


@pytest.mark.slow
@needs_mpi
def test_a_message_of_more_than_2_gib(folder: Path):
    result = script(folder, LARGE, 2, limit=500)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["whole"]


@needs_mpi
@pytest.mark.parametrize(
    "what",
    [
        "raise ZeroDivisionError('a misfortune')",
        pytest.param("sys.exit(3)", marks=pytest.mark.slow),
        pytest.param("raise KeyboardInterrupt", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_does_not_leave_the_others_waiting(folder: Path, what: str):
    """As MPI itself would (chainermn 236, mpi-sppy 852): neither after an exception nor after ``sys.exit``."""
    began = time.monotonic()
    result = script(folder, FAILS.replace("WHAT", what), 3, limit=200)
    assert time.monotonic() - began < 100  # of the 600 s that a call between ranks may take
    assert result.returncode != 0
    assert result.stdout.split() == ["met"], result.stderr
    if "raise Zero" in what:
        assert "rank 1:" in result.stderr
        assert "ZeroDivisionError: a misfortune" in result.stderr
