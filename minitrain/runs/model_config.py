"""The settings of models in a run's configuration: one section for each language model, made from its signature.

Names, types, defaults and ranges are those of ``GPTConfig``, ``LlamaConfig`` and so on. What a run knows itself is left
out: the vocabulary comes from the tokenizer, the block size from ``data.block_size``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..errors import ConfigError
from ..models.decoder import Decoder
from ..models.gpt import GPT, GPTConfig
from ..models.llama import Llama, LlamaConfig
from ..settings.declared import settings_of
from ..settings.section import Section, make_section

# The models that can be trained on a text, by name: the class of their configuration, and their own.
MODELS: dict[str, tuple[Any, type[Decoder]]] = {"gpt": (GPTConfig, GPT), "llama": (LlamaConfig, Llama)}
FROM_THE_RUN = ("vocab_size", "block_size")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """What the sections of all models have: a name; each has its model's settings too."""

    prefix: ClassVar[str] = "model."
    usual: ClassVar[str] = "gpt"

    name: str

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the model."""
        return MODEL_CONFIGS

    def check(self) -> None:
        """Check that there can be such a model."""
        self.require_own_name()
        self.shape(vocab_size=1, block_size=1)

    def shape(self, *, vocab_size: int, block_size: int) -> Any:
        """The model's own configuration.

        Raises:
            ConfigError: naming the setting, its value and what to change.
        """
        settings = asdict(self)
        try:
            return MODELS[settings.pop("name")][0](vocab_size=vocab_size, block_size=block_size, **settings)
        except ConfigError as error:  # it begins with the name of a setting
            raise ConfigError(f"{self.prefix}{error}") from error


def create_model(config: ModelConfig, *, vocab_size: int, block_size: int, seed: int) -> Decoder:
    """The model that a configuration names, with fresh weights.

    Args:
        config: its settings.
        vocab_size: number V of token ids.
        block_size: longest sequence.
        seed: of the initial weights.
    """
    model: Any = MODELS[config.name][1]
    return model(config.shape(vocab_size=vocab_size, block_size=block_size), seed=seed)  # type: ignore[no-any-return]


MODEL_CONFIGS: dict[str, type[ModelConfig]] = {
    name: make_section(
        ModelConfig, f"{model.__name__}ModelConfig", name, settings_of(kind, without=FROM_THE_RUN), {}, __name__
    )
    for name, (kind, model) in MODELS.items()
}
GPTModelConfig = MODEL_CONFIGS["gpt"]
"""The section of a GPT: the settings of `GPTConfig` but for those that come from the run."""
LlamaModelConfig = MODEL_CONFIGS["llama"]
"""The section of a Llama: the settings of `LlamaConfig` but for those that come from the run."""
