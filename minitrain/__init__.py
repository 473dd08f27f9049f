"""minitrain trains transformers on plain NumPy or CuPy arrays, every backward pass written out.

The names below are imported when first used, so that ``import minitrain`` stays quick and loads nothing
heavy: no compiler, no plotting, no CuPy. So are the parts of the package: after ``import minitrain as mt`` there is
``mt.nn.RMSNorm``, ``mt.losses.CrossEntropyLoss`` or ``mt.optim.Muon``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .versions import VERSION as __version__

if TYPE_CHECKING:
    from . import (
        backend,
        data,
        errors,
        generation,
        losses,
        models,
        nn,
        ops,
        optim,
        profiling,
        random,
        testing,
        training,
    )
    from .backend import use_kernels
    from .data import Batch, TokenLoader
    from .generation import generate
    from .models import (
        GPT,
        MLP,
        Encoder,
        EncoderConfig,
        GPTConfig,
        Llama,
        LlamaConfig,
        MLPConfig,
        Seq2Seq,
        Seq2SeqConfig,
        ViT,
        ViTConfig,
        build_model,
    )
    from .nn import Module, Parameter
    from .nn.core.packing import pack
    from .optim import AdamW, Constant, WarmupCosine, clip_by_global_norm
    from .random import Key
    from .testing import check_gradients
    from .training import Trainer


__all__ = [
    "GPT",
    "MLP",
    "AdamW",
    "Batch",
    "Constant",
    "Encoder",
    "EncoderConfig",
    "GPTConfig",
    "Key",
    "Llama",
    "LlamaConfig",
    "MLPConfig",
    "Module",
    "Parameter",
    "Seq2Seq",
    "Seq2SeqConfig",
    "TokenLoader",
    "Trainer",
    "ViT",
    "ViTConfig",
    "WarmupCosine",
    "__version__",
    "backend",
    "build_model",
    "check_gradients",
    "clip_by_global_norm",
    "data",
    "errors",
    "generate",
    "generation",
    "losses",
    "models",
    "nn",
    "ops",
    "optim",
    "pack",
    "profiling",
    "random",
    "testing",
    "training",
    "use_kernels",
]

_PARTS = (
    "backend",
    "data",
    "errors",
    "generation",
    "losses",
    "models",
    "nn",
    "ops",
    "optim",
    "profiling",
    "random",
    "testing",
    "training",
)
_HOME = {
    "AdamW": "optim",
    "Batch": "data",
    "Constant": "optim",
    "Encoder": "models",
    "EncoderConfig": "models",
    "GPT": "models",
    "GPTConfig": "models",
    "Key": "random",
    "Llama": "models",
    "LlamaConfig": "models",
    "MLP": "models",
    "MLPConfig": "models",
    "Module": "nn",
    "Parameter": "nn",
    "Seq2Seq": "models",
    "Seq2SeqConfig": "models",
    "TokenLoader": "data",
    "Trainer": "training",
    "ViT": "models",
    "ViTConfig": "models",
    "WarmupCosine": "optim",
    "build_model": "models",
    "check_gradients": "testing",
    "clip_by_global_norm": "optim",
    "generate": "generation",
    "pack": "nn.packing",
    "use_kernels": "backend",
}


if not TYPE_CHECKING:  # a type checker sees the imports above, and so a misspelt name

    def __getattr__(name: str) -> object:
        if name in _PARTS:
            return importlib.import_module(f"{__name__}.{name}")  # which makes it an ordinary name
        if name not in _HOME:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}; layers are in minitrain.nn, losses in "
                "minitrain.losses, optimizers in minitrain.optim, and so on"
            )
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # found once, then an ordinary name
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
