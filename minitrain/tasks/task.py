"""A task connects data, model, objective, metrics, sample and report of a run.

A run asks its task for each of these and does the rest itself: folder, optimizer, schedule, checkpoints, resuming,
curves. A task of your own is one file::

    @register_task("mine")
    class Mine(Task): ...

Two things are made from the data. The *processor* turns raw inputs into arrays and outputs into something to read: a
tokenizer, the names of the classes. It is small, the run folder keeps it, and with it the model can be used without the
data. The *data* is what to train and to validate on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..data import SampleDataset, Tokenizer
from ..errors import ConfigError
from ..folder import RunFolder
from ..measures import SampleTable
from ..records.made import Made
from ..settings.registry import Registry
from ..training.callbacks.base import Callback
from ..training.setup import Setup
from .settings.data import DataSection
from .settings.model import MODELS, create_model
from .settings.objective import create_loss
from .settings.of_a_run import TaskSettings as TaskSettings

TASKS: Registry[type[Task]] = Registry("task", "minitrain.tasks", setting="task")
register_task = TASKS.register
"""``@register_task("name")`` before a `Task` of your own."""


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` different indices below ``count``, evenly spread, the first and the last among them."""
    return sorted({round(i * (count - 1) / max(1, min(most, count) - 1)) for i in range(min(most, count))})


class Prepared(NamedTuple):
    """The processor and the data of a run.

    Attributes:
        processor: turns inputs into arrays, and outputs into something to read.
        data: the data to train and to validate on.
    """

    processor: Any
    data: Any


@dataclass(frozen=True)
class Outcome(ABC):
    """The result of an evaluation on held-out data.

    Attributes:
        loss: the mean loss.
        averaged_by: the callback that averaged the model's weights, such as ``EMA``; empty for the trained weights.
        samples: the measures of each sample, where they were kept.
    """

    loss: float
    averaged_by: str = field(default="", kw_only=True)
    samples: SampleTable | None = field(default=None, compare=False, repr=False, kw_only=True)

    @abstractmethod
    def describe(self) -> str:
        """A few lines for the screen."""


