"""The base of tasks on images with texts: the data, its processor, and the sizes of their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ...errors import ConfigError
from ...folder import RunFolder
from ...formats import one_line
from ..settings.captions import CaptionsConfig
from ..settings.data import DataSection
from ..settings.records import RecordsConfig
from ..task import Prepared, Task, TaskSettings
from .captions import CaptionProcessor, EvaluationCaptions, prepare_captions, read, split_of
from .labelled import training_loader
from .split import RecordSplit, check_there, describe_split, save_split

IMAGES_AND_TEXTS = {
    "vocab_size": 1,
    "block_size": 1,
    "image_size": lambda others: max(1, others["patch"]),
    "channels": 3,
}
"""The sizes that the configuration of a model of images and texts gets from the data, see `register_model`."""


class CaptionTask(Task):
    """Images with texts. The processor is a `CaptionProcessor`, the data a `CaptionSplit`.

    Attributes:
        framed: whether a start and an end token are put around each text, for a model that writes.
    """

    data_kinds: ClassVar[tuple[str, ...]] = ("captions",)
    framed: ClassVar[bool]

    def check(self, config: TaskSettings) -> None:
        """Check that data and model are for this task, and that no other loss is asked for."""
        super().check(config)
        if getattr(config, "loss", None) is not None:
            raise ConfigError(f"loss must be null with task={self.name}, which takes the loss of its model")

    def check_data(self, data: DataSection) -> None:
        """Check that the files are there."""
        assert isinstance(data, RecordsConfig)
        check_there(data)

    def prepare(self, config: TaskSettings, processor: CaptionProcessor | None = None) -> Prepared:
        """The images and texts, and a tokenizer of the training texts."""
        return prepare_captions(config, processor, framed=self.framed)

    def save(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> CaptionsConfig:
        """Keep the tokenizer and the normalisation, and the fingerprints of the records."""
        prepared.processor.save(folder)
        data: CaptionsConfig = config.data
        return save_split(prepared.data.records, data, folder)

    def load_processor(self, folder: RunFolder) -> CaptionProcessor:
        """The tokenizer and the normalisation."""
        return CaptionProcessor.load(folder)

    def load(self, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The processor, and the images and texts that the run began with."""
        return prepare_captions(config, self.load_processor(folder), folder, framed=self.framed)

    def held_out(self, config: TaskSettings, processor: CaptionProcessor, path: str | Path) -> Prepared:
        """Other images and texts."""
        records = read(config.data, str(path))
        split = split_of(RecordSplit(records, records, records), config.data, processor, framed=self.framed)
        return Prepared(processor, split)

    def model_sizes(self, config: TaskSettings, processor: CaptionProcessor) -> dict[str, Any]:
        """The sizes of the images, the vocabulary and the longest text."""
        return {
            "vocab_size": processor.tokenizer.vocab_size,
            "block_size": processor.block_size,
            "image_size": processor.pictures.size,
            "channels": processor.pictures.channels,
        }

    def refuse_impossible(self, config: TaskSettings, processor: CaptionProcessor, *, to_train: bool = True) -> None:
        """Refuse a model that does not fit the data, such as patches that do not divide an image."""
        config.model.shape(**self.model_sizes(config, processor))

    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """Images in random order, each with one of its texts."""
        return training_loader(prepared.data.train, config)

    def validation_data(self, config: TaskSettings, prepared: Prepared) -> EvaluationCaptions:
        """The held-out images with their first text."""
        return EvaluationCaptions(prepared.data.val, config.trainer.batch_size)

    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """How many images of what, and how many different tokens their texts have."""
        source = one_line(config.data.dataset or config.data.path)
        sizes = f"{prepared.processor.tokenizer.vocab_size:,} different tokens"
        return f"{describe_split(prepared.data.records, 'images with texts', source, prepared.data[1:])} ({sizes})"
