"""minitrain trains transformers on plain NumPy or CuPy arrays, every backward pass written out.

The names below are imported when first used, so that ``import minitrain`` stays quick and loads nothing
heavy: no compiler, no plotting, no CuPy. So are the parts of the package: after ``import minitrain as mt`` there is
``mt.nn.RMSNorm``, ``mt.losses.CrossEntropyLoss`` or ``mt.optim.Muon``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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
    from .data import ArrayDataset, Batch, Dataset, PairDataset, TokenLoader
    from .generation import generate
    from .models import (
        GPT,
        MLP,
        PRESETS,
        DualEncoder,
        Encoder,
        EncoderConfig,
        GPTConfig,
        ImageTextBatch,
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
    from .optim import SGD, Adam, AdamW, Constant, WarmupCosine, clip_by_global_norm
    from .random import Key
    from .testing import check_gradients
    from .trainers import LanguageModelTrainer, MultimodalTrainer, TransformerTrainer, train_model
    from .training import Trainer, TrainingConfig

from .versions import VERSION as __version__

__all__ = [
    "GPT",
    "MLP",
    "PRESETS",
    "SGD",
    "Adam",
    "AdamW",
    "ArrayDataset",
    "Batch",
    "Constant",
    "Dataset",
    "DualEncoder",
    "Encoder",
    "EncoderConfig",
    "GPTConfig",
    "ImageTextBatch",
    "Key",
    "LanguageModelTrainer",
    "Llama",
    "LlamaConfig",
    "MLPConfig",
    "Module",
    "MultimodalTrainer",
    "PairDataset",
    "Parameter",
    "Seq2Seq",
    "Seq2SeqConfig",
    "TokenLoader",
    "Trainer",
    "TrainingConfig",
    "TransformerTrainer",
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
    "train_model",
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
    "Adam": "optim",
    "AdamW": "optim",
    "ArrayDataset": "data",
    "Batch": "data",
    "Constant": "optim",
    "Dataset": "data",
    "DualEncoder": "models",
    "Encoder": "models",
    "EncoderConfig": "models",
    "GPT": "models",
    "GPTConfig": "models",
    "ImageTextBatch": "models",
    "Key": "random",
    "LanguageModelTrainer": "trainers",
    "Llama": "models",
    "LlamaConfig": "models",
    "MLP": "models",
    "MLPConfig": "models",
    "Module": "nn",
    "MultimodalTrainer": "trainers",
    "PRESETS": "models",
    "PairDataset": "data",
    "Parameter": "nn",
    "SGD": "optim",
    "Seq2Seq": "models",
    "Seq2SeqConfig": "models",
    "TokenLoader": "data",
    "Trainer": "training",
    "TrainingConfig": "training",
    "TransformerTrainer": "trainers",
    "ViT": "models",
    "ViTConfig": "models",
    "WarmupCosine": "optim",
    "build_model": "models",
    "check_gradients": "testing",
    "clip_by_global_norm": "optim",
    "generate": "generation",
    "pack": "nn.core.packing",
    "train_model": "trainers",
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
