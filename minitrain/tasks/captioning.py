"""The task of a model that writes about images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import to_device, to_numpy
from ..data.text.bpe import BOS, EOS, PAD
from ..errors import ConfigError, DataError
from ..folder import RunFolder
from ..folder.names import PLOTS
from ..formats import one_line
from ..inside import capture
from ..models.captioner import Captioner, CaptionerConfig
from ..plotting.gallery import COLUMNS, plot_gallery
from ..plotting.patches import plot_patches
from ..records.made import Made
from ..training.evaluator import LOSS, Evaluator
from ..training.setup import Setup
from .outcome import Measured
from .records.caption_task import IMAGES_AND_TEXTS, CaptionTask
from .records.captions import FRAME, CaptionProcessor, CaptionSplit, EvaluationCaptions, texts_of
from .records.translations import signatures, word_measures
from .sequence_to_sequence import written
from .settings.model import register_model
from .task import Prepared, TaskSettings, evenly, register_task

SHOWN = 8
"""Images in a sample."""
LOOKED_INTO = 3
"""Images in the picture of attention."""
PIECES = 10
"""Tokens of a caption in it."""

register_model("captioner", CaptionerConfig, task="captioning", from_run=IMAGES_AND_TEXTS | {"pad_idx": 0})(Captioner)


@register_task("captioning")
class Captioning(CaptionTask):
    """Writes a text about an image. Its processor is a `CaptionProcessor`, its data a `CaptionSplit`."""

    name: ClassVar[str] = "captioning"
    framed: ClassVar[bool] = True
    usual_model: ClassVar[str] = "captioner"
    usual_recipe: ClassVar[str] = "captioning"
    searches: ClassVar[bool] = True

    def check(self, config: TaskSettings) -> None:
        """Check that data and model are for this task, and that a text has room beside its start and its end."""
        super().check(config)
        if config.data.block_size <= FRAME:
            raise ConfigError(f"data.block_size={config.data.block_size} must be at least {FRAME + 1} to write a token")

    def model_sizes(self, config: TaskSettings, processor: CaptionProcessor) -> dict[str, Any]:
        """The sizes of images and texts, and padding."""
        tokenizer: Any = processor.tokenizer
        return super().model_sizes(config, processor) | {"pad_idx": tokenizer.special_id(PAD)}

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Measured:
        """Loss, errors and scores of what the model writes about the test images."""
        split: CaptionSplit = prepared.data
        processor, records, measures = prepared.processor, split.records.test, word_measures()
        evaluator = Evaluator(
            model,
            EvaluationCaptions(split.test, config.trainer.batch_size),
            metrics=measures,
            predict=lambda batch: describe_images(config, model, processor, batch.images),
            device=config.device,
            precision=config.trainer.product_precision(),
        )
        table = evaluator.samples(data=f"{len(split.test)} images, {records.fingerprint}")
        values = table.values()
        loss = values.pop(LOSS)
        return Measured(loss, f"{len(split.test):,} images", values, {}, signatures(measures), samples=table)

    def answer(self, config: TaskSettings, model: Any, processor: CaptionProcessor, text: str) -> str:
        """The text that the model writes about the image at a path."""
        return describe_images(config, model, processor, to_device(processor.pictures.read(text), config.device))[0]

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Some held-out images: what the model writes, and what is right."""
        lines = []
        for one in self.made(config, setup.model, prepared):
            lines += [f"written {one.made}", f"right   {one.right}", ""]
        return "\n".join(lines).strip("\n")

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """The texts that it writes about some held-out images."""
        samples, found = prepared.data.test, []
        rows = evenly(len(samples), SHOWN)
        images = to_device(samples.collate([samples[row] for row in rows]).images, config.device)
        for row, text in zip(rows, describe_images(config, model, prepared.processor, images), strict=True):
            right = texts_of(samples, row)
            place = one_line(samples.records.place(int(samples.rows[row])))
            found.append(Made(f"image: {place}", " | ".join(map(one_line, right)), text, text in right))
        return found

    def pictures(self, config: TaskSettings, model: Any, prepared: Prepared, folder: Path) -> tuple[Path, ...]:
        """Images with what is written about them, wrong ones first, and where the model looks for each word."""
        samples, processor = prepared.data.test, prepared.processor
        place = RunFolder(folder).make(PLOTS)
        found: list[tuple[bool, int, str]] = []
        row = 0
        for batch in EvaluationCaptions(samples, config.trainer.batch_size):
            said = describe_images(config, model, processor, to_device(batch.images, config.device))
            for text, right in zip(said, batch.references, strict=True):
                found.append((text in right, row, text))
                row += 1
        first = sorted(found, key=lambda one: one[0])[: 3 * COLUMNS]
        captions = [
            one_line(text) if right else f"{one_line(text)}\nright: {one_line(texts_of(samples, row)[0])}"
            for right, row, text in first
        ]
        paths = place / "captions.png", place / "attention.png"
        shown, good = [samples[row].image for _, row, _ in first], [right for right, _, _ in first]
        plot_gallery(shown, captions, paths[0], title="Images and what is written, wrong ones first", right=good)
        rows = np.unique(np.linspace(0, len(samples) - 1, LOOKED_INTO).astype(int)).tolist()
        looks = [look(model, processor, samples.collate([samples[row]]).images, config.device) for row in rows]
        plot_patches([samples[row].image for row in rows], looks, paths[1])
        return paths


def describe_images(config: TaskSettings, model: Any, processor: CaptionProcessor, images: Any) -> list[str]:
    """The texts that the model writes about images (B, C, H, W) on its device."""
    return written(model, processor.tokenizer, images, processor.block_size, config.generation)


def look(model: Any, processor: CaptionProcessor, image: Any, device: str) -> list[tuple[str, Any]]:
    """Where the model looks for each token that it writes about an image (1, C, H, W).

    Returns:
        The first tokens as texts, each with weights (patches,), which are the mean over heads and blocks.

    Raises:
        DataError: if the model writes nothing.
    """
    tokenizer: Any = processor.tokenizer
    start, end = tokenizer.special_id(BOS), tokenizer.special_id(EOS)
    there = to_device(image, device)
    ids = model.generate(there, start=start, end=end, max_new_tokens=min(PIECES, processor.block_size))
    with capture(model, "decoder.*.cross.weights") as seen:
        model.forward(there, ids[:, :-1])
    weights = np.mean([to_numpy(one)[0].mean(axis=0) for one in seen.values()], axis=0)  # (T, patches)
    names = ["end" if number == end else tokenizer.decode([number]) for number in to_numpy(ids)[0, 1:].tolist()]
    if not names:
        raise DataError("the model writes nothing: there is no attention to show")
    return list(zip(names, weights, strict=True))
