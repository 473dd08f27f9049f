"""The tree of all settings of a run, to and from dictionaries and YAML.

Each setting is declared once, here or in one of the ``…_config.py``; the command line, its help, the settings page and
the checks read the declarations. A run folder keeps its settings as ``config.yaml``. A configuration names things that
are in a table: it cannot run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..distributed.micro_batches import check_ranks
from ..errors import ConfigError
from ..files import FileError, file_error, read_file, write_atomically
from ..folder.names import CONFIG, LARGEST
from ..optim.registry import OPTIMIZERS, SCHEDULERS
from ..settings.registry import Registry
from ..settings.section import Section, setting
from ..settings.tree import build
from ..settings.type_check import describe, shown
from ..tasks.settings.data import DataConfig, DataSection
from ..tasks.settings.generation import GenerationConfig
from ..tasks.settings.model import GPTModelConfig, ModelConfig
from ..tasks.settings.objective import LOSSES, METRICS, create_loss, create_metrics
from ..tasks.task import TASKS, Task, task_of
from ..training.callbacks.registry import CALLBACKS, create_callbacks
from ..training.config import TrainingConfig
from ..training.privacy import create_privacy
from .optimizer_config import AdamWConfig, OptimizerConfig, SchedulerConfig, WarmupCosineConfig
from .weights.adapters import create_adapter
from .weights.parametrization import check_parametrization

MADE_IN_PYTHON = "python"


class RunConfig(Section):
    """Everything that determines a run, together with its text.

    Example:
        >>> config = RunConfig(seed=1, trainer=TrainingConfig(max_steps=500))
        >>> RunConfig.from_dict(config.to_dict()) == config
        True
    """

    task: str = setting("language_model", "The kind of training: the name of a task.")
    seed: int = setting(
        1337, "Seed of the initial weights, the order of the data and dropout.", at_least=0, below=2**64
    )
    run_dir: str | None = setting(None, "The run folder; null makes a new one under runs/.")
    device: str = setting("cpu", "Where to compute: cpu, cuda or cuda:N.")
    init_from: str | None = setting(
        None, "A run, a checkpoint, a folder of transformers or a GGUF file to take the initial weights from."
    )
    parametrization: str = setting(
        "standard",
        "How initial weights and rates depend on the width: as usual, or mup, so that the best rate stays the same.",
        one_of=("standard", "mup"),
    )
    base_width: int = setting(64, "Of mup: the model.n_embd for which optimizer.learning_rate was chosen.", at_least=1)
    distributed: str | None = setting(
        None,
        "The launcher of the ranks: processes (of this machine) or ray. Under mpirun and srun leave it out.",
        one_of=("processes", "ray"),
    )
    ranks: int = setting(
        1, "How many processes train together; trainer.gradient_accumulation_steps are shared by them.", at_least=1
    )
    max_failures: int = setting(
        0, "How often Ray starts the ranks again after one failed, from the newest checkpoint.", at_least=0
    )
    recipe: str | None = setting(None, "The recipe that the settings come from; only a note.")
    model: ModelConfig = setting(GPTModelConfig, "The model.")
    data: DataSection = setting(DataConfig, "The training and validation data.")
    optimizer: OptimizerConfig = setting(AdamWConfig, "How gradients become updates.")
    scheduler: SchedulerConfig = setting(WarmupCosineConfig, "The learning rate over the steps.")
    trainer: TrainingConfig = setting(
        TrainingConfig, "How long to train, in which batches, and how often to validate, save and log."
    )
    generation: GenerationConfig = setting(GenerationConfig, "How texts are written: samples, translations, captions.")
    loss: dict[str, Any] | str | None = setting(
        None, "The loss to minimise: a name, or a group of a name and settings; null is the model's own."
    )
    adapter: dict[str, Any] | str | None = setting(
        None, "Train adapters in place of all weights: lora, or a group of a name and settings; null is none."
    )
    privacy: dict[str, Any] | str | None = setting(
        None, "Train with differential privacy: dp, or a group of a name and settings; null is none."
    )
    metrics: tuple[str, ...] = setting((), "Further measures of the validation data: names of metrics.")
    callbacks: tuple[dict[str, Any] | str, ...] = setting(
        (), "Additions to the training: names of callbacks, or groups of a name and settings."
    )

    def check(self) -> None:
        """Check the settings that have to fit each other."""
        kind, _, index = self.device.partition(":")
        known = self.device == "cpu" or (kind == "cuda" and (index.isdecimal() or self.device == "cuda"))
        self.require(known, "device", "'cpu', 'cuda' or 'cuda:N'")
        for name, path in (("run_dir", self.run_dir), ("init_from", self.init_from), ("data.path", self.data_path)):
            if path is not None and "\0" in path:
                raise ConfigError(f"{name} must be a path, and a path has no NUL character; got {shown(path)}")
        self.require(
            self.ranks == 1 or self.distributed is not None,
            "ranks",
            "1 without distributed=processes or distributed=ray; mpirun and srun say themselves how many there are",
        )
        self.require(
            self.max_failures == 0 or self.distributed == "ray",
            "max_failures",
            "0 without distributed=ray, which alone starts failed ranks again",
        )
        if self.ranks > 1:
            check_ranks(self.trainer.gradient_accumulation_steps, self.ranks)
        self.the_task.check(self)
        check_parametrization(self)
        create_callbacks(self.callbacks)  # knows names and ranges; so do the next four
        create_loss(self.loss)
        create_adapter(self.adapter)
        create_privacy(self.privacy)
        create_metrics(self.metrics)
        if self.trainer.max_steps is not None:  # else the length of the text decides
            self.scheduler.check_run(self.optimizer, self.trainer.max_steps)

    @property
    def the_task(self) -> Task:
        """The task itself.

        Raises:
            ConfigError: if there is none of this name; names the nearest.
        """
        return task_of(self.task)

    @property
    def data_path(self) -> str | None:
        """Where the data is, if it is at one place."""
        path: str | None = getattr(self.data, "path", None)
        return path

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build a config from nested dictionaries; what is not given keeps its default.

        Raises:
            ConfigError: for an unknown key (names the nearest valid one), a wrong type, a value out of range,
                or values that do not fit each other.
        """
        return build(cls, _with_usual_parts(values), root=cls)

    @classmethod
    def load(cls, path: str | Path, *, to_train: bool = True) -> RunConfig:
        """Read a config from a YAML file.

        Args:
            path: the file.
            to_train: whether a training is to call what the config names. If not, names of optimizers, schedules,
                losses, metrics and callbacks that are not registered here are left out: they may be the user's own.

        Raises:
            ConfigError: if the file is no YAML or no config.
            FileError: if it cannot be read, or is no regular file of a plausible size.
        """
        values = read_yaml(path)
        try:
            return cls.from_dict(values if to_train else _registered(values))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the config to a YAML file, atomically.

        Raises:
            FileError: if the file cannot be written.
        """
        import yaml  # type: ignore[import-untyped]

        write_atomically(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True).encode())


def _with_usual_parts(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """``values`` with the usual data and model of their task, where they name none."""
    task = TASKS.look_up(name) if isinstance(name := values.get("task"), str) else None
    if task is None:
        return values
    parts = {group: values.get(group, {}) for group in ("data", "model")}
    said = [part.get("name") if isinstance(part, Mapping) else None for part in parts.values()]
    usual = dict(zip(parts, task.usual_parts(*(name if isinstance(name, str) else None for name in said)), strict=True))
    named = {group: {"name": usual[group]} | dict(part) for group, part in parts.items() if isinstance(part, Mapping)}
    return {**values, **named}


def _registered(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without the parts that only a training calls and that are not registered here."""
    kept = dict(values)
    if not (_is_known(OPTIMIZERS, values.get("optimizer")) and _is_known(SCHEDULERS, values.get("scheduler"))):
        kept.pop("optimizer", None)  # the two are checked against each other: neither stays alone
        kept.pop("scheduler", None)
    if not _is_known(LOSSES, values.get("loss")):
        kept.pop("loss")
    for name, registry in (("metrics", METRICS), ("callbacks", CALLBACKS)):
        if isinstance(parts := values.get(name), list):
            kept[name] = [part for part in parts if _is_known(registry, part)]
    return kept


def _is_known(registry: Registry[Any], part: object) -> bool:
    """Whether a part's class is there; also if it is no name and no group with a name, for the checks to refuse."""
    name = part.get("name") if isinstance(part, Mapping) else part
    if not isinstance(name, str):
        return True
    try:
        registry.look_up(name)
    except ConfigError:  # unknown, or its package does not load
        return False
    return True


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """The settings in a YAML file, not checked yet.

    Raises:
        ConfigError: if the file is no YAML or holds no settings.
        FileError: if it cannot be read, or is no regular file of a plausible size.
    """
    import yaml

    try:
        values = yaml.safe_load(read_file(path, LARGEST[CONFIG]).decode("utf-8"))
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # no text, no date, too many digits, too deep
        raise ConfigError(f"{path} is not a YAML file: {' '.join(str(error).split()):.500}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must hold settings, one 'key: value' a line, not {describe(values)}")
    return values
