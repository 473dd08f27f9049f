"""Compiles the text of kernels with g++ to a library that runs on the CPU; kept in the cache folder by its hash."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from ...backend.cache_dir import cache_dir
from ...backend.cuda.source import INCLUDE, Declaration, SourceFile
from ...errors import DeviceError

HEADERS = Path(__file__).parent / "include"
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g1",  # lines, for reports
    "-fPIC",
    "-pthread",
    "-ffp-contract=off",
    "-fno-strict-aliasing",  # kernels read their memory as other types
    "-fvisibility=hidden",
    "-fno-gnu-unique",  # or two loaded libraries share the statics of inline functions
    "-fno-extern-tls-init",  # or `extern thread_local` in a template calls an initialiser that is null
    "-ftrivial-auto-var-init=pattern",  # locals that nobody set are seen
    "-U_FORTIFY_SOURCE",  # its longjmp refuses to leave a fibre's stack
    "-Wno-unknown-pragmas",
    "-fno-math-errno",
)
CHECKS = "-fsanitize=alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero"  # end in checks.h
SANITIZERS = ("thread", "address")


def compiler() -> str:
    """The path of g++.

    Raises:
        DeviceError: if it is missing.
    """
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise DeviceError(
            "the emulator of CUDA kernels compiles with g++, which was not found: install the package g++"
        )
    return found


def full_text(source: SourceFile) -> str:
    """The compiled text: the headers, the kernels' own text and the functions that Python calls."""
    exports = (
        f"\nEMU_EXPORT({i}, {_quoted(kernel)}, ({_types(kernel)}), {kernel.name})"
        for i, kernel in enumerate(source.kernels)
    )
    return f'#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n#line 1 "{source.path}"\n{source.text}{"".join(exports)}\n'


def _quoted(kernel: Declaration) -> str:
    return f'"{kernel.name}"'


def _types(kernel: Declaration) -> str:
    return ", ".join(parameter.cpp for parameter in kernel.parameters)


@functools.cache
def _headers(*folders: Path) -> str:
    files = [path for folder in folders for path in sorted(folder.rglob("*.*")) if path.suffix in (".h", ".cuh")]
    return "".join(path.name + path.read_text() for path in files)


def build(source: SourceFile, sanitizer: str | None = None, extra: tuple[str, ...] = ()) -> Path:
    """The library of a source's kernels; compiled only if it is not in the cache folder.

    Args:
        source: with all its kernels declared.
        sanitizer: ``"thread"`` or ``"address"``; its runtime must be loaded before Python.
        extra: further flags.

    Raises:
        DeviceError: if there is no g++, or with its messages.
    """
    folders = (HEADERS, INCLUDE, source.file.parent)
    text = full_text(source)
    flags = [*FLAGS, *([f"-fsanitize={sanitizer}"] if sanitizer else [CHECKS]), *extra]
    parts = (text, _headers(HEADERS, INCLUDE), _headers(folders[2]), repr(flags), compiler())
    library = cache_dir() / "cuda-emulator" / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}.so"
    if not library.exists():
        library.parent.mkdir(mode=0o700, exist_ok=True)
        made, linked = (library.with_suffix(f".{os.getpid()}.{end}") for end in ("o", "tmp"))
        paths = [part for folder in folders for part in ("-I", str(folder))]
        _run([compiler(), *flags, *paths, "-x", "c++", "-c", "-", "-o", str(made)], text, source.path)
        link = [f"-fsanitize={sanitizer}"] if sanitizer else []  # without CHECKS: their ends are in the library
        _run([compiler(), "-shared", "-pthread", *link, str(made), "-o", str(linked)], "", source.path)
        made.unlink()
        linked.replace(library)
    return library


def _run(command: list[str], text: str, name: str) -> None:
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    if done.returncode:
        raise DeviceError(f"{name} does not compile for the emulator:\n{done.stderr}")


def line_of(library: Path, offset: int) -> str:
    """File and line of an instruction, or nothing if that is not known."""
    tool = shutil.which("addr2line")
    if tool is None:
        return ""
    done = subprocess.run([tool, "-e", str(library), hex(offset)], capture_output=True, text=True)
    place = done.stdout.strip().rpartition("/")[2].partition(" ")[0]
    return "" if place.startswith("?") else place
