"""Single-threaded matrix products for kernels: one BLAS, chosen here, private to minitrain.

NumPy's own BLAS has a thread pool that keeps spinning after each product and competes with numba's pool for the
cores. The kernels therefore call a *single-threaded* ``sgemm`` from inside numba's parallel loops. A bias or an
activation can then be applied while the result is in cache. The user's NumPy must keep its threads. OpenBLAS counts
threads per loaded library, so a copy of the library file is loaded, and only that copy is limited to one thread.

The address is registered with LLVM under a name and declared as an external function. A ctypes pointer would be a
constant that differs at every start, and numba could not cache the kernel.

The first candidate that loads is used: MKL on Intel's processors (``pip install 'minitrain[mkl]'``), the product of
``sgemm`` where there is AVX2, the OpenBLAS that came with NumPy or SciPy, Apple's Accelerate, any OpenBLAS
or CBLAS that the system's loader knows. A run that is continued prefers the one it began with.
``MINITRAIN_BLAS=mkl|openblas|own|accelerate|system|numpy`` picks one. With ``numpy``, or if there is none, products use
NumPy's ``matmul``.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding

from ....errors import ConfigError
from ...cache_dir import cache_dir
from ...product import Product
from ...threads import environment

SYMBOL = "minitrain_cblas_sgemm"


class Blas(NamedTuple):
    """A BLAS: what it is, its ``cblas_sgemm``, and the width of its integers."""

    product: Product
    sgemm_address: Callable[[], int]  # compiles our own product when called
    wide_integers: bool  # 64-bit dimensions (ILP64)
    library: ctypes.CDLL | None = None  # keeps it loaded


_preferred: Product | None = None


def prefer(product: Product) -> str:
    """Use ``product`` if it is here, also where another is faster.

    Returns:
        Why it cannot be chosen any more, for people; empty if it is tried.
    """
    global _preferred
    if wanted := os.environ.get("MINITRAIN_BLAS", ""):
        return f"MINITRAIN_BLAS={wanted} is set"
    if blas.cache_info().currsize:
        return "the kernels of this process were linked before"
    _preferred = product
    return ""


@functools.cache
def blas() -> Blas | None:
    """The BLAS the kernels use, or ``None`` if none was found. The first call decides it for good.

    Raises:
        ConfigError: if ``MINITRAIN_BLAS`` names a BLAS that is unknown or cannot be loaded.
    """
    wanted = os.environ.get("MINITRAIN_BLAS", "")
    if wanted and wanted not in CANDIDATES:
        raise ConfigError(f"MINITRAIN_BLAS={wanted!r}: choose one of {', '.join(CANDIDATES)}")
    if wanted:
        names = [wanted]
    elif _preferred is not None and _preferred.name in CANDIDATES:
        if (same := _exactly(_preferred)) is not None:
            return same
        names = [_preferred.name, *_by_speed()]  # the same library in another version is the closest to it
    else:
        names = _by_speed()
    for name in names:
        if name == "numpy":
            return None
        for found in CANDIDATES[name]():
            return found
    if wanted:
        raise ConfigError(f"MINITRAIN_BLAS={wanted!r}: no such BLAS could be loaded; unset it to let minitrain choose")
    return None


def _exactly(product: Product) -> Blas | None:
    """The BLAS of this name, version and instructions: packages may each bring an OpenBLAS of their own."""
    return next((found for found in CANDIDATES[product.name]() if found.product == product), None)


def _by_speed() -> list[str]:
    """The candidates' names, fastest first. On AMD's processors MKL leaves half of the registers unused."""
    names = ["mkl", "own", "openblas", "accelerate", "system"]
    return names[1:] + names[:1] if str(llvmlite.binding.get_host_cpu_name()).startswith("znver") else names


def _own() -> Iterator[Blas]:
    from . import sgemm  # loads numba's compiler, which other candidates should not pay for

    if (instructions := sgemm.instructions()) is not None:
        yield Blas(Product("own", instructions=instructions), sgemm.address, True)


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _mkl() -> Iterator[Blas]:
    prefix = Path(sys.prefix)
    for path in [*prefix.glob("lib/libmkl_rt.so*"), *prefix.glob("Library/bin/mkl_rt*.dll")]:
        try:
            library = ctypes.CDLL(str(path))
            library.MKL_Set_Threading_Layer(1)  # sequential; refused if MKL already runs threads for someone else
            if library.MKL_Get_Max_Threads() != 1:
                continue
            text = ctypes.create_string_buffer(200)
            library.MKL_Get_Version_String(text, 200)
            version = text.value.decode().replace("Intel(R) oneAPI Math Kernel Library Version ", "").split("-")[0]
            product = Product("mkl", version, _mkl_instructions(library))
            yield Blas(product, _address(library.cblas_sgemm), False, library)
        except (OSError, AttributeError):
            continue


def _mkl_instructions(library: ctypes.CDLL) -> str:
    """The instructions for which MKL chose its code; if it does not say, as on AMD's, the kind of processor."""
    names = {9: "AVX", 10: "AVX2", 12: "AVX-512", 14: "AVX-512 E1"}  # MKL_CBWR_AVX, ... of mkl_types.h
    return names.get(int(library.MKL_CBWR_Get_Auto_Branch()), str(llvmlite.binding.get_host_cpu_name()))


