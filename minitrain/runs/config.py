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
from typing import Any

from ..errors import ConfigError
from ..files import file_error, write_atomically
from ..settings import section
from ..settings.declared import describe
from ..settings.section import Section, build
from ..training.callbacks.registry import create_callbacks
from ..training.config import TrainerConfig
from .data_config import DataConfig, TokensConfig
from .generation_config import GenerationConfig
from .model_config import GPTModelConfig, ModelConfig
from .optimizer_config import AdamWConfig, OptimizerConfig, SchedulerConfig, WarmupCosineConfig


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
        self.require(0 <= self.seed < 2**64, "seed", "at least 0 and below 2**64")
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
