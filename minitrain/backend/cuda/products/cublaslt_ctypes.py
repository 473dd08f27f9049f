"""A binding of cuBLASLt by ctypes: the functions of ``nvmath.bindings.cublasLt`` that minitrain calls, and no others.

It needs the library alone. Names, arguments and results are those of nvmath, so either module serves ``gemm``.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cublaslt import STATUS

NAMES = ("libcublasLt.so.13", "libcublasLt.so.12")
POINTER, SIZE, INT, INT64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64
SIGNATURES: dict[str, list[Any]] = {
    "cublasLtCreate": [POINTER],
    "cublasLtDestroy": [POINTER],
    "cublasLtMatmulDescCreate": [POINTER, INT, INT],
    "cublasLtMatmulDescDestroy": [POINTER],
    "cublasLtMatmulDescSetAttribute": [POINTER, INT, POINTER, SIZE],
    "cublasLtMatrixLayoutCreate": [POINTER, INT, ctypes.c_uint64, ctypes.c_uint64, INT64],
    "cublasLtMatrixLayoutDestroy": [POINTER],
    "cublasLtMatrixLayoutSetAttribute": [POINTER, INT, POINTER, SIZE],
    "cublasLtMatmulPreferenceCreate": [POINTER],
    "cublasLtMatmulPreferenceDestroy": [POINTER],
    "cublasLtMatmulPreferenceSetAttribute": [POINTER, INT, POINTER, SIZE],
    "cublasLtMatmulAlgoGetHeuristic": [POINTER] * 7 + [INT, POINTER, POINTER],
    "cublasLtMatmul": [POINTER] * 14 + [SIZE, POINTER],
}
"""Arguments of each function; all return a status."""


class CublasLtError(RuntimeError):
    """cuBLASLt refused a call.

    Attributes:
        status: its ``cublasStatus_t``.
    """

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function}: {STATUS.get(status, 'unknown status')} (status {status})")
        self.status = status


@functools.cache
def load() -> ctypes.CDLL:
    """The library, with its functions' signatures.

    Raises:
        OSError: if it is nowhere to be found; the message says where it was sought.
    """
    tried = []
    for place in _places():
        try:
            library = ctypes.CDLL(place)
        except OSError as error:
            tried.append(str(error))
            continue
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, INT
        return library
    raise OSError(f"libcublasLt was not found ({'; '.join(tried)}); install it with: pip install nvidia-cublas")


def _places() -> Iterator[str]:
    """Where the library may be: loaded already or known to the linker, or in the wheels of NVIDIA."""
    yield from NAMES
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for folder in ("cu13/lib", "cublas/lib"):
            yield from (str(path) for name in NAMES if (path := Path(root, folder, name)).exists())


def _call(name: str, *arguments: Any) -> None:
    status = getattr(load(), name)(*arguments)
    if status:
        raise CublasLtError(name, status)


def _created(name: str, *arguments: Any) -> int:
    made = POINTER()
    _call(name, ctypes.byref(made), *arguments)
    return made.value or 0


def create() -> int:
    """A handle of the library, on the current device."""
    return _created("cublasLtCreate")


def destroy(handle: int) -> None:
    """Release a handle."""
    _call("cublasLtDestroy", handle)


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    """A description of a product."""
    return _created("cublasLtMatmulDescCreate", compute_type, scale_type)


def matmul_desc_destroy(desc: int) -> None:
    """Release a description of a product."""
    _call("cublasLtMatmulDescDestroy", desc)


def matmul_desc_set_attribute(desc: int, attribute: int, buffer: int, nbytes: int) -> None:
    """Set an attribute of a product to the ``nbytes`` at ``buffer``."""
    _call("cublasLtMatmulDescSetAttribute", desc, attribute, buffer, nbytes)


def matrix_layout_create(data_type: int, rows: int, columns: int, leading: int) -> int:
    """A description of a matrix in memory, by columns."""
    return _created("cublasLtMatrixLayoutCreate", data_type, rows, columns, leading)


def matrix_layout_destroy(layout: int) -> None:
    """Release a description of a matrix."""
    _call("cublasLtMatrixLayoutDestroy", layout)


def matrix_layout_set_attribute(layout: int, attribute: int, buffer: int, nbytes: int) -> None:
    """Set an attribute of a matrix to the ``nbytes`` at ``buffer``."""
    _call("cublasLtMatrixLayoutSetAttribute", layout, attribute, buffer, nbytes)


def matmul_preference_create() -> int:
    """Preferences for the choice of an algorithm."""
    return _created("cublasLtMatmulPreferenceCreate")


def matmul_preference_destroy(preference: int) -> None:
    """Release preferences."""
    _call("cublasLtMatmulPreferenceDestroy", preference)


def matmul_preference_set_attribute(preference: int, attribute: int, buffer: int, nbytes: int) -> None:
    """Set a preference to the ``nbytes`` at ``buffer``."""
    _call("cublasLtMatmulPreferenceSetAttribute", preference, attribute, buffer, nbytes)


def matmul_algo_get_heuristic(
    handle: int, desc: int, a: int, b: int, c: int, d: int, preference: int, count: int, results: int, returned: int
) -> None:
    """Write up to ``count`` algorithms to ``results``, best first, and their number to ``returned``."""
    _call("cublasLtMatmulAlgoGetHeuristic", handle, desc, a, b, c, d, preference, count, results, returned)


def matmul(
    handle: int, desc: int, alpha: int, a: int, a_layout: int, b: int, b_layout: int, beta: int, c: int, c_layout: int,
    d: int, d_layout: int, algo: int, workspace: int, workspace_bytes: int, stream: int,
) -> None:  # fmt: skip
    """``d = alpha a b + beta c`` on ``stream``; all arguments are addresses, handles and sizes."""
    _call("cublasLtMatmul", handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
          algo, workspace, workspace_bytes, stream)  # fmt: skip
