"""Zero-shot classification: an image belongs to the class whose prompts are nearest to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..data.loading.batches import IGNORED
from ..errors import ConfigError
from .embeddings import directions
from .fields import Targets, targets_of
from .top_k import TopK

SLOT = "{}"


def class_embeddings(prompts: Sequence[Array]) -> Array:
    """The embedding of each class: the directions of its prompts are averaged, and the mean gets length 1, as in CLIP.

    By Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020),
    section 3.1.4.

    Args:
        prompts: for each of V classes, the features (P, C) of its P >= 1 prompts.

    Returns:
        (V, C) float64.

    Raises:
        ConfigError: if a class has no prompt.
    """
    for number, one in enumerate(prompts):
        if not len(one):
            raise ConfigError(f"class {number} has no prompt: give each class at least one")
    return np.stack([directions(directions(one).mean(axis=0)) for one in prompts])


def prompts_of(names: Sequence[str], templates: Sequence[str] = (SLOT,)) -> list[list[str]]:
    """The prompts of each class: its name in every template.

    Args:
        names: of the V classes.
        templates: texts with ``{}`` where the name goes, such as ``"a photo of a {}"``.

    Raises:
        ConfigError: if there is no template, or one has no place for a name.
    """
    if wrong := [one for one in templates if SLOT not in one]:
        raise ConfigError(f"the template {wrong[0]!r} has no {SLOT} for the name of a class")
    if not templates:
        raise ConfigError("there is no template: give at least one, such as 'a photo of a {}'")
    return [[template.replace(SLOT, name) for template in templates] for name in names]


class ZeroShot(TopK):
    """The accuracy of a model of two sides as a classifier that saw no class in training.

    Args:
        classes: (V, C) embeddings of the classes, from `class_embeddings`.
        k: how many classes may be named; 1 is the accuracy.
        images: finds the features (B, C) in the outputs; by default, the outputs, or the first of two.
        ignore_index: the target that does not count.
        targets: finds the targets (B,) of a batch.
    """

    kind = "zero_shot"

    def __init__(
        self,
        classes: Array,
        k: int = 1,
        *,
        images: Callable[[Any], Array] | None = None,
        ignore_index: int = IGNORED,
        targets: Targets = targets_of,
    ) -> None:
        super().__init__(k, ignore_index=ignore_index, targets=targets)
        self.classes = np.asarray(classes, np.float64)
        self.images = images or _first

    def scores(self, outputs: Any) -> Array:
        """The cosine of each image with each class: (B, V)."""
        cosines: Array = directions(self.images(outputs)) @ self.classes.T
        return cosines

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The right and the counted targets of each sample: (B, 2).

        Raises:
            DataError: if a target is no class.
        """
        return self.hits(self.scores(outputs), to_numpy(self.targets(batch)))

    def settings(self) -> dict[str, Any]:
        """See the base class; the embeddings are in the rows already."""
        return {"classes": [], "k": self.k}


def _first(outputs: Any) -> Array:
    found: Array = outputs[0] if isinstance(outputs, tuple) else outputs
    return found
