"""The settings of models in a run's configuration: one section for each model that a task trains.

Names, types, defaults, descriptions and ranges are those of ``GPTConfig``, ``LlamaConfig`` and so on. Some of them come
from the run's data: the size of the vocabulary, the length of a sequence, the number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from ...errors import ConfigError
from ...models import presets
from ...models.gpt import GPT, GPTConfig
from ...models.llama import Llama, LlamaConfig
from ...settings.declared import settings_of
from ...settings.registry import Registry, Sections
from ...settings.section import Section, make_section, setting

TEXT: Mapping[str, Any] = {"vocab_size": 1, "block_size": 1}
"""The sizes that a language model's configuration gets from the run; see `ModelKind`."""


class ModelKind(NamedTuple):
    """A model that a run can train.

    Attributes:
        config: the dataclass of its configuration.
        model: its class, called with a configuration and ``seed=``.
        task: the name of the task that trains it.
        from_run: the settings that come from the run's data, each with a value that serves to check the others, or a
            function of the others that gives one.
        usual: defaults in settings that differ from those of ``config``, or that it lacks.
    """

    config: type[Any]
    model: type[Any]
    task: str = "language_model"
    from_run: Mapping[str, Any] = TEXT
    usual: Mapping[str, Any] = {}


MODELS: Registry[ModelKind] = Registry("model", "minitrain.models")


def register_model(
    name: str,
    config: type[Any],
    *,
    task: str = "language_model",
    from_run: Mapping[str, Any] = TEXT,
    usual: Mapping[str, Any] | None = None,
) -> Callable[[type[Any]], type[Any]]:
    """``@register_model("name", MineConfig)`` before the class of a model of your own.

    Configurations can then name it, and `build_model` builds it from a ``MineConfig``.

    Args:
        name: its name in configurations.
        config: the dataclass of its configuration; for a language model it has ``vocab_size`` and ``block_size``.
        task: the task that trains it.
        from_run: the settings that the task gives the configuration (see its ``model_sizes``), each with a value that
            serves to check the others before the data is read, or a function of the others' mapping that gives one.
        usual: defaults that differ from those of ``config``, or that it lacks.
    """

    def add(model: type[Any]) -> type[Any]:
        MODELS.register(name)(ModelKind(config, model, task, from_run, usual or {}))
        if model not in presets.MODELS:
            presets.MODELS.append(model)
        return model

    return add


register_model("gpt", GPTConfig)(GPT)
register_model("llama", LlamaConfig)(Llama)


class ModelConfig(Section):
    """The base of the sections of all models; each has the settings of its model too."""

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
        others, given = self.to_dict(), MODELS.look_up(self.name).from_run
        self.shape(**{name: value(others) if callable(value) else value for name, value in given.items()})

    def shape(self, **sizes: Any) -> Any:
        """The model's own configuration, with the sizes that come from the run.

        Raises:
            ConfigError: naming the setting, its value and what to change.
        """
        settings = self.to_dict()
        try:
            return MODELS.look_up(settings.pop("name")).config(**sizes, **settings)
        except ConfigError as error:  # its message begins with the name of a setting
            raise ConfigError(f"{self.prefix}{error}") from error


def create_model(config: ModelConfig, sizes: Mapping[str, Any], *, seed: int, dtype: str = "float32") -> Any:
    """The model that a configuration names, with fresh weights.

    Args:
        config: its settings.
        sizes: the settings that come from the run, such as ``vocab_size`` and ``block_size``.
        seed: of the initial weights.
        dtype: of the weights; a model of your own needs a ``dtype`` argument for another than float32.
    """
    other = {} if dtype == "float32" else {"dtype": dtype}
    return MODELS.look_up(config.name).model(config.shape(**sizes), seed=seed, **other)


def _section(name: str) -> type[ModelConfig]:
    kind = MODELS.look_up(name)
    own = settings_of(kind.config, without=kind.from_run)
    return make_section(ModelConfig, f"{kind.model.__name__}ModelConfig", name, own, kind.usual, __name__)


MODEL_CONFIGS = Sections(MODELS, _section)
GPTModelConfig = MODEL_CONFIGS["gpt"]
"""The section of a GPT: the settings of `GPTConfig` but for those that come from the run."""
LlamaModelConfig = MODEL_CONFIGS["llama"]
"""The section of a Llama: the settings of `LlamaConfig` but for those that come from the run."""
