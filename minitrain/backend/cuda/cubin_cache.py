"""Compiled kernels on disk: a file is compiled once for each kind of GPU, and later processes load it.

The key is a hash of everything the result depends on: the text, all shared headers, the kernels' names and declared
parameters, the options, the kind of GPU and the version of the compiler.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..cache_dir import cache_dir
from . import nvrtc
from .source import INCLUDE, Declaration, SourceFile

# Appended to each file: a kernel whose parameters are not those that Python declares does not compile.
_CHECK = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
namespace declared {
template <class... T> struct Signature {};
template <class T> struct Plain { using type = T; };
template <class T> struct Plain<const T> { using type = T; };
template <class T> struct Plain<const T*> { using type = T*; };
template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };
template <class... R, class... D> constexpr bool fits(void (*)(R...), Signature<D...>) {
    return Same<Signature<typename Plain<R>::type...>, Signature<D...>>::value;
}
}
"""


class CachedCubin(NamedTuple):
    """A compiled file on disk."""

    path: Path
    lowered: dict[str, str]  # a kernel's name in C++ -> its symbol
    resources: dict[str, nvrtc.Resources]  # by the name in C++


def full_text(source: SourceFile) -> str:
    """The text of a source with checks of its kernels' parameters at the end."""
    return source.text + _CHECK + "".join(map(_check, source.kernels))


def _check(kernel: Declaration) -> str:
    types = ", ".join(parameter.cpp for parameter in kernel.parameters)
    message = f"the parameters of {kernel.name} are not those that Python declares"
    return f'static_assert(declared::fits(&{kernel.name}, declared::Signature<{types}>()), "{message}");\n'


def _headers(folders: Sequence[Path]) -> str:
    return "".join(path.name + path.read_text() for folder in folders for path in sorted(folder.glob("*.cuh")))


def load_or_compile(source: SourceFile, arch: str) -> CachedCubin:
    """The cubin of ``source`` for ``arch`` (such as ``"sm_90"``) and what is known of it.

    Raises:
        DeviceError: if there is no compiler, or the text does not compile.
    """
    text, names = full_text(source), [kernel.name for kernel in source.kernels]
    folders = (INCLUDE, source.file.parent)
    parts = (text, _headers(folders), repr(names), repr(nvrtc.OPTIONS), arch, repr(nvrtc.version()))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = cache_dir() / "cubins"
    folder.mkdir(mode=0o700, exist_ok=True)
    cubin, facts = folder / f"{key}.cubin", folder / f"{key}.json"
    if not facts.exists():
        compiled = nvrtc.compile_cubin(text, source.path, names, arch, folders)
        _write(cubin, compiled.cubin)
        known = {"lowered": compiled.lowered, "resources": compiled.resources}
        _write(facts, json.dumps(known).encode())  # last: who finds it finds the cubin too
    known = json.loads(facts.read_text())
    resources = {name: nvrtc.Resources(*numbers) for name, numbers in known["resources"].items()}
    return CachedCubin(cubin, known["lowered"], resources)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: another process may write the same file."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
