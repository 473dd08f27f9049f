"""The machine of a report: the card, its driver and clock, versions, and the commit."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

from minitrain.backend.cuda.products.bindings import binding_report
from minitrain.backend.info import version
from minitrain.benchmark.turns import ROOT

from . import events
from .place import Place

PACKAGES = (
    "numpy", "cupy-cuda13x", "cupy-cuda12x", "ml-dtypes", "torch", "transformers", "nvmath-python",
    "nvidia-cudnn-frontend", "nvidia-nccl-cu13", "nvidia-cublas", "numba", "scipy", "hypothesis", "pytest",
)  # fmt: skip
QUERY = (
    "driver_version",
    "clocks.current.sm",
    "clocks.max.sm",
    "clocks.current.memory",
    "power.limit",
    "ecc.mode.current",
)


def collect(place: Place) -> dict[str, str]:
    """Each fact as one line of text. What cannot be read says so."""
    runtime = place.cupy.cuda.runtime
    found = runtime.getDeviceProperties(0)
    name = found["name"].decode()
    facts = {
        "card": name,
        "compute capability": f"{found['major']}.{found['minor']}",
        "memory": f"{found['totalGlobalMem'] / (1 << 30):.1f} GiB",
        "multiprocessors": str(found["multiProcessorCount"]),
        "CUDA": f"runtime {_dotted(runtime.runtimeGetVersion())}, driver's {_dotted(runtime.driverGetVersion())}",
    }
    facts |= asked_of_driver()
    facts["products"] = binding_report()
    facts["NVRTC"] = _nvrtc()
    facts["Python"] = f"{platform.python_version()}, {platform.machine()}"
    facts |= {package: found_version for package in PACKAGES if (found_version := version(package))}
    absent = [
        package
        for package in ("torch", "transformers", "hypothesis", "pytest", "nvmath-python")
        if not version(package)
    ]
    if absent:
        facts["not installed"] = ", ".join(absent)
    facts["commit"] = commit()
    return facts


def asked_of_driver(program: str = "nvidia-smi") -> dict[str, str]:
    """Driver version, clocks in MHz and limit of power, as ``nvidia-smi`` reads them; nothing is set."""
    try:
        command = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader", "--id=0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return {"clock": f"not readable ({type(error).__name__})"}
    names = ("driver", "clock of the multiprocessors", "its maximum", "clock of the memory", "limit of power", "ECC")
    return dict(zip(names, (part.strip() for part in done.stdout.splitlines()[0].split(",")), strict=False))


def commit() -> str:
    """The commit, and whether files differ from it."""
    try:
        run: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True, "check": True, "timeout": 20}
        number = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **run).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "not known: this is no checkout of git"
    return f"{number}, with changes" if changed else number


def _nvrtc() -> str:
    from minitrain.backend.cuda import nvrtc

    try:
        major, minor = nvrtc.version()
    except Exception as error:  # it is missing, or its parts do not fit
        return events.brief(error)
    return f"{major}.{minor}"


def _dotted(number: int) -> str:
    """13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"
