"""The settings of models in a run's configuration: one section for each language model.

Names, types, defaults, descriptions and ranges are those of ``GPTConfig``, ``LlamaConfig`` and so on. Two of them come
from the run: the vocabulary size from the tokenizer, the block size from ``data.block_size``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from ..errors import ConfigError
from ..models import presets
from ..models.common.decoder import Decoder
from ..models.gpt import GPT, GPTConfig
from ..models.llama import Llama, LlamaConfig
from ..settings.declared import settings_of
from ..settings.registry import Registry, Sections
from ..settings.section import Section, make_section, setting


class ModelKind(NamedTuple):
    """A language model that can be trained on a text.

    Attributes:
        config: the dataclass of its configuration; has ``vocab_size`` and ``block_size``.
        model: its class, called with a configuration and ``seed=``.
    """

    config: type[Any]
    model: type[Any]


MODELS: Registry[ModelKind] = Registry("model", "minitrain.models")


def register_model(name: str, config: type[Any]) -> Callable[[type[Any]], type[Any]]:
    """``@register_model("name", MineConfig)`` before the class of a language model of your own.

    Configurations can then name it, and `build_model` builds it from a ``MineConfig``.
    """

    def add(model: type[Any]) -> type[Any]:
        MODELS.register(name)(ModelKind(config, model))
        if model not in presets.MODELS:
            presets.MODELS.append(model)
        return model

    return add


register_model("gpt", GPTConfig)(GPT)
register_model("llama", LlamaConfig)(Llama)
FROM_THE_RUN = ("vocab_size", "block_size")


class ModelConfig(Section):
    """What the sections of all models share; each has the settings of its model too."""

    prefix: ClassVar[str] = "model."
    usual: ClassVar[str] = "gpt"

    name: str = setting(description="Which model it is.")

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the model."""
        return MODEL_CONFIGS

    def check(self) -> None:
        """Check that there is such a model."""
        self.require_own_name()
        self.shape(vocab_size=1, block_size=1)

    def shape(self, *, vocab_size: int, block_size: int) -> Any:
        """The model's own configuration.

        Raises:
            ConfigError: naming the setting, its value and what to change.
        """
        settings = self.to_dict()
        try:
            return MODELS.look_up(settings.pop("name")).config(vocab_size=vocab_size, block_size=block_size, **settings)
        except ConfigError as error:  # its message begins with the name of a setting
            raise ConfigError(f"{self.prefix}{error}") from error


def create_model(
    config: ModelConfig, *, vocab_size: int, block_size: int, seed: int, dtype: str = "float32"
) -> Decoder:
    """The model that a configuration names, with fresh weights.

    Args:
        config: its settings.
        vocab_size: number V of token ids.
        block_size: longest sequence.
        seed: of the initial weights.
        dtype: of the weights; a model of your own needs a ``dtype`` argument for another than float32.
    """
    other = {} if dtype == "float32" else {"dtype": dtype}
    kind = MODELS.look_up(config.name)
    model: Decoder = kind.model(config.shape(vocab_size=vocab_size, block_size=block_size), seed=seed, **other)
    return model


def _section(name: str) -> type[ModelConfig]:
    kind = MODELS.look_up(name)
    own = settings_of(kind.config, without=FROM_THE_RUN)
    return make_section(ModelConfig, f"{kind.model.__name__}ModelConfig", name, own, {}, __name__)


MODEL_CONFIGS = Sections(MODELS, _section)
GPTModelConfig = MODEL_CONFIGS["gpt"]
"""The section of a GPT: the settings of `GPTConfig` but for those that come from the run."""
LlamaModelConfig = MODEL_CONFIGS["llama"]
"""The section of a Llama: the settings of `LlamaConfig` but for those that come from the run."""
