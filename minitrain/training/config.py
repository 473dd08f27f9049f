"""The settings of a training: how long, in which batches, and what happens how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ConfigError
from ..settings.section import Section


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Section):
    """How long to train, in which batches, and what to do how often (always counted in steps = updates)."""

    prefix: ClassVar[str] = "trainer."
    former: ClassVar[Mapping[str, str]] = {
        "accumulation_steps": "gradient_accumulation_steps",
        "eval_every": "validation_frequency",
    }

    epochs: int = 10
    """passes over the training data, if ``max_steps`` does not say how long"""
    max_steps: int | None = None
    """updates in all; null = as many as ``epochs`` have"""
    batch_size: int = 32
    """samples (blocks of text) in one update"""
    gradient_accumulation_steps: int = 1
    """micro-batches that the batch is split into, to save memory; the gradient is that of the whole batch"""
    max_grad_norm: float | None = 1.0
    """longer gradients are scaled down to this length; null = never"""
    validation_frequency: int = 100
    """0 = only at the end"""
    eval_batches: int | None = None
    """how many, spread over the validation split, an evaluation during the run takes; null = all"""
    save_every: int = 1000
    """0 = only at the end"""
    keep_checkpoints: int = 3
    """how many of the newest"""
    keep_best_checkpoints: int = 0
    """how many of the best beside those; an evaluation among the best is followed by a checkpoint"""
    best_metric: str = "val_loss"
    """what the best are chosen by, a figure of the evaluations"""
    best_mode: str = "min"
    """min if less of it is better, max if more is"""
    async_checkpoints: bool = False
    """write checkpoints while training goes on; takes memory for a copy of the state"""
    checkpoint_url: str | None = None
    """where the checkpoints go instead of the run folder, such as s3://bucket/run"""
    log_every: int = 10
    log_gradients: bool = False
    """log the norm of each parameter's gradient too"""
    activation_checkpointing: bool = False
    """keep one array a block instead of all activations, and compute the rest again in the backward"""
    use_mixed_precision: bool = False
    """16-bit computing, which is not there yet: a CPU computes in 32 bits all the same, a GPU run is refused"""
    sample_tokens: int = 500
    """length of the text that a language model writes at the end; 0 = none"""

    def check(self) -> None:
        """Check the ranges."""
        counts = ("epochs", "batch_size", "gradient_accumulation_steps", "keep_checkpoints", "log_every")
        self.require_at_least(1, *counts, *(["max_steps"] if self.max_steps is not None else []))
        self.require_at_least(0, "validation_frequency", "save_every", "keep_best_checkpoints", "sample_tokens")
        self.require_known("best_mode", ("min", "max"))
        url = self.checkpoint_url
        self.require(url is None or "://" in url, "checkpoint_url", "null or a URL such as s3://bucket/run")
        batches, norm = self.eval_batches, self.max_grad_norm
        self.require(batches is None or batches >= 1, "eval_batches", "null or at least 1")
        self.require(norm is None or norm > 0, "max_grad_norm", "null or above 0")
        rule = f"at most trainer.batch_size ({self.batch_size}), which it splits"
        self.require(self.gradient_accumulation_steps <= self.batch_size, "gradient_accumulation_steps", rule)

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Number of updates in all.

        Args:
            steps_per_epoch: batches in an epoch; ``None`` if nobody knows.

        Raises:
            ConfigError: if neither this nor ``max_steps`` is known.
        """
        if self.max_steps is not None:
            return self.max_steps
        if steps_per_epoch is None:
            raise ConfigError("the length of an epoch is not known: set max_steps, or give the training data a len()")
        return self.epochs * steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(TrainerConfig):
    """The settings of a `Trainer` that is put together in Python.

    Example:
        >>> TrainingConfig(epochs=3, gradient_accumulation_steps=4).total_steps(steps_per_epoch=100)
        300
    """

    prefix: ClassVar[str] = ""

    learning_rate: float = 1e-4
    """of the optimizer that the trainer makes if it is given none"""
    checkpoint_dir: str | None = None
    """the run folder, if the trainer is not told one by argument"""
    resume_from: str | None = None
    """a checkpoint to begin with"""

    def check(self) -> None:
        """Check the ranges."""
        super().check()
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
