"""Small trainings on several ranks, and what must be equal between them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.data import TokenLoader
from minitrain.distributed import Group, run_ranks
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, Constant
from minitrain.runs import TokenWindows
from minitrain.training import Callback, Trainer, TrainingConfig

BATCH, PARTS = 9, 4


def small_trainer(group: Group | None, run_dir: Path | None = None, *callbacks: Callback, **settings: Any) -> Trainer:
    """Dropout, four micro-batches of unequal size, clipping, and validation data of an uneven number of batches."""
    packed, model = settings.pop("packed", True), settings.pop("model", None)
    tokens = np.random.default_rng(0).integers(0, 11, 400)
    model = model or GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1)
    if packed:
        pack(model)
    values: dict[str, Any] = {
        "batch_size": BATCH,
        "gradient_accumulation_steps": PARTS,
        "max_steps": 6,
        "validation_frequency": 2,
        "save_every": 3,
        "log_every": 2,
        "max_grad_norm": 0.3,
    }
    return Trainer(
        model=model,
        optimizer=settings.pop("optimizer", AdamW)(model, lr=0.01),
        scheduler=Constant(0.01),
        train_data=settings.pop("train_data", None) or TokenLoader(tokens[:251], 8, BATCH, seed=0),
        val_data=TokenWindows(tokens[251:], 8, 4),
        callbacks=callbacks,
        run_dir=run_dir,
        progress=False,
        device=settings.pop("device", "cpu"),
        warn=lambda message: None,
        group=group,
        config=TrainingConfig(**(values | settings)),  # after all pops
    )


def digest(trainer: Trainer) -> str:
    """Of all weights and moments."""
    arrays = [*trainer.model.state_dict().values(), *trainer.optimizer.state_dict()["moments"].values()]
    return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def history(trainer: Trainer) -> dict[str, list[float]]:
    """All metrics that do not measure time."""
    names = [name for name in trainer.history.names() if name not in ("tokens_per_second", "seconds")]
    return {name: list(trainer.history.get_metric(name)) for name in names}


def on_ranks(size: int, work: Any) -> Any:
    """What ``work(group)`` returns, which must be the same on all ranks."""
    results = run_ranks(size, work, patience=20)
    assert all(repr(result) == repr(results[0]) for result in results), results
    return results[0]


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds the same packages as this one, one thread each."""
    paths = [str(Path(__file__).parents[2]), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MINITRAIN_NUM_THREADS": "1", **more}
