"""minitrain trains transformers on plain NumPy or CuPy arrays, every backward pass written out.

The names below are imported when first used, so that ``import minitrain`` stays quick and loads nothing
heavy: no compiler, no plotting, no CuPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import use_kernels
    from .data import Batch, TokenLoader
    from .generation import generate
    from .models.gpt import GPT, GPTConfig
    from .nn import Module, Parameter
    from .nn.packing import pack
    from .optim import AdamW, Constant, WarmupCosine, clip_by_global_norm
    from .random import Key
    from .testing import check_gradients
    from .training import Trainer

__version__ = "0.1.0"

__all__ = [
    "GPT",
    "AdamW",
    "Batch",
    "Constant",
    "GPTConfig",
    "Key",
    "Module",
    "Parameter",
    "TokenLoader",
    "Trainer",
    "WarmupCosine",
    "__version__",
    "check_gradients",
    "clip_by_global_norm",
    "generate",
    "pack",
    "use_kernels",
]

_HOME = {
    "AdamW": "optim",
    "Batch": "data",
    "Constant": "optim",
    "GPT": "models.gpt",
    "GPTConfig": "models.gpt",
    "Key": "random",
    "Module": "nn",
    "Parameter": "nn",
    "TokenLoader": "data",
    "Trainer": "training",
    "WarmupCosine": "optim",
    "check_gradients": "testing",
    "clip_by_global_norm": "optim",
    "generate": "generation",
    "pack": "nn.packing",
    "use_kernels": "backend",
}


if not TYPE_CHECKING:  # a type checker sees the imports above, and so a misspelt name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # found once, then an ordinary name
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
