"""How a run writes texts: the sample of a language model, and translations and captions."""

from __future__ import annotations

from typing import ClassVar

from ...errors import ConfigError
from ...generation.params import check_settings
from ...settings.section import Section, setting


class GenerationConfig(Section):
    """How tokens are chosen. ``trainer.sample_tokens`` says how many are written."""

    prefix: ClassVar[str] = "generation."

    prompt: str | None = setting(None, "The text to continue; null starts at the beginning of a line.")
    temperature: float = setting(
        0.8, "Below 1, text is more predictable; above 1, more varied. 0 always takes the most likely token."
    )
    top_k: int | None = setting(None, "Choose among this many of the most likely tokens; null chooses among all.")
    top_p: float | None = setting(
        None, "Choose among the most likely tokens that have this share of the probability; null chooses among all."
    )

    num_beams: int = setting(
        1,
        "Texts that a beam search keeps, for translations and captions; 1 always takes the most likely token.",
        at_least=1,
        at_most=64,
    )
    length_penalty: float = setting(
        1.0,
        "With beams: above 0, longer texts are better than with 0; below 0, shorter ones.",
        at_least=-50,
        at_most=50,
    )

    def check(self) -> None:
        """Check the settings as `minitrain.generation` does."""
        self.require(self.prompt != "", "prompt", "null or a character at least")
        try:
            check_settings(self.temperature, self.top_k, self.top_p)
        except ConfigError as error:  # its message begins with the name of a setting
            raise ConfigError(f"{self.prefix}{error}") from error
