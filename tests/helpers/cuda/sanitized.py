"""Runs kernels in a build with a sanitizer: ``python -m tests.helpers.cuda.sanitized thread layer_norm``.

A sanitizer must be loaded before Python, and what it finds may end the process: so this is a program of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain.testing.cases import CASES, SMALL, TILES
from minitrain.testing.cuda import Emulator, Schedule, emulate
from tests.helpers.cuda import run_cuda, source_of
from tests.helpers.places import ROOT

LIBRARIES = {"thread": "libtsan.so", "address": "libasan.so"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",  # stacks change
    "TSAN_OPTIONS": "report_signal_unsafe=0",
    "OPENBLAS_NUM_THREADS": "1",  # ThreadSanitizer knows nothing of NumPy's threads
}

# Kernels with one mistake each, which the sanitizer must report.
MISTAKES = {
    "lost_update": (  # fibres are never interrupted in a statement, so the result is right
        "__global__ void lost_update(float* x, int n) { __shared__ float s; if (threadIdx.x == 0) s = 0; "
        "__syncthreads(); s += x[threadIdx.x]; __syncthreads(); if (threadIdx.x == 0) x[0] = s; }"
    ),
    "past_the_end": "__global__ void past_the_end(float* x, int n) { if (threadIdx.x <= n) x[threadIdx.x] = 1; }",
}


def command(sanitizer: str, what: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that run one operation or mistake."""
    library = subprocess.check_output(["g++", f"-print-file-name={LIBRARIES[sanitizer]}"], text=True).strip()
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": library}
    # ThreadSanitizer wants its addresses where they are without randomisation.
    return ["setarch", "-R", sys.executable, "-m", __name__, sanitizer, what], environment


def report_of(sanitizer: str, what: str) -> str:
    """What the sanitizer says, nothing if it is content."""
    line, environment = command(sanitizer, what)
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    found = [text for text in done.stderr.splitlines() if text.startswith("SUMMARY:")]
    if done.returncode and not found:
        raise RuntimeError(f"{what} failed under the sanitizer:\n{done.stderr[-2000:]}")
    return "\n".join(found)


def run_case(name: str, emulator: Emulator) -> None:
    case = CASES[name]

    @settings(max_examples=3, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(st.data())
    def check(data: Any) -> None:
        for extent in (SMALL, TILES):
            with emulate(emulator):
                run_cuda(case, data.draw(case.calls(extent)).astype(np.float32))

    check()


def main() -> None:
    sanitizer, what = sys.argv[1:]
    emulator = Emulator([Schedule("forward", True)], sanitizer=sanitizer)
    if what in CASES:
        run_case(what, emulator)
        return
    _, kernels = source_of(MISTAKES[what], **{what: "f4* x, i4 n"})
    with emulate(emulator):
        kernels[what](1, 64, np.ones(60 if sanitizer == "address" else 64, np.float32), 60)


if __name__ == "__main__":
    main()
