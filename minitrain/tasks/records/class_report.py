"""The evaluation of a classifier: its measures, the table of its classes, the same for guessing, and pictures."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import Array, to_device, to_numpy
from ...data import Classes, LabelledImages
from ...formats import one_line
from ...measures import Accuracy, CalibrationError, ConfusionMatrix, MacroF1, TopK, class_scores
from ...measures.base import Measures
from ...measures.calibration import Calibration
from ...measures.confusion import MOST_CLASSES
from ...plotting.evaluation import plot_confusion, plot_reliability
from ...plotting.gallery import plot_gallery

ACCURACY, TOP5, MACRO_F1, CALIBRATION = "accuracy %", "top-5 %", "macro F1 %", "calibration error %"
FEW = 5
"""With more classes, whether the right one is among the first five says something."""
LISTED = 40
"""Rows of the table of classes."""
WORST = 24
"""Images in a gallery."""
LONGEST_NAME = 30


def measures_of(classes: Classes) -> dict[str, Measures]:
    """The measures of a classifier."""
    found: dict[str, Measures] = {ACCURACY: Accuracy()}
    if len(classes) > FEW:
        found[TOP5] = TopK(FEW)
    if len(classes) <= MOST_CLASSES:
        found[MACRO_F1] = MacroF1(list(classes))
    return found | {CALIBRATION: CalibrationError()}


def guess_losses(train: NDArray[np.int32], test: NDArray[np.int32], classes: int) -> dict[str, float]:
    """The losses of guessing without looking: by how often each class occurs in training, and all alike.

    Args:
        train: classes of the training data.
        test: those of the held-out data.
        classes: their number.
    """
    counts = np.maximum(np.bincount(train, minlength=classes), 1)
    by_frequency = -np.log(counts / counts.sum())[test].mean()
    return {"class frequencies": float(by_frequency), "all classes alike": math.log(classes)}


def guesses(train: NDArray[np.int32], test: NDArray[np.int32], classes: Classes) -> dict[str, dict[str, float]]:
    """The measures of what needs no model: naming the most frequent class, and knowing the frequencies."""
    most = int(np.bincount(train, minlength=len(classes)).argmax())
    support = np.bincount(test, minlength=len(classes))
    values = {ACCURACY: float(support[most] / support.sum())}
    if len(classes) <= MOST_CLASSES:
        matrix = np.zeros((len(classes), len(classes)))
        matrix[:, most] = support
        values |= {MACRO_F1: MacroF1(list(classes)).value(matrix.ravel())[""]}
    rows = {f"always {short(classes.names[most])}": values}
    return rows | {name: {"loss": loss} for name, loss in guess_losses(train, test, len(classes)).items()}


def class_table(matrix: Array, classes: Classes) -> list[str]:
    """Precision, recall and F1 of each class, and the class it is most often taken for; of many, the lowest F1.

    Args:
        matrix: the confusion matrix (V, V).
        classes: the V classes.
    """
    scores = class_scores(matrix)
    wrong = matrix - np.diag(np.diagonal(matrix))
    rows = [i for i in range(len(classes)) if scores.support[i] or matrix[:, i].any()]
    left_out = len(rows) - LISTED
    if left_out > 0:
        rows = sorted(sorted(rows, key=lambda i: float(scores.f1[i]))[:LISTED])
    names = [short(classes.names[i]) for i in rows]
    width = max(5, *map(len, names)) if names else 5
    lines = [f"{'class':<{width}}  {'samples':>7}  precision %  recall %    F1 %  most often taken for"]
    for name, i in zip(names, rows, strict=True):
        other = int(wrong[i].argmax())
        taken = f"{short(classes.names[other])} ({wrong[i, other]:,.0f})" if wrong[i, other] else "-"
        shown = f"{100 * scores.precision[i]:>11.2f}  {100 * scores.recall[i]:>8.2f}  {100 * scores.f1[i]:>6.2f}"
        lines.append(f"{name:<{width}}  {scores.support[i]:>7,.0f}  {shown}  {taken}")
    if left_out > 0:
        lines.append(f"{left_out:,} classes with a higher F1 are left out")
    return lines


def short(name: str) -> str:
    """A name of a class for the screen, in one line."""
    shown = one_line(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"


def probabilities(model: Any, inputs: Array, lengths: Array | None, device: str) -> NDArray[np.float64]:
    """The probabilities (B, V) of the classes of a batch."""
    sizes = {} if lengths is None else {"lengths": to_device(lengths, device)}
    logits = to_numpy(model.forward(to_device(inputs, device), **sizes)[0]).astype(np.float64)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares


def ranked(shares: NDArray[np.float64], classes: Classes, most: int) -> str:
    """The most likely classes of one input with their probabilities, one in a line."""
    best = np.argsort(-shares, kind="stable")[:most]
    return "\n".join(f"{100 * shares[i]:6.2f} %  {one_line(classes.names[i])}" for i in best)


def draw_classes(
    model: Any, batches: Iterable[Any], order: NDArray[np.int64], samples: Any, folder: Path, device: str
) -> tuple[Path, ...]:
    """The confusion matrix, the reliability diagram, and the images with the highest loss.

    Args:
        model: on ``device``.
        batches: all held-out samples.
        order: their indices in ``samples``.
        samples: the samples.
        folder: the folder for the pictures.
        device: the device to compute on.
    """
    classes: Classes = samples.classes
    confusion = ConfusionMatrix(list(classes)) if len(classes) <= MOST_CLASSES else None
    calibration, counted = Calibration(), 0
    worst: list[tuple[float, int, int, float]] = []  # the loss, and of the sample: index, prediction, its probability
    matrix = confusion() if confusion is not None else None
    for batch in batches:
        shares = probabilities(model, batch.inputs, getattr(batch, "lengths", None), device)
        targets = to_numpy(batch.targets)
        predicted, rows = shares.argmax(axis=1), np.arange(len(shares))
        if matrix is not None:
            matrix.update(shares, batch)
        calibration.add(shares[rows, predicted], predicted == targets)
        losses = -np.log(np.maximum(shares[rows, targets], 1e-300))
        found = zip(
            losses.tolist(), order[counted + rows].tolist(), predicted.tolist(), shares[rows, predicted], strict=True
        )
        worst = heapq.nlargest(WORST, [*worst, *found])
        counted += len(rows)
    pictures = [folder / "reliability.png"]
    plot_reliability(calibration.table(), pictures[0])
    if confusion is not None and matrix is not None and matrix.sums is not None:
        pictures.insert(0, folder / "confusion.png")
        names = [short(name) for name in classes]
        plot_confusion(confusion.matrix(matrix.sums), pictures[0], names=names)
    if isinstance(samples, LabelledImages):
        images = [samples[index].image for _, index, _, _ in worst]
        names = [short(name) for name in classes]
        captions = [
            f"{names[int(samples.targets[index])]}\ntaken for {names[other]}\n{100 * share:.1f} %"
            for _, index, other, share in worst
        ]
        pictures.append(folder / "worst.png")
        plot_gallery(images, captions, pictures[-1], title="The images with the highest loss")
    return tuple(pictures)
