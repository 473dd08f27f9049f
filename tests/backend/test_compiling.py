"""Compiling kernels: to disk alone, with a helper beside, and what happens when one of them is disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from minitrain.backend.cpu import compile_ahead, jit, kernel_cache
from minitrain.backend.cpu.compile_lock import exclusive
from minitrain.kernels.cpu.activations import relu
from tests.helpers.processes import run_python

RELU = """
import sys, time
from pathlib import Path
import numpy as np
import minitrain.backend.cpu.jit as jit
jit.compile_listener = print
from minitrain.ops import relu_backward, relu_forward
x = np.ones(3, np.float32)
out, cache = relu_forward(x)
"""
needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="no helper where files have no locks")


def run_relu(folder: Path, then: str, **environment: str) -> list[str]:
    code = RELU + textwrap.dedent(then)
    return run_python(code, MINITRAIN_CACHE_DIR=str(folder), MINITRAIN_KERNELS="auto", **environment).splitlines()


@pytest.fixture
def no_helper(monkeypatch):
    """The helper of this process, if it has one, stays out of the test."""
    monkeypatch.setattr(compile_ahead, "_helpers", [])
    monkeypatch.setattr(compile_ahead, "thread_count", lambda: 2)
    yield
    compile_ahead.stop()


@needs_locks
def test_the_helper_compiles_the_backward_beside_a_forward(tmp_path):
    """The script has no ``if __name__ == "__main__"`` and its own search path; what it prints is printed once."""
    then = f"""
        print("waiting")
        done = lambda: list(Path({str(tmp_path)!r}).glob("kernels/*/relu._backward*.nbc"))
        until = time.monotonic() + 240
        while not done() and time.monotonic() < until: time.sleep(0.02)
        relu_backward(x, cache)
    """
    assert run_relu(tmp_path, then, MINITRAIN_NUM_THREADS="2") == ["relu._forward", "waiting"]


def test_one_thread_has_no_helper(monkeypatch, no_helper):
    monkeypatch.setattr(compile_ahead, "thread_count", lambda: 1)
    compile_ahead.compile_ahead("json", ["no_kernel"])
    assert compile_ahead._helpers == []


@needs_locks
@pytest.mark.parametrize(("threads", "helpers"), [(2, 1), (3, 2), (64, compile_ahead.HELPERS)])
def test_every_further_thread_has_a_helper_up_to_a_few(monkeypatch, no_helper, threads, helpers):
    started: list[Listening] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: started.append(Listening()) or started[-1])
    monkeypatch.setattr(compile_ahead, "thread_count", lambda: threads)
    compile_ahead.compile_ahead("module", [])
    compile_ahead.compile_ahead("module", ["kernel"], "int8")
    assert [helper.written for helper in started] == [["float32 module \n", "int8 module kernel\n"]] * helpers


def test_the_cache_knows_processors_and_what_is_gone(monkeypatch, tmp_path):
    """A folder that machines share holds code for each of them; a lost file is compiled again, to disk as ever."""
    jit.threading_layer()  # the pool's own code goes to the usual folder
    compiled: list[str] = []
    monkeypatch.setattr(jit, "compile_listener", compiled.append)
    monkeypatch.setattr(jit, "compile_ahead", lambda module, kernels, form: None)
    monkeypatch.setattr(jit, "kernel_cache_dir", lambda: tmp_path)
    monkeypatch.setattr(kernel_cache, "kernel_cache_dir", lambda: tmp_path)

    def run() -> None:
        x, out = np.float32([-1, 2, 3]), np.empty(3, np.float32)
        jit.Kernel(relu._forward._function, relu._forward._signature, parallel=True)(x, out, 1)
        np.testing.assert_array_equal(out, [0, 2, 3])

    run()
    run()
    assert compiled == ["relu._forward"]
    [lost] = tmp_path.glob("*.nbc")
    lost.unlink()
    run()
    assert len(compiled) == 2
    with monkeypatch.context() as another_machine:
        other = "nehalem" if numba.core.config.CPU_NAME == "generic" else "generic"
        another_machine.setattr(numba.core.config, "CPU_NAME", other)
        run()
    run()
    assert len(compiled) == 3
    assert len(list(tmp_path.glob("*.nbc"))) == 2  # code for either processor


@needs_locks
def test_a_helper_ends_with_its_pipe(monkeypatch, tmp_path):
    """That is how it notices the end of the process that started it, also in the middle of a kernel."""
    (tmp_path / "slow.py").write_text("import time\nprint(flush=True)\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), *sys.path])))
    command = [sys.executable, "-m", compile_ahead.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdin is not None and helper.stdout is not None
        helper.stdin.write("float32 slow kernel\n")
        helper.stdin.flush()
        helper.stdout.readline()  # it is at it
        helper.stdin.close()
        try:
            assert helper.wait(timeout=30) == 0
        finally:
            helper.kill()


@needs_locks
def test_a_helper_gets_bored():
    code = "from minitrain.backend.cpu import compile_ahead; compile_ahead.PATIENCE = 0.01; compile_ahead.main()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as helper:
        try:
            assert helper.wait(timeout=30) == 0
        finally:
            helper.kill()


@needs_locks
def test_a_helper_that_got_bored_is_replaced_and_leaves_nothing_open(no_helper):
    compile_ahead.compile_ahead("json", ["no_kernel"])  # the helper ends in an error, as it would in boredom
    [first] = compile_ahead._helpers
    assert first.stdin is not None
    first.wait(timeout=60)
    compile_ahead.compile_ahead("json", ["no_kernel"])
    [second] = compile_ahead._helpers
    assert second.stdin is not None and second is not first
    assert first.stdin.closed
    compile_ahead.stop()
    assert second.stdin.closed
    assert second.returncode is not None


@needs_locks
def test_the_helper_finds_what_this_process_would(monkeypatch, no_helper, tmp_path):
    """Its search path is this one's, its folder is not on it, and it may use one thread."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: started.append((args, options)) or Dead())
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    compile_ahead.compile_ahead("module", ["kernel"])
    [((command,), options)] = started
    assert command == [sys.executable, "-P", "-m", "minitrain.backend.cpu.compile_ahead"]
    assert options["env"]["PYTHONPATH"] == f"{tmp_path}{os.pathsep}/elsewhere"
    assert options["env"]["NUMBA_NUM_THREADS"] == options["env"]["OPENBLAS_NUM_THREADS"] == "1"


