"""The task of a classifier: which of some classes an image or a text belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import to_numpy
from ..errors import ConfigError
from ..folder import RunFolder
from ..folder.names import PLOTS
from ..formats import one_line
from ..measures import Accuracy, MacroF1, TopK
from ..models.encoder import Encoder, EncoderConfig
from ..models.vit import ViT, ViTConfig
from ..records.made import Made
from ..training.evaluator import LOSS, Evaluator
from ..training.setup import Setup
from .outcome import Measured
from .records.class_report import (
    FEW,
    MACRO_F1,
    class_table,
    draw_classes,
    guess_losses,
    guesses,
    measures_of,
    probabilities,
    ranked,
    short,
)
from .records.classes import Processor, TextProcessor, build_processor, load_processor
from .records.labelled import EvaluationSamples, LabelledSplit, make_split, read_labelled, training_loader
from .records.split import RecordSplit, check_fingerprints, check_there, describe_split, open_split, save_split
from .settings.data import DataSection
from .settings.labels import ImagesConfig, LabelledTextConfig
from .settings.model import MODELS, register_model
from .settings.records import RecordsConfig
from .task import Prepared, Task, TaskSettings, evenly, register_task

SHOWN = 8
"""Samples with their prediction, in a sample."""
NAMED = 10
"""Classes in an answer."""

register_model(
    "vit",
    ViTConfig,
    task="classification",
    from_run={"image_size": lambda others: max(1, others["patch"]), "channels": 1, "n_classes": 2},
    usual={"patch": 4},
)(ViT)
register_model(
    "encoder", EncoderConfig, task="classification", from_run={"vocab_size": 1, "block_size": 1, "n_classes": 2}
)(Encoder)


@register_task("classification")
class Classification(Task):
    """Tells the class of an image or of a text. Its processor is a `Processor`, its data a `LabelledSplit`."""

    name: ClassVar[str] = "classification"
    data_kinds: ClassVar[tuple[str, ...]] = ("images", "labelled_text")
    usual_model: ClassVar[str] = "vit"
    usual_recipe: ClassVar[str] = "digits"
    models_of_data: ClassVar[Mapping[str, str]] = {"labelled_text": "encoder"}

    def check(self, config: TaskSettings) -> None:
        """Check that data and model are for this task, and for each other."""
        super().check(config)
        reads = "images" if "image_size" in MODELS.look_up(config.model.name).from_run else "labelled_text"
        if reads != config.data.name:
            raise ConfigError(f"model.name={config.model.name} reads data={reads}, not data={config.data.name}")

    def check_data(self, data: DataSection) -> None:
        """Check that the files are there."""
        assert isinstance(data, RecordsConfig)
        check_there(data)

    def prepare(self, config: TaskSettings, processor: Processor | None = None) -> Prepared:
        """The samples, and the classes of the training data."""
        records = _records(config)
        processor = processor or build_processor(config.data, records.train)
        if processor.kind != config.data.name:
            raise ConfigError(
                f"data={config.data.name} is not what the initial weights read, which is {processor.kind}"
            )
        return Prepared(processor, make_split(records, config.data, processor))

    def save(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> DataSection:
        """Keep the classes, and the fingerprints of the records."""
        prepared.processor.save(folder)
        data: RecordsConfig = config.data
        return save_split(prepared.data.records, data, folder)

    def load_processor(self, folder: RunFolder) -> Processor:
        """The classes, and what makes arrays of inputs."""
        return load_processor(folder)

    def load(self, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The processor, and the samples that the run began with."""
        records = _records(config)
        check_fingerprints(records, folder)
        processor = self.load_processor(folder)
        return Prepared(processor, make_split(records, config.data, processor))

    def held_out(self, config: TaskSettings, processor: Processor, path: str | Path) -> Prepared:
        """Other samples of the same classes; guesses are by their own frequencies."""
        records = read_labelled(config.data, str(path))
        return Prepared(processor, make_split(RecordSplit(records, records, records), config.data, processor))

    def model_sizes(self, config: TaskSettings, processor: Any) -> dict[str, Any]:
        """The number of classes, and the size of the inputs."""
        classes = {"n_classes": len(processor.classes)}
        if isinstance(processor, TextProcessor):
            return classes | {"vocab_size": processor.tokenizer.vocab_size, "block_size": processor.block_size}
        return classes | {"image_size": processor.pictures.size, "channels": processor.pictures.channels}

    def refuse_impossible(self, config: TaskSettings, processor: Processor, *, to_train: bool = True) -> None:
        """Refuse a model that does not fit the data, such as patches that do not divide an image."""
        config.model.shape(**self.model_sizes(config, processor))

    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """Samples in random order."""
        return training_loader(prepared.data.train, config)

    def validation_data(self, config: TaskSettings, prepared: Prepared) -> EvaluationSamples:
        """The held-out samples."""
        return _batches(config, prepared.data.val)

    def metrics(self, config: TaskSettings, processor: Processor) -> Mapping[str, Any]:
        """The accuracy, and with more than five classes whether the right one is among the first five."""
        return {"accuracy": Accuracy()} | ({"top5": TopK(FEW)} if len(processor.classes) > FEW else {})

    def guesses(self, prepared: Prepared) -> dict[str, float]:
        """Nats of guessing a class."""
        data: LabelledSplit = prepared.data
        return guess_losses(data.train.targets, data.val.targets, len(prepared.processor.classes))

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Measured:
        """The measures on the test samples next to guessing, and a table of the classes."""
        data: LabelledSplit = prepared.data
        samples, classes = data.test, prepared.processor.classes
        names, measures = np.array(classes.names), measures_of(classes)
        evaluator = Evaluator(
            model,
            _batches(config, samples),
            metrics=measures,
            device=config.device,
            precision=config.trainer.product_precision(),
        )
        what = "images" if isinstance(config.data, ImagesConfig) else "texts"
        table = evaluator.samples(
            keys={"class": lambda batch: names[to_numpy(batch.targets)]},
            data=f"{len(samples)} {what}, {data.records.test.fingerprint}",
        )
        values = table.values()
        confusion = measures.get(MACRO_F1)
        notes = []
        if isinstance(confusion, MacroF1):
            notes = ["", *class_table(confusion.matrix(confusion.sums(table.rows[MACRO_F1])), classes)]
        others = guesses(data.train.targets, samples.targets, classes)
        loss = values.pop(LOSS)
        return Measured(loss, f"{len(samples):,} {what}", values, others, tuple(notes), samples=table)

    def answer(self, config: TaskSettings, model: Any, processor: Processor, text: str) -> str:
        """The classes with their probabilities, of the image at a path or of a text."""
        inputs, _, lengths = processor.read(text)
        return ranked(probabilities(model, inputs, lengths, config.device)[0], processor.classes, NAMED)

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Some held-out samples with their class and the most likely one."""
        found = self.made(config, setup.model, prepared)
        return "\n".join(f"{one.given}: {one.right}, taken for {one.made}" for one in found)

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """Its predictions for some held-out samples, with their probabilities."""
        samples, names = prepared.data.test, prepared.processor.classes.names
        found = []
        rows = evenly(len(samples), SHOWN)
        batch = samples.collate([samples[row] for row in rows])
        shares = probabilities(model, batch.inputs, getattr(batch, "lengths", None), config.device)
        for row, own in zip(rows, shares, strict=True):
            place, best = int(samples.rows[row]), int(own.argmax())
            text = samples.records.without_image(place).get("text") or samples.records.place(place)
            taken = f"{short(names[best])} ({100 * own[best]:.1f} %)"
            target = int(samples.targets[row])
            found.append(Made(one_line(str(text))[:60], short(names[target]), taken, best == target))
        return found

    def pictures(self, config: TaskSettings, model: Any, prepared: Prepared, folder: Path) -> tuple[Path, ...]:
        """Which class was taken for which, how far probabilities can be trusted, the worst images."""
        samples = prepared.data.test
        batches = _batches(config, samples)
        place = RunFolder(folder).make(PLOTS)
        return draw_classes(model, batches, batches.order, samples, place, config.device)

    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """How many samples of what, in how many classes."""
        what = "images" if isinstance(config.data, ImagesConfig) else "texts"
        source = one_line(config.data.dataset or config.data.path)
        found = describe_split(prepared.data.records, what, source, prepared.data[1:])
        return f"{found} ({len(prepared.processor.classes)} classes)"


def _records(config: TaskSettings) -> RecordSplit:
    data: ImagesConfig | LabelledTextConfig = config.data
    return open_split(data, lambda path: read_labelled(data, path), seed=config.seed)


def _batches(config: TaskSettings, samples: Any) -> EvaluationSamples:
    workers = config.data.workers if isinstance(config.data, ImagesConfig) else 1
    return EvaluationSamples(samples, config.trainer.batch_size, workers)
