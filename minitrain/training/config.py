"""The settings of a run: plain dataclasses that check themselves, to and from dictionaries and YAML.

These classes, with those of the ``…_config.py`` beside this file, are the one list of what can be set. The command line
composes its groups on top of them, a run folder keeps them as ``config.yaml``. What a config can name comes from a list
or a table: it cannot run code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..errors import ConfigError
from ..files import file_error, write_atomically
from ..optim.settings import describe
from . import section
from .callbacks.registry import create_callbacks
from .data_config import DataConfig, TokensConfig
from .generation_config import GenerationConfig
from .model_config import GPTModelConfig, ModelConfig
from .optimizer_config import AdamWConfig, OptimizerConfig, SchedulerConfig, WarmupCosineConfig
from .section import Section, build


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


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """Everything that determines a run, with the text itself.

    Example:
        >>> config = RunConfig(seed=1, trainer=TrainerConfig(max_steps=500))
        >>> RunConfig.from_dict(config.to_dict()) == config
        True
    """

    seed: int = 1337
    run_dir: str | None = None
    """folder of the run; null = a new one under ``runs/``"""
    device: str = "cpu"
    recipe: str | None = None
    """name of the preset these settings come from; only a note"""
    model: ModelConfig = field(default_factory=GPTModelConfig)
    data: TokensConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=AdamWConfig)
    scheduler: SchedulerConfig = field(default_factory=WarmupCosineConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    callbacks: tuple[dict[str, Any] | str, ...] = ()
    """what else happens while training: each the name of a callback, or a group of its ``name`` and settings"""

    def check(self) -> None:
        """Check the settings that have to fit each other."""
        self.require(0 <= self.seed < 2**64, "seed", "an integer from 0 to 2**64 - 1")
        kind, _, index = self.device.partition(":")
        known = self.device == "cpu" or (kind == "cuda" and (index.isdecimal() or self.device == "cuda"))
        self.require(known, "device", "'cpu', 'cuda' or 'cuda:N'")
        create_callbacks(self.callbacks)  # knows names and ranges
        warmup, steps = getattr(self.scheduler, "warmup_steps", 0), self.trainer.max_steps
        if steps is not None and warmup >= steps:
            raise ConfigError(
                f"scheduler.warmup_steps ({warmup}) must be below trainer.max_steps ({steps}); "
                f"for so short a run set scheduler.warmup_steps={steps // 10}"
            )
        low, high = getattr(self.scheduler, "min_lr", 0.0), self.optimizer.learning_rate
        if low > high:
            raise ConfigError(f"scheduler.min_lr ({low}) must be at most optimizer.learning_rate ({high})")
        if steps is not None:  # else the length of the text decides
            self.scheduler.check_run(self.optimizer, steps)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build a config from nested dictionaries; what is not given keeps its default.

        Raises:
            ConfigError: for an unknown key (names the nearest valid one), a wrong type, a value out of range,
                or values that do not fit each other.
        """
        return build(cls, values, root=cls)

    def to_dict(self) -> dict[str, Any]:
        """The config as nested dictionaries of plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a config from a YAML file.

        Raises:
            ConfigError: if the file is no YAML or no config.
            FileError: if it cannot be read.
        """
        import yaml  # type: ignore[import-untyped]

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise file_error("read", path, error) from error
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # no text, no date, too many digits, too deep
            raise ConfigError(f"{path} is not a YAML file: {' '.join(str(error).split()):.500}") from error
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path} must hold settings, one 'key: value' a line, not {describe(values)}")
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the config to a YAML file, atomically.

        Raises:
            FileError: if the file cannot be written.
        """
        import yaml

        write_atomically(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True).encode())


def known_keys() -> list[str]:
    """Every setting by its dotted name, e.g. ``"seed"``, ``"trainer.max_steps"``."""
    return section.known_keys(RunConfig)


def unknown_key_error(key: str) -> ConfigError:
    """The error for the dotted ``key`` that is no setting; names the nearest one that is."""
    return section.unknown_key_error(key, RunConfig)
