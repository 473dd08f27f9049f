"""Runs the CUDA tests on a real card: ``MINITRAIN_TEST_DEVICE=cuda pytest tests/kernels/cuda tests/backend/cuda``.

`use_card` puts CuPy and the real cuBLASLt where tests ask for their stand-ins. Tests of the stand-ins themselves are
skipped: those that count what happens, that expect a refusal of the emulated device, or that compare bits with a CPU.

``MINITRAIN_TEST_DEVICE=pretended`` does all this with the emulated device in the place of the card. That shows, without
a card, that the tests would run on one.
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_numpy
from minitrain.backend.arrays import is_cupy
from minitrain.backend.cuda.products.bindings import binding
from minitrain.backend.devices import gpu_status, require_gpu
from minitrain.backend.targets import Into

SETTING = os.environ.get("MINITRAIN_TEST_DEVICE", "")
if SETTING not in ("", "cuda", "pretended"):
    raise ValueError(f"MINITRAIN_TEST_DEVICE={SETTING!r}: use cuda, pretended or nothing")
ON_CARD = bool(SETTING)

OF_THE_STAND_INS = (
    "test_attention_instances", "test_attention_mutants", "test_checks", "test_cublaslt_rules", "test_devices",
    "test_emulated_array", "test_emulator", "test_launch", "test_models_on_device", "test_operations_on_device",
    "test_planted_mistakes", "test_ptx", "test_resources", "test_sanitizers", "test_training_on_device",
)  # fmt: skip
"""Files that test what stands in for a card, or compare bits with the CPU."""
WORDS_OF_THE_STAND_INS = (
    "CaptureError",
    "StreamOrderError",
    "counting(",
    "_emulated",
    "Emulator(",
    "library.",
    "FakeCublasLt(",
)


class Card:
    """What a test knows of the card; see ``EmulatedDevice``."""

    def __init__(self, cupy: ModuleType) -> None:
        self.cupy = cupy

    def counting(self) -> Any:
        """Nobody counts on a card."""
        pytest.skip("counts what happens on the emulated device")


@contextmanager
def the_card(devices: int = 1, **options: Any) -> Iterator[Card]:
    """In the place of ``emulated_device``."""
    cupy: Any = require_gpu()
    if devices > cupy.cuda.runtime.getDeviceCount():
        pytest.skip(f"needs {devices} GPUs")
    yield Card(cupy)


class RealCublasLt:
    """In the place of ``FakeCublasLt``: the library itself, through the binding that `minitrain` found."""

    def __init__(self) -> None:
        self._binding = binding()
        if self._binding is None:
            pytest.skip("cuBLASLt cannot be reached")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)

    def alive(self) -> list[Any]:
        """Nobody keeps a list."""
        return []


_pretended = ExitStack()
atexit.register(_pretended.close)


def use_card() -> None:
    """Put the card in the place of all that stands in for it, before test files import that."""
    from minitrain.testing.cuda import cublaslt, fake

    if SETTING == "pretended":
        _pretended.enter_context(fake.emulated_device())
    fake.emulated_device = the_card
    cublaslt.FakeCublasLt = RealCublasLt
    if gpu_status()[0] is None:
        sys.exit(f"MINITRAIN_TEST_DEVICE=cuda: no GPU can be used: {gpu_status()[1]}")


def skip_stand_ins(items: list[pytest.Item]) -> None:
    """Skip the tests of what stands in for a card."""
    for item in items:
        test = getattr(item, "function", None)
        inner = getattr(getattr(test, "hypothesis", None), "inner_test", test)
        try:
            text = inspect.getsource(inner)
        except (OSError, TypeError):
            text = ""
        file = item.path.stem
        if file in OF_THE_STAND_INS or any(word in text for word in WORDS_OF_THE_STAND_INS):
            item.add_marker(pytest.mark.skip(reason="tests what stands in for a card"))


def placed(x: np.ndarray | np.generic) -> Any:
    """A copy of an array on the card with the same strides, so that views stay views. A number becomes an array ()."""
    cupy: Any = require_gpu()
    x = np.asarray(x)
    if x.flags.c_contiguous or x.size == 0:
        return cupy.asarray(x)
    low = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s > 0) + x.itemsize
    memory = cupy.zeros(high - low, np.uint8)
    view = cupy.ndarray(x.shape, x.dtype, memory.data + -low, strides=x.strides)
    view[...] = cupy.asarray(np.ascontiguousarray(x))
    return view


def there(tree: Any) -> Any:
    """Nested tuples, lists and dictionaries with their arrays on the card."""
    return _mapped(tree, np.ndarray | np.generic, placed)


def here(tree: Any) -> Any:
    """The same with their arrays on the host."""
    return _mapped(tree, None, to_numpy)


def _mapped(tree: Any, kind: Any, change: Any) -> Any:
    if (kind is None and is_cupy(tree)) or (kind is not None and isinstance(tree, kind)):
        return change(tree)
    if isinstance(tree, Into):
        return Into(change(tree.buffer), tree.accumulate)
    if isinstance(tree, tuple):
        parts = [_mapped(part, kind, change) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [_mapped(part, kind, change) for part in tree]
    if isinstance(tree, dict):
        return {name: _mapped(part, kind, change) for name, part in tree.items()}
    return tree


def call_there(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a kernel's function with copies on the card. Results come back, and what it wrote to its arguments too."""
    copies = there(arguments)
    chosen = there(options)
    found = function(*copies, **chosen)
    if found is NotImplemented:
        return found
    for original, copy in zip(arguments, copies, strict=True):
        if isinstance(original, np.ndarray) and original.flags.writeable:
            original[...] = here(copy)
    if "into" not in options:
        return here(found)
    targets, results = options["into"], list(found) if isinstance(found, tuple | list) else [found]
    for i, (target, copy) in enumerate(zip(targets, chosen["into"], strict=True)):
        if isinstance(target, Into):
            assert results[i] is copy.buffer, "a gradient must be delivered in the buffer that was given"
            target.buffer[...] = here(copy.buffer)
            results[i] = target.buffer
    delivered = [x if isinstance(x, np.ndarray) else here(x) for x in results]
    return tuple(delivered) if isinstance(found, tuple) else delivered[0]
