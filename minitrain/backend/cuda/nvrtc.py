"""NVRTC compiles CUDA C++ to a cubin, the machine code of one kind of GPU. It needs neither a driver nor a GPU.

The wheels ``nvidia-cuda-nvrtc`` (the compiler) and ``nvidia-cuda-runtime`` (its headers) are enough. They come with the
extra ``gpu``; an installed CUDA toolkit serves too.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DeviceError

OPTIONS = ("-std=c++17", "-default-device", "--ptxas-options=-v")


class Resources(NamedTuple):
    """The resources of a multiprocessor that a kernel takes, as the assembler reports them."""

    registers: int  # of a thread
    shared: int  # bytes of static shared memory
    stack: int  # bytes of a thread's local memory: arrays that are not in registers
    spill_stores: int  # bytes of registers that did not fit and are stored
    spill_loads: int

    @property
    def spills(self) -> int:
        """Bytes spilled, stores and loads together."""
        return self.spill_stores + self.spill_loads


class Compiled(NamedTuple):
    """A compiled file."""

    cubin: bytes
    lowered: dict[str, str]  # a kernel's name in C++ -> its symbol in the cubin
    resources: dict[str, Resources]  # by the name in C++


class Toolkit(NamedTuple):
    """Where the compiler is."""

    library: Path
    include: tuple[Path, ...]


def _folders() -> list[Path]:
    """Folders that may have ``lib/libnvrtc.so.*``: those of wheels first, then an installed toolkit."""
    spec = importlib.util.find_spec("nvidia")
    bases = [Path(base) for base in (spec.submodule_search_locations or [])] if spec else []
    wheels = [
        folder for base in bases for pattern in ("cu[0-9]*", "cuda_nvrtc") for folder in sorted(base.glob(pattern))
    ]
    named = [Path(os.environ[name]) for name in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(name)]
    return [*wheels, *named, Path("/usr/local/cuda")]


@functools.cache
def find_toolkit() -> Toolkit:
    """The compiler and its headers.

    Raises:
        DeviceError: if there is none; the message says what to install.
    """
    for folder in _folders():
        for sub in ("lib", "lib64"):
            for library in sorted((folder / sub).glob("libnvrtc.so.*")):
                headers = [folder / "include", folder.parent / "cuda_runtime" / "include"]
                found = [path for base in headers for path in (base, base / "cccl") if path.is_dir()]
                return Toolkit(library, tuple(found))
    raise DeviceError(
        "NVRTC, which compiles the CUDA kernels, was not found: pip install nvidia-cuda-nvrtc nvidia-cuda-runtime"
    )


@functools.cache
def _library() -> Any:
    library = ctypes.CDLL(str(find_toolkit().library))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_library(), name)(*arguments)
    if code:
        raise DeviceError(f"{name}: {_library().nvrtcGetErrorString(code).decode()}")


@functools.cache
def version() -> tuple[int, int]:
    """Major and minor version of NVRTC."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _result(program: Any, what: str) -> bytes:
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{what}", program, buffer)
    return buffer.raw[: size.value]


def compile_cubin(text: str, name: str, names: Sequence[str], arch: str, include: Sequence[Path]) -> Compiled:
    """Compile a file.

    Args:
        text: CUDA C++.
        name: of the file, for messages.
        names: the kernels in it, as C++ spells them; templates are instantiated.
        arch: the kind of GPU, such as ``"sm_90"``.
        include: folders of headers besides CUDA's own.

    Raises:
        DeviceError: with the compiler's messages, if the text has errors.
    """
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        for kernel in names:
            _call("nvrtcAddNameExpression", program, kernel.encode())
        options = [f"-arch={arch}", *OPTIONS, *(f"-I{path}" for path in (*include, *find_toolkit().include))]
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = _library().nvrtcCompileProgram(program, len(options), encoded)
        log = _result(program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise DeviceError(f"{name} does not compile for {arch}:\n{log}")
        lowered = {kernel: _lowered(program, kernel) for kernel in names}
        used = read_log(log)
        return Compiled(
            _result(program, "CUBIN"), lowered, {kernel: used[symbol] for kernel, symbol in lowered.items()}
        )
    finally:
        _library().nvrtcDestroyProgram(ctypes.byref(program))


def _lowered(program: Any, kernel: str) -> str:
    symbol = ctypes.c_char_p()
    _call("nvrtcGetLoweredName", program, kernel.encode(), ctypes.byref(symbol))
    return (symbol.value or b"").decode()


_FIELDS = (
    r"Used (\d+) registers",
    r"(\d+) bytes smem",
    r"(\d+) bytes stack frame",
    r"(\d+) bytes spill stores",
    r"(\d+) bytes spill loads",
)


def read_log(log: str) -> dict[str, Resources]:
    """The resources of each kernel, by symbol, from what ``--ptxas-options=-v`` adds to the log."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        numbers = (re.search(pattern, part) for pattern in _FIELDS)
        found[part.partition("'")[0]] = Resources(*(int(match[1]) if match else 0 for match in numbers))
    return found
