"""The registers and the shared memory of every CUDA kernel, for each kind of GPU: compared with a table, or written.

    python -m tools.cuda_resources           # compares with tests/kernels/cuda/resources.txt
    python -m tools.cuda_resources --write   # writes it

Fewer registers let more threads run at a time. A kernel with too few *spills*: it keeps numbers in memory, and is slow.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import minitrain.kernels.cuda
from minitrain.backend.cuda import nvrtc
from minitrain.backend.cuda.cubin_cache import load_or_compile
from minitrain.backend.cuda.launch import Source

ARCHS = ("sm_80", "sm_90", "sm_100", "sm_120")
TABLE = Path(__file__).parents[1] / "tests" / "kernels" / "cuda" / "resources.txt"


def sources() -> list[Source]:
    """Every source that a twin declares, in order of its path."""
    package = minitrain.kernels.cuda
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return [Source.all[path] for path in sorted(Source.all)]


def measure(source: Source) -> dict[str, dict[str, nvrtc.Resources]]:
    """The resources of each kernel of a source, by its name and the kind of GPU."""
    by_arch = {arch: load_or_compile(source, arch).resources for arch in ARCHS}
    return {kernel.name: {arch: by_arch[arch][kernel.name] for arch in ARCHS} for kernel in source.kernels}


def lines(source: Source) -> Iterable[str]:
    """The table's lines about one source."""
    yield source.path
    for name, by_arch in measure(source).items():
        registers, shared = ([getattr(r, field) for r in by_arch.values()] for field in ("registers", "shared"))
        yield f"    {name:<44}{_four(registers)}  {_four(shared)}"


def _four(numbers: Iterable[int]) -> str:
    return "".join(f"{number:>7}" for number in numbers)


def header() -> str:
    """The table's first lines."""
    names = "".join(f"{arch:>7}" for arch in ARCHS)
    major, minor = nvrtc.version()
    return (
        f"# Written by `python -m tools.cuda_resources --write` with NVRTC {major}.{minor}. No kernel spills.\n"
        f"#   {'kernel':<44}{'registers of a thread':>28}  {'bytes of static shared memory':>28}\n"
        f"    {'':<44}{names}  {names}"
    )


def table() -> str:
    """The whole table."""
    with ThreadPoolExecutor(2) as pool:  # NVRTC lets other threads run
        parts = list(pool.map(lambda source: "\n".join(lines(source)), sources()))
    return "\n".join([header(), *parts]) + "\n"


def spills() -> list[str]:
    """The kernels that spill, one sentence each."""
    return [
        f"{source.path}: {name} spills {resources.spills} bytes on {arch}"
        for source in sources()
        for name, by_arch in measure(source).items()
        for arch, resources in by_arch.items()
        if resources.spills
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.cuda_resources", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the table")
    write = parser.parse_args().write
    found, known = table(), TABLE.read_text() if TABLE.exists() else ""
    if write:
        TABLE.write_text(found)
    elif found != known:
        print("".join(f"{line}\n" for line in found.splitlines() if line not in known.splitlines()), end="")
    sys.exit("\n".join(spills()) or (None if write or found == known else "These lines are not in the table."))


if __name__ == "__main__":
    main()
