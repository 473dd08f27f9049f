"""The task of two encoders: images and texts that belong together get features in the same direction."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..folder import RunFolder
from ..folder.names import PLOTS
from ..formats import one_line
from ..measures import pair_measures
from ..models.clip import Clip, ClipConfig
from ..records.made import Made
from ..training.evaluator import Evaluator
from ..training.setup import Setup
from .outcome import Measured
from .records.caption_task import IMAGES_AND_TEXTS, CaptionTask
from .records.captions import CaptionProcessor, CaptionSplit, EvaluationCaptions, texts_of
from .records.retrieval import (
    Encoded,
    draw_retrieval,
    features_of_images,
    features_of_texts,
    groups_of,
    guess_loss,
    measure_retrieval,
    nearest,
    nearest_texts,
    zero_shot_of,
)
from .settings.model import register_model
from .task import Prepared, TaskSettings, evenly, register_task

SHOWN = 6
"""Images with their nearest texts in a sample."""
LISTED = 10
"""Images or texts in an answer."""
AMONG = 100
"""Held-out texts of which the nearest to an image is shown at each evaluation."""

register_model("clip", ClipConfig, task="contrastive", from_run=IMAGES_AND_TEXTS)(Clip)


@register_task("contrastive")
class Contrastive(CaptionTask):
    """Finds images by words and words by images. Its processor is a `CaptionProcessor`, its data a `CaptionSplit`."""

    name: ClassVar[str] = "contrastive"
    framed: ClassVar[bool] = False
    usual_model: ClassVar[str] = "clip"
    usual_recipe: ClassVar[str] = "shapes"

    def metrics(self, config: TaskSettings, processor: CaptionProcessor) -> Mapping[str, Any]:
        """Recall in both directions, and how well both sides are aligned."""
        return pair_measures(groups_of)

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Measured:
        """The loss in batches of the training's size, and what is found among all test images and texts."""
        split: CaptionSplit = prepared.data
        encoded, loss = _encode(config, model, split)
        zero_shot = zero_shot_of(config.data, model, prepared.processor, split.test, config.device)
        records = split.records.test
        table, values, notes = measure_retrieval(encoded, zero_shot, f"{len(split.test)} pairs, {records.fingerprint}")
        alike = {"all alike": {"loss": guess_loss(EvaluationCaptions(split.test, config.trainer.batch_size))}}
        siglip = config.model.contrast == "siglip"
        return Measured(
            loss, f"{len(split.test):,} pairs", values, {} if siglip else alike, tuple(notes), samples=table
        )

    def answer(self, config: TaskSettings, model: Any, processor: CaptionProcessor, text: str) -> str:
        """The held-out images that fit a text best, by name; or the held-out texts that fit the image at a path."""
        is_image = Path(os.path.expanduser(text)).is_file()
        if is_image:
            query = features_of_images(model, processor.pictures.read(text), config.device)
        else:
            query = features_of_texts(model, processor, [text], config.device)
        samples = self.prepare(config, processor).data.test
        if is_image:
            texts = list(dict.fromkeys(text for i in range(len(samples)) for text in texts_of(samples, i)))
            found = nearest(query, features_of_texts(model, processor, texts, config.device), LISTED)
            names = [texts[i] for i in found.rows]
        else:
            batches = EvaluationCaptions(samples, config.trainer.batch_size)
            images = np.concatenate([features_of_images(model, one.images, config.device) for one in batches])
            found = nearest(query, images, LISTED)
            names = [f"{samples.records.place(int(samples.rows[i]))}  {texts_of(samples, i)[0]}" for i in found.rows]
        return "\n".join(f"{cosine:6.3f}  {one_line(name)}" for cosine, name in zip(found.cosines, names, strict=True))

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Some held-out images with the nearest of all held-out texts."""
        encoded, _ = _encode(config, setup.model, prepared.data)
        samples = prepared.data.test
        texts = [one_line(texts_of(samples, i)[0]) for i in range(len(samples))]
        lines = []
        for row in evenly(len(samples), SHOWN):
            found = nearest_texts(encoded.images[row : row + 1], encoded.texts, texts, 3)
            lines.append(f"image of {texts[row]}")
            for cosine, other in zip(found.cosines, found.rows, strict=True):
                lines.append(f"  {cosine:6.3f}  {texts[other]}")
        return "\n".join(lines)

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """The nearest of some held-out texts to their images."""
        samples, processor = prepared.data.test, prepared.processor
        rows = evenly(len(samples), AMONG)
        texts = [texts_of(samples, row)[0] for row in rows]
        features = features_of_texts(model, processor, texts, config.device)
        shown = evenly(len(rows), SHOWN)
        batch = samples.collate([samples[rows[i]] for i in shown])
        images = features_of_images(model, batch.images, config.device)
        found = []
        for place, i in enumerate(shown):
            best = nearest(images[place : place + 1], features, 1)
            text = texts[best.rows[0]]
            given = one_line(samples.records.place(int(samples.rows[rows[i]])))
            made = f"{one_line(text)} ({best.cosines[0]:.3f})"
            found.append(Made(f"image: {given}", one_line(texts[i]), made, text == texts[i]))
        return found

    def pictures(self, config: TaskSettings, model: Any, prepared: Prepared, folder: Path) -> tuple[Path, ...]:
        """Images with their nearest texts and the reverse, the cosines of some pairs, and all features in a plane."""
        encoded, _ = _encode(config, model, prepared.data)
        return draw_retrieval(encoded, prepared.data.test, RunFolder(folder).make(PLOTS))


def _encode(config: TaskSettings, model: Any, split: CaptionSplit) -> tuple[Encoded, float]:
    """The features of all test pairs, and the mean loss."""
    evaluator = Evaluator(
        model,
        EvaluationCaptions(split.test, config.trainer.batch_size),
        metrics={"encoded": Encoded},
        device=config.device,
        precision=config.trainer.product_precision(),
    )
    measures = evaluator.new_measures()
    found = evaluator.measured(measures)
    encoded = measures["encoded"]
    assert isinstance(encoded, Encoded)
    return encoded, found["val_loss"]
