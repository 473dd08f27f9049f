"""Running CUDA kernels in tests: the emulator, and the twins of operations by their cases."""

from __future__ import annotations

import shutil
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minitrain.backend.cuda import nvrtc
from minitrain.backend.cuda.launch import Source
from minitrain.errors import DeviceError
from minitrain.testing.cases import CASES, Call, Case
from minitrain.testing.cuda import Emulator, emulate
from tests.helpers.cuda.card import ON_CARD, call_there
from tests.helpers.op_runs import Result, as_list, cotangents

needs_compiler = [
    pytest.mark.cuda,
    pytest.mark.skipif(not ON_CARD and shutil.which("g++") is None, reason="no g++, which the emulator compiles with"),
]


def has_nvrtc() -> bool:
    try:
        return bool(nvrtc.find_toolkit())
    except DeviceError:
        return False


needs_nvrtc = [
    pytest.mark.cuda,
    pytest.mark.skipif(not has_nvrtc(), reason="no NVRTC: pip install 'minitrain[cuda-test]'"),
]


def cuda_twins(case: Case) -> tuple[Any, Any]:
    """The CUDA kernels of an operation, forward and backward."""
    return case.pair.forward.twin("cuda"), case.pair.backward.twin("cuda")  # type: ignore[attr-defined]


WITH_CUDA = [case for case in CASES.values() if all(cuda_twins(case))]
every_cuda_op = pytest.mark.parametrize("case", WITH_CUDA, ids=lambda case: case.name)

_emulator: list[Emulator] = []


def shared_emulator() -> Emulator:
    """One emulator for all tests: it keeps the libraries it has loaded."""
    if not _emulator:
        _emulator.append(Emulator())
    return _emulator[0]


@contextmanager
def emulated() -> Iterator[Emulator | None]:
    """Kernels run in the emulator inside the ``with`` block; on a card if the tests run on one, see ``card.py``."""
    if ON_CARD:
        yield None
        return
    with emulate(shared_emulator()) as emulator:
        yield emulator


def launch(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a twin with arrays of the host: in the emulator as it is, on a card with copies there."""
    return call_there(function, *arguments, **options) if ON_CARD else function(*arguments, **options)


def forward(case: Case, call: Call) -> Any:
    """What the forward twin returns, with the cache as a named tuple; ``NotImplemented`` if it declines."""
    twin, reference = cuda_twins(case)[0], case.pair.forward.reference  # type: ignore[attr-defined]
    absent = len(case.gradients()) - len(call.inputs)
    result = launch(twin, *call.inputs, *(None,) * absent, **call.options)
    if result is NotImplemented:
        return result
    kinds = typing.get_type_hints(reference)["return"].__args__
    return tuple(kind(*x) if hasattr(kind, "_fields") else x for kind, x in zip(kinds, result, strict=True))


def backward(case: Case, given: list[Any], cache: Any, into: Any = None) -> Any:
    """The gradients of the backward twin; ``NotImplemented`` if it declines."""
    gradients = launch(cuda_twins(case)[1], *given, cache, into=into or (None,) * len(case.gradients()))
    return gradients if gradients is NotImplemented else as_list(gradients)


def run_cuda(case: Case, call: Call) -> Result | None:
    """Outputs and gradients by the twins, as ``op_runs.run`` gives those of the reference; ``None`` if one declines."""
    result = forward(case, call)
    if result is NotImplemented:
        return None
    outputs = case.outputs(result)
    gradients = backward(case, cotangents(case, outputs), result[-1])
    return None if gradients is NotImplemented else Result(outputs, gradients)


def source_of(text: str, **kernels: str) -> tuple[Source, dict[str, Any]]:
    """A source with a text of its own, and its kernels by name; keywords are names and signatures."""
    source = Source("test.cu", text)
    return source, {name: source.kernel(name, signature) for name, signature in kernels.items()}


def bfloat16_bits(x: np.ndarray) -> np.ndarray:
    """bfloat16, to the nearest with ties to even, as uint16."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)