class Dead:
    """A helper that ended before it could read."""

    def __init__(self) -> None:
        self.stdin = self

    def write(self, line):
        raise BrokenPipeError(line)

    def nothing(self) -> None:
        pass

    close = kill = wait = poll = flush = nothing


class Listening(Dead):
    """A helper that reads what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, line):
        self.written.append(line)


def test_a_program_with_a_python_inside_is_not_started_again(monkeypatch, no_helper):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("started"))
    for executable in ("/usr/bin/blender", "", None):
        monkeypatch.setattr(sys, "executable", executable)
        compile_ahead.compile_ahead("module", ["kernel"])


@needs_locks
def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with exclusive(tmp_path / "kernel.lock"):
                inside.append(1)
                time.sleep(1e-4)  # time for others to come in, if they can
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) == 80


@needs_locks
def test_a_lock_is_free_again_when_its_owner_is_killed(tmp_path):
    path = tmp_path / "kernel.lock"
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()  # it has the lock
        killed = threading.Event()
        threading.Timer(0.05, lambda: (killed.set(), owner.kill())).start()
        with exclusive(path):
            assert killed.is_set()


@needs_locks
def test_who_does_not_wait_is_told_that_another_is_at_it(tmp_path):
    path = tmp_path / "kernel.lock"
    with exclusive(path) as first, exclusive(path, wait=False) as second:
        assert (first, second) == (True, False)
    with exclusive(path, wait=False) as third:
        assert third


@needs_locks
def test_instead_of_waiting_another_kernel_is_compiled(monkeypatch, tmp_path):
    """One process writes the forward; this one needs it, compiles the backward meanwhile, then takes it."""
    for module in (jit, kernel_cache):
        monkeypatch.setattr(module, "kernel_cache_dir", lambda: tmp_path)
    monkeypatch.setattr(jit, "compile_ahead", lambda module, kernels, form: None)
    forward, backward = (jit.Kernel(k._function, k._signature, parallel=True) for k in (relu._forward, relu._backward))
    left = [backward]
    monkeypatch.setattr(jit, "missing", lambda file, names, form: [k for k in left if not k.on_disk()])
    jit.threading_layer()
    order: list[str] = []
    release = threading.Event()

    def write_the_forward() -> None:
        with exclusive(tmp_path / f"{forward._dispatcher._cache._impl.filename_base}.lock"):
            order.append("another holds the forward")
            held.set()
            release.wait(300)

    held = threading.Event()
    other = threading.Thread(target=write_the_forward)
    other.start()
    held.wait(60)
    compile_backward = backward.compile_to_disk

    def compile_and_release(wait: bool = True) -> bool:
        there = compile_backward(wait)
        order.append("the backward is compiled")
        release.set()
        other.join(60)
        return there

    monkeypatch.setattr(backward, "compile_to_disk", compile_and_release)
    x, out = np.float32([-1, 2, 3]), np.empty(3, np.float32)
    forward(x, out, 1)
    np.testing.assert_array_equal(out, [0, 2, 3])
    assert order == ["another holds the forward", "the backward is compiled"]


def test_without_locks_everyone_may_compile(tmp_path):
    with exclusive(tmp_path / "missing" / "kernel.lock"):
        assert not (tmp_path / "missing").exists()


def test_a_part_of_a_kernel_cannot_be_called_from_python():
    """numba would call into nothing: it has no way in from Python, which compiles faster."""
    from minitrain.kernels.cpu.common.math import exp

    with pytest.raises(TypeError, match=r"exp is a part of kernels: .* exp\.py_func"):
        exp(np.float32(1))
