"""Facts about this machine, for ``minitrain info`` and for records of runs and benchmarks."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from .cache_dir import cache_dir
from .cores import usable_cores
from .cuda.device import describe_gpus
from .devices import gpu_status
from .kernels_mode import kernels_mode
from .product_choice import in_use
from .threads import thread_count, thread_reason

PACKAGES = ("numpy", "numba", "scipy", "safetensors", "tokenizers", "hydra-core", "cupy-cuda13x", "cupy-cuda12x")


def collect() -> dict[str, str]:
    """Versions, processor, cores, threads, BLAS, kernels and GPU, each as one line of text."""
    from .cpu.jit import describe_pool
    from .cpu.kernel_cache import kernel_cache_dir
    from .cpu.products.bf16_units import bf16_unit

    cupy, gpu = gpu_status()
    cores = usable_cores()
    kernels = {
        "auto": "numba twins where they fit, reference code elsewhere",
        "reference": "reference code only (MINITRAIN_KERNELS=reference)",
    }
    facts = {"minitrain": version("minitrain") or "not installed", "Python": sys.version.split()[0]}
    facts |= {package: found_version for package in PACKAGES if (found_version := version(package))}
    facts |= {
        "processor": processor_name(),
        "cores": f"{cores.number} of {os.cpu_count()} ({cores.reason})",
        "threads": f"{thread_count()} ({thread_reason()})",
        "thread pool": describe_pool(),
        "BLAS": _blas(),
        "bfloat16": bf16_unit().description,
        "kernels": kernels[kernels_mode()],
        "kernel cache": str(kernel_cache_dir()),
        "cache folder": str(cache_dir()),
        "GPU": describe_gpus(cupy) if cupy is not None else f"none: {gpu}",
        "GPU code": "has met no GPU so far, only an emulated one; if you have a card, run `make gpu-report` on it",
    }
    return facts


def _blas() -> str:
    product = in_use()["float32"]
    held = os.environ.get("OPENBLAS_CORETYPE") if product.name == "openblas" else None
    note = f", held to its {held} kernels by OPENBLAS_CORETYPE" if held else ""
    where = "with NumPy's threads" if product.name in ("numpy", "reference") else "1 thread inside kernels"
    return f"{product}, {where}{note}"


def version(package: str) -> str | None:
    """The installed version of ``package``, or ``None``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's model name; where the system has none, as on ARM, LLVM's name for its kind of core."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    import llvmlite.binding

    machine, core = platform.processor() or platform.machine(), llvmlite.binding.get_host_cpu_name()
    return machine if core in ("", "generic") else f"{machine}, {core}"
