"""The tests of kernels and of the CUDA backend, run on the card: what fails is listed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from minitrain.benchmark.turns import ROOT
from minitrain.errors import DeviceError

from .. import events
from ..place import Place

TITLE = "Tests on the card"
FOLDERS = ("tests/kernels/cuda", "tests/backend/cuda", "tests/training/test_graphed_step.py")
QUICK = ("tests/kernels/cuda/test_rules.py",)
"""The tests that run without a card, to show that this part works."""


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``.

    Raises:
        DeviceError: if pytest is missing, or ends without a result.
    """
    if importlib.util.find_spec("pytest") is None or importlib.util.find_spec("hypothesis") is None:
        raise DeviceError("the tests need pytest and Hypothesis: pip install pytest hypothesis")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results.xml")
        there = [name for name in (QUICK if place.emulated else FOLDERS) if Path(ROOT, name).exists()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "not slow and not sweeps",
            "-p",
            "no:cacheprovider",
            *there,
        ]
        environment = os.environ | {"MINITRAIN_TEST_DEVICE": "pretended" if place.emulated else "cuda"}
        done = subprocess.run(
            [*command, f"--junitxml={out}"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if not out.exists():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise DeviceError(f"pytest ended without results: {lines[-1] if lines else done.returncode}")
        list_results(out)


def list_results(path: Path) -> None:
    """A row for each file of tests, and one for each test that failed."""
    files: dict[str, dict[str, int]] = {}
    for test in ElementTree.parse(path).iter("testcase"):
        file = ".".join(part for part in test.get("classname", "?").split(".") if part[:1].islower())
        counts = files.setdefault(file, {"passed": 0, "failed": 0, "skipped": 0})
        failure = next((part for part in test if part.tag in ("failure", "error")), None)
        state = "failed" if failure is not None else "skipped" if test.find("skipped") is not None else "passed"
        counts[state] += 1
        if failure is not None:
            message = (failure.get("message") or "").strip().partition("\n")[0]
            events.row(f"{TITLE}: failures", f"{file}::{test.get('name')}", message=message[:300])
    for file, counts in files.items():
        events.row(TITLE, file, **counts)