def _openblas() -> Iterator[Blas]:
    for package in ("numpy", "scipy"):
        folder = _package_folder(package)
        if folder is None:
            continue
        patterns = (f"../{package}.libs/*openblas*", ".dylibs/*openblas*")
        for source in sorted(path for pattern in patterns for path in folder.glob(pattern)):
            try:
                if (found := _load_openblas(_private_copy(source))) is not None:
                    yield found
            except OSError:
                continue


def _private_copy(source: Path) -> Path:
    """A copy of a library file: the loader takes it for another library, which has a thread count of its own."""
    stat = source.stat()
    copy = cache_dir() / f"{source.stem}-{stat.st_size:x}-{stat.st_mtime_ns:x}{source.suffix}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copyfile(source, partial)
        os.replace(partial, copy)  # atomic: another process may be doing the same
    return copy


def _load_openblas(path: Path) -> Blas | None:
    library = _load_with_one_thread(path)
    for suffix, wide in (("64_", True), ("", False)):
        for prefix in ("scipy_", ""):
            sgemm = getattr(library, f"{prefix}cblas_sgemm{suffix}", None)
            config = getattr(library, f"{prefix}openblas_get_config{suffix}", None)
            if sgemm is None or config is None:
                continue
            config.restype = ctypes.c_char_p
            words = config().decode().split()
            return Blas(Product("openblas", words[1], words[-2]), _address(sgemm), wide, library)
    return None


def _load_with_one_thread(path: Path) -> ctypes.CDLL:
    with environment("OPENBLAS_NUM_THREADS", "1"):  # OpenBLAS starts its threads while it is being loaded
        return ctypes.CDLL(str(path))


def _accelerate() -> Iterator[Blas]:
    if platform.system() == "Darwin":
        try:
            library = ctypes.CDLL("/System/Library/Frameworks/Accelerate.framework/Accelerate")
            yield Blas(Product("accelerate", platform.mac_ver()[0]), _address(library.cblas_sgemm), False, library)
        except (OSError, AttributeError):
            return


def _system() -> Iterator[Blas]:
    for name in ("openblas", "cblas", "blas"):
        path = ctypes.util.find_library(name)
        if path is None:
            continue
        try:
            library = _load_with_one_thread(Path(path))
            yield Blas(Product("system", name), _address(library.cblas_sgemm), False, library)
        except (OSError, AttributeError):
            continue


CANDIDATES: dict[str, Callable[[], Iterator[Blas]]] = {
    "mkl": _mkl,
    "openblas": _openblas,
    "own": _own,
    "accelerate": _accelerate,
    "system": _system,
    "numpy": lambda: iter(()),
}
"""The function that yields the BLAS libraries of a name that can be loaded here."""


def _address(function: object) -> Callable[[], int]:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert address is not None
    return lambda: address
