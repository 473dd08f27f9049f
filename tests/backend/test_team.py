"""The threads of kernels: every part runs once, whoever launches at the same time, forks or ends."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.cpu import jit, workers
from minitrain.errors import ConfigError
from tests.helpers.processes import run_python

pytestmark = pytest.mark.skipif(not workers.has_team(), reason="numba's thread pool is used here")

BODY = ctypes.CFUNCTYPE(None, *[ctypes.POINTER(ctypes.c_int64)] * 4)
CALLER = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 3)


def launch(parts: int, run) -> None:
    """Launch ``run(part)`` for every part, as a compiled loop would: its argument is an array of the parts' numbers."""
    jit.threading_layer()
    parallel_for = CALLER(workers._parallel_for())
    numbers = np.arange(parts, dtype=np.int64)
    args, dims, steps = np.array([numbers.ctypes.data, 0]), np.array([parts, 7]), np.array([8, 8])

    @BODY
    def body(args, dims, steps, data):
        assert (dims[0], dims[1], args[1]) == (1, 7, 0)
        run(ctypes.c_int64.from_address(args[0]).value)

    parallel_for(body, args.ctypes.data, dims.ctypes.data, steps.ctypes.data, None, 1, 2, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=8))
def test_every_part_runs_once(launches):
    for parts, members in launches:
        workers.start_workers(members)
        done: list[int] = []
        launch(parts, done.append)
        assert sorted(done) == list(range(parts))


def test_the_parts_run_at_the_same_time():
    workers.start_workers(2)
    meet = threading.Barrier(2, timeout=60)  # breaks if one thread runs both
    threads = set()
    launch(2, lambda part: threads.add(threading.get_ident()) or meet.wait())
    assert len(threads) == 2


def test_a_launch_inside_a_launch_and_launches_of_many_threads():
    workers.start_workers(3)
    done: list[tuple[int, int, int]] = []

    def trainer(name: int) -> None:
        for _ in range(20):
            launch(3, lambda outer: launch(2, lambda inner: done.append((name, outer, inner))))

    threads = [threading.Thread(target=trainer, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    expected = [(name, outer, inner) for name in range(3) for outer in range(3) for inner in range(2)] * 20
    assert sorted(done) == sorted(expected)


SCRIPT = """
import ctypes, json, os, signal, sys, threading, time
import numpy as np
from minitrain.backend.cpu import workers, jit, team
from minitrain.kernels.cpu.activations import relu
x = np.arange(-500, 500).astype(np.float32)
def check(parts=2):
    out = np.full_like(x, -1)
    relu._forward(x, out, parts)
    assert (out == np.maximum(x, 0)).all(), out
tasks = lambda: len(os.listdir("/proc/self/task"))
"""


def run(code: str, **environment: str) -> str:
    own = {"MINITRAIN_KERNELS": "auto", "MINITRAIN_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    return run_python(SCRIPT + code, **own, **environment)


def test_a_launch_that_comes_before_its_worker_is_not_missed():
    run("""
from minitrain.backend.cpu.workers import _work
jit.threading_layer()
_work()
for members in range(2, 30):
    workers.start_workers(members)
    check(members)  # the new thread has hardly begun
""")


def test_there_are_as_many_threads_as_parts_and_none_of_openmp():
    seen = run("""
from minitrain.backend import set_threads, thread_count
jit.threading_layer()
start = tasks()
check(1); seen = [tasks() - start]
for threads in (2, 4, 2, 1):
    set_threads(threads)
    check(thread_count())
    seen.append(tasks() - start)
print(json.dumps([seen, workers.size()]))
""")
    assert json.loads(seen) == [[0, 1, 3, 3, 3], 4]


def test_without_threads_of_the_system_the_caller_works_alone():
    run("""
jit.threading_layer()
workers.ctypes = type("NoThreads", (), {"__getattr__": lambda self, name: getattr(ctypes, name)})()
workers.ctypes.CDLL = lambda path: type("System", (), {"pthread_create": lambda self, *arguments: 11})()
check(4)
assert workers.size() == 1
""")


def test_a_forked_child_has_a_team_of_its_own():
    """Also when another thread of the parent is in the middle of a launch."""
    run("""
check()
going = True
def train():
    while going: check()
other = threading.Thread(target=train)
other.start()
for _ in range(10):
    child = os.fork()
    if not child:
        try:
            assert workers.size() == 1 and tasks() == 1
            for _ in range(3): check()
            assert workers.size() == 2 and tasks() == 2
            os._exit(0)
        finally: os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    check()
going = False
other.join()
assert workers.size() == 2
""")


@pytest.mark.parametrize("then", ["", "threading.Thread(target=train, daemon=True).start(); time.sleep(0.05)"])
def test_the_program_ends_while_threads_spin_or_work(then):
    code = f"""
def train():
    out = np.empty_like(x)
    while True: relu._forward(x, out, 2)
check()
{then}
print("the end", flush=True)
"""
    for _ in range(3):
        assert run(code, MINITRAIN_SPIN="100000000") == "the end\n"


def test_interrupts_from_the_keyboard_reach_the_program_between_two_launches():
    run("""
check()
for _ in range(5):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True: check()
    except KeyboardInterrupt: pass
    check()
""")


def test_a_core_that_another_program_wants_is_noticed():
    """A worker and a busy program on the same core: the worker is interrupted while it spins, and spins less."""
    code = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
check()
row, until = 3, time.monotonic() + 120
while workers.word(team.INTERRUPTIONS, row).value < 3:
    assert time.monotonic() < until, workers.word(team.INTERRUPTIONS, row).value
    check()
    begin = time.monotonic()
    while time.monotonic() - begin < 0.002: pass
print(workers.word(team.USED_BEFORE, row).value)
"""
    core = min(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-c", loop])
    try:
        assert int(run(code)) > 0
    finally:
        busy.kill()
        busy.wait()


def test_numbas_pool_gives_the_same_bytes():
    code = """
from minitrain.ops import softmax_forward
rows = np.random.default_rng(0).standard_normal((999, 257), np.float32)
print(softmax_forward(rows)[0].sum(axis=1).tobytes().hex(), workers.has_team())
"""
    own, numbas = run(code).split(), run(code, MINITRAIN_THREAD_POOL="numba").split()
    assert (own[0], own[1], numbas[1]) == (numbas[0], "True", "False")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("MINITRAIN_SPIN", "-1", workers.spin_times),
        ("MINITRAIN_SPIN", "0.5", workers.spin_times),
        ("MINITRAIN_SPIN", "9" * 30, workers.spin_times),
        ("MINITRAIN_THREAD_POOL", "omp", workers.has_team.__wrapped__),
    ],
)
def test_impossible_values_of_variables_are_refused_by_name(monkeypatch, name, value, check):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}='{value}': give"):
        check()


def test_the_pool_is_described(monkeypatch):
    assert jit.describe_pool() == "minitrain's own; waiting threads spin for 20 to 10000 µs, by whether cores are free"
    monkeypatch.setenv("MINITRAIN_SPIN", "70")
    assert jit.describe_pool() == "minitrain's own; waiting threads spin for 70 µs"
    with contextlib.ExitStack() as stack:
        stack.enter_context(monkeypatch.context()).setattr(workers, "has_team", lambda: False)
        assert jit.describe_pool().startswith("numba's ")
