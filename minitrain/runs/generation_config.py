"""How a language model writes the sample at the end of its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ConfigError
from ..generation.sampling import check_settings
from ..settings.section import Section


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(Section):
    """How tokens are chosen. How many are written is ``trainer.sample_tokens``."""

    prefix: ClassVar[str] = "generation."

    prompt: str | None = None
    """what the model goes on from; null = the beginning of a line"""
    temperature: float = 0.8
    """a little below 1: a small model's text reads better"""
    top_k: int | None = None
    """choose among so many of the likeliest tokens; null = all"""
    top_p: float | None = None
    """choose among the likeliest tokens that have this share of the probability; null = all"""

    def check(self) -> None:
        """Check the ranges."""
        self.require(self.prompt != "", "prompt", "null or a character at least")
        try:
            check_settings(self.temperature, self.top_k, self.top_p)
        except ConfigError as error:  # it begins with the name of a setting
            raise ConfigError(f"{self.prefix}{error}") from error