class Task(ABC):
    """One kind of training. All methods but ``save`` leave the run folder as it is.

    Attributes:
        name: its name in settings.
        data_kinds: the kinds of data that it takes; the first is the usual one.
        usual_model: the model that it trains unless settings name another.
        usual_recipe: the recipe of ``minitrain train task=NAME`` alone; empty for none.
        models_of: the task whose models it trains, if it is another one.
        models_of_data: the usual models of kinds of data that need another than ``usual_model``.
        searches: whether its models write by beam search, as ``generation.num_beams`` says.
    """

    name: ClassVar[str]
    data_kinds: ClassVar[tuple[str, ...]]
    usual_model: ClassVar[str]
    usual_recipe: ClassVar[str] = ""
    models_of: ClassVar[str] = ""
    models_of_data: ClassVar[Mapping[str, str]] = {}
    searches: ClassVar[bool] = False

    @classmethod
    def usual_parts(cls, data: str | None, model: str | None) -> tuple[str, str]:
        """The kind of data and the model, where one of them or none is named."""
        if data is None:
            fitting = (kind for kind, one in cls.models_of_data.items() if one == model)
            data = next(fitting, cls.data_kinds[0])
        return data, model or cls.models_of_data.get(data, cls.usual_model)

    def check(self, config: TaskSettings) -> None:
        """Check that data and model are for this task.

        Raises:
            ConfigError: if they are not; names those that are.
        """
        if config.data.name not in self.data_kinds:
            raise ConfigError(
                f"data.name={config.data.name} is not for task={self.name}, which takes {', '.join(self.data_kinds)}"
            )
        if (task := MODELS.look_up(config.model.name).task) != (own := self.models_of or self.name):
            others = ", ".join(name for name, kind in MODELS.items() if kind.task == own)
            raise ConfigError(
                f"model.name={config.model.name} is for task={task}; task={self.name} trains {others or 'none yet'}"
            )
        if config.generation.num_beams > 1 and not self.searches:
            others = ", ".join(name for name, kind in TASKS.items() if kind.searches)
            raise ConfigError(
                f"generation.num_beams={config.generation.num_beams} must be 1 with task={self.name}; beams are for "
                f"{others}"
            )

    def check_data(self, data: DataSection) -> None:  # noqa: B027 (nothing to look at is fine)
        """Check that the data is there, without reading all of it.

        Raises:
            DataError: if it is not.
        """

    @abstractmethod
    def prepare(self, config: TaskSettings, processor: Any = None) -> Prepared:
        """The data that the settings ask for, read and checked.

        Args:
            config: the settings.
            processor: that of the run whose weights are taken; ``None`` makes a new one.

        Raises:
            DataError: if the data is missing, damaged, or too small.
        """

    @abstractmethod
    def save(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> DataSection:
        """Put what the run needs of its data into its folder.

        Returns:
            The section of the data, with paths that hold wherever the run is taken up.
        """

    @abstractmethod
    def load_processor(self, folder: RunFolder) -> Any:
        """The processor that ``save`` put into the folder.

        Raises:
            DataError: if it is damaged.
        """

    @abstractmethod
    def load(self, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The data that ``save`` put into the folder; a run on other data would be another run.

        Raises:
            DataError: if it is damaged, gone, or another.
        """

    def after_saving(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The data of a new run: what was prepared, or the same read from the folder, to keep less in memory."""
        return prepared

    def held_out(self, config: TaskSettings, processor: Any, path: str | Path) -> Prepared:
        """Other data to evaluate on, read with the processor of a run.

        Raises:
            DataError: if it is missing, or the processor cannot read it.
        """
        raise ConfigError(f"task={self.name} is evaluated on its own held-out data alone")

    @abstractmethod
    def model_sizes(self, config: TaskSettings, processor: Any) -> dict[str, Any]:
        """The sizes that the model's configuration gets from the data, such as the number of classes."""

    def tokenizer(self, processor: Any) -> Tokenizer | None:
        """The tokenizer of a language model; ``None`` for other models."""
        return None

    def model(self, config: TaskSettings, processor: Any) -> Any:
        """The model with fresh weights."""
        dtype = "float64" if config.trainer.product_precision() == "float64" else "float32"
        return create_model(config.model, self.model_sizes(config, processor), seed=config.seed, dtype=dtype)

    def refuse_impossible(  # noqa: B027 (only some tasks can tell)
        self, config: TaskSettings, processor: Any, *, to_train: bool = True
    ) -> None:
        """Refuse a run, or a model to be used, that cannot fit into the memory that is free.

        Raises:
            ConfigError: with the sizes, and the settings that would help.
        """

    @abstractmethod
    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """The training batches; a `Loader`."""

    def samples(self, config: TaskSettings, prepared: Prepared) -> SampleDataset:
        """The training data one by one, for private training, which draws its batches itself.

        Raises:
            ConfigError: if the loss of a sample depends on the others of its batch, or the task has none.
        """
        raise ConfigError(f"task={self.name} cannot be trained with privacy: its samples cannot be drawn one by one")

    @abstractmethod
    def validation_data(self, config: TaskSettings, prepared: Prepared) -> Iterable[Any]:
        """The validation batches."""

    def loss_fn(self, config: TaskSettings, prepared: Prepared) -> Any:
        """The loss of training; ``None`` for the model's own."""
        return create_loss(config.loss)

    def callbacks(self, config: TaskSettings, prepared: Prepared) -> Sequence[Callback]:
        """The callbacks of this task, ahead of those that the settings name."""
        return ()

    def metrics(self, config: TaskSettings, processor: Any) -> Mapping[str, Any]:
        """The metrics of an evaluation besides the loss; see `Evaluator`."""
        return {}

    def guesses(self, prepared: Prepared) -> dict[str, float]:
        """Losses of guessing by name, for the picture of the loss."""
        return {}

    @abstractmethod
    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Outcome:
        """Evaluate a model on all of the held-out data.

        Args:
            config: the settings.
            model: on ``config.device``, with the weights to use.
            prepared: the data.
            measured: what an evaluation of the whole validation data found already, if there was one.
        """

    def answer(self, config: TaskSettings, model: Any, processor: Any, text: str) -> str:
        """The model's output for an input, for ``minitrain generate``; a language model writes on instead.

        Raises:
            DataError: if it is no input for this model.
            ConfigError: if the task has no answers.
        """
        raise ConfigError(f"a model of task={self.name} writes nothing: see minitrain eval")

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Something to read that the trained model makes; empty if there is nothing."""
        return ""

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """The model's outputs for a few held-out inputs, always the same ones; kept at each evaluation."""
        return []

    def pictures(self, config: TaskSettings, model: Any, prepared: Prepared, folder: Path) -> tuple[Path, ...]:
        """Pictures of the trained model for the report, drawn into ``folder``."""
        return ()

    @abstractmethod
    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """The data in a few words, for the screen."""


def task_of(name: str) -> Task:
    """The task of this name.

    Raises:
        ConfigError: if there is none; names the nearest.
    """
    return TASKS.look_up(name)()
