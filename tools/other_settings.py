"""The tests of kernels and operations under other settings: without kernels, on narrower processors, with each BLAS.

    python -m tools.other_settings [--only generic] [arguments of pytest]

A machine runs one of many kinds of code: the kernels are compiled for its processor, and the first BLAS that loads
multiplies. These settings make it run the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from minitrain.backend.cpu.products.blas import CANDIDATES

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, dict[str, str]] = {
    "reference": {"MINITRAIN_KERNELS": "reference"},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    **{name: {"MINITRAIN_BLAS": name} for name in CANDIDATES},
}
"""The environments, by name. ``avx2`` hides AVX-512, and ``generic`` all that not every x86-64 processor has."""
PART = (
    "tests/kernels",
    "tests/ops/test_ops.py",
    "tests/ops/test_half.py",
    "tests/ops/test_attention_forms.py",
    "tests/ops/test_gelu_linear.py",
    "tests/backend",
    "tests/nn",
    "tests/training/test_precision.py",
    "tests/training/test_split_losses.py",
    "tests/training/test_snapshot.py",
    "tests/runs/test_exact_resume.py",
)


def main(arguments: list[str]) -> int:
    """Run the tests under every setting, or under some; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.other_settings", allow_abbrev=False)
    parser.add_argument("--only", action="append", choices=SETTINGS, help="this setting alone; may be repeated")
    options, arguments = parser.parse_known_args(arguments)
    failed = 0
    for name, variables in SETTINGS.items():
        if options.only and name not in options.only:
            continue
        said = " ".join(f"{variable}={value}" for variable, value in variables.items())
        environment = {**without(os.environ), **variables}
        if problem := obstacle(environment):
            print(f"==> {said}: skipped, {problem}", flush=True)
            continue
        print(f"==> Testing with {said}", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *(arguments or PART)]
        failed += subprocess.run(command, cwd=ROOT, env=environment).returncode != 0
        print(f"==> {said}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return failed


def without(environment: os._Environ[str]) -> dict[str, str]:
    """The environment without the user's own settings of the same variables."""
    names = {name for variables in SETTINGS.values() for name in variables}
    return {name: value for name, value in environment.items() if name not in names}


def obstacle(environment: dict[str, str]) -> str:
    """Why these settings cannot be tested here; empty if they can."""
    command = [sys.executable, "-c", "from minitrain.backend.product_choice import in_use; in_use()"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return said.stderr.strip().splitlines()[-1] if said.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
