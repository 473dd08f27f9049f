"""Runs that take a second, for the tests of training: their settings, and what has to be equal between two of them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.data import TokenLoader
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW, Constant
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.runs import Run, RunConfig, TokenWindows, resume_run
from minitrain.training import Trainer

TEXT = "the quick brown fox jumps over the lazy dog\nand runs away from it, as fast as it can\n" * 20

SMALL = [
    "recipe=tiny",
    "data.path=text.txt",
    "data.block_size=8",
    "model.n_layer=1",
    "model.n_embd=8",
    "trainer.batch_size=4",
    "trainer.max_steps=6",
    "trainer.sample_tokens=0",
]
"""Arguments of a command that trains on ``text.txt`` in the present folder, for a moment."""
STEPS = 7

DOCUMENTED_DEFAULTS = {
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "max_grad_norm": 1.0,
    "save_every": 1000,
    "keep_checkpoints": 3,
    "resume_from": None,
    "use_mixed_precision": False,
    "gradient_accumulation_steps": 1,
    "log_gradients": False,
    "validation_frequency": 100,
}
"""What the reference document gives `TrainingConfig`, but for its folder of checkpoints."""


def small_config(folder: Path, **changes: Any) -> RunConfig:
    """Dropout, accumulation, and every interval different; ``changes`` as ``trainer_max_steps=3``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text(TEXT)
    values: dict[str, Any] = {
        "seed": 3,
        "run_dir": str(folder / "run"),
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.2},
        "data": {"path": str(text), "block_size": 8},
        "scheduler": {"warmup_steps": 2},
        "trainer": {
            "max_steps": STEPS,
            "batch_size": 5,
            "gradient_accumulation_steps": 2,
            "log_every": 2,
            "validation_frequency": 3,
            "eval_batches": 2,
            "save_every": 4,
            "sample_tokens": 8,
        },
    }
    for name, value in changes.items():
        group, _, key = name.partition("_")
        values.setdefault(group, {})[key] = value
    return RunConfig.from_dict(values)


def outcome(run_dir: Path, step: int = STEPS) -> dict[str, Any]:
    """All of a run that must not depend on interruptions: arrays as bytes, metrics but for timings, the sample."""
    folder = run_dir / "checkpoints" / f"step-{step:08d}"
    state = read_checkpoint(folder).state["trainer"]
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "moments": (folder / "optimizer.safetensors").read_bytes(),
        "state": {name: value for name, value in state.items() if "seconds" not in name},
        "metrics": [
            {name: value for name, value in record.items() if name not in TIMING}
            for record in read_metrics(run_dir / "metrics.jsonl")
        ],
        "sample": (run_dir / "sample.txt").read_bytes() if (run_dir / "sample.txt").exists() else b"",
    }


def killed_and_continued(run: Run, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until an error after ``steps`` updates, then go on from the run's folder to the end."""
    update, calls = run.trainer.loop.update, iter(range(99))

    def update_or_die(parts: Any, **options: Any) -> Any:
        if next(calls) == steps:
            raise RuntimeError("the end")
        return update(parts, **options)

    monkeypatch.setattr(run.trainer.loop, "update", update_or_die)
    with pytest.raises(RuntimeError, match="the end"):
        run.train()
    resume_run(run.run_dir).train()


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tiny_trainer(run_dir: Path | None, *, split: int = 200, model: Any = None, **parts: Any) -> Trainer:
    """A trainer put together by hand, without a tokenizer, that trains on the first ``split`` of 300 tokens."""
    tokens = np.random.default_rng(0).integers(0, 11, 300)
    model = model or GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        scheduler=Constant(0.01),
        train_data=TokenLoader(tokens[:split], 8, 4, seed=0),
        val_data=TokenWindows(tokens[split:], 8, 4),
        run_dir=run_dir,
        **parts,
    )


def newest(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((run / "checkpoints").glob("step-*"))


def half_done(run: Path, copy: Path) -> Path:
    """A copy of a finished run as if it had been stopped on the way: without its newest checkpoint."""
    shutil.copytree(run, copy)
    shutil.rmtree(newest(copy))
    return copy
