"""Which code computes attention on a GPU: our own kernels, or cuDNN's where it takes the call.

Ours are the default: they repeat their bytes, their gradients are not rounded to 16 bits, and they take every form.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....errors import ConfigError, DeviceError

ENGINES = ("own", "cudnn")
VARIABLE = "MINITRAIN_GPU_ATTENTION"
_forced: list[tuple[str, Any]] = []


def attention_library() -> Any:
    """The module ``cudnn`` if it is to compute attention, ``None`` for our own kernels.

    Raises:
        ConfigError: if ``MINITRAIN_GPU_ATTENTION`` is neither ``own`` nor ``cudnn``.
        DeviceError: if it is ``cudnn`` and the package cannot be imported.
    """
    name, module = _forced[-1] if _forced else (os.environ.get(VARIABLE, "own"), None)
    if name not in ENGINES:
        raise ConfigError(f"{VARIABLE}={name!r} is unknown: use own or cudnn")
    if name == "own" or module is not None:
        return module
    try:
        return importlib.import_module("cudnn")
    except Exception as error:  # it loads CUDA libraries, which fail in ways of their own
        raise DeviceError(
            f"{VARIABLE}=cudnn, but cuDNN cannot be used ({type(error).__name__}: {error}): "
            "pip install 'minitrain[cudnn]'"
        ) from error


@contextmanager
def use_attention_engine(name: str, module: Any = None) -> Iterator[None]:
    """Compute attention on a GPU by ``"own"`` kernels or by ``"cudnn"`` inside the ``with`` block.

    Args:
        name: of the engine.
        module: stands in for the package ``cudnn``, in tests.

    Raises:
        ConfigError: if there is no such engine.
    """
    if name not in ENGINES:
        raise ConfigError(f"attention engine {name!r} is unknown: use own or cudnn")
    _forced.append((name, module))
    try:
        yield
    finally:
        _forced.pop()
