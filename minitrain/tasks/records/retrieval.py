"""Retrieval between images and texts: features of all held-out pairs, measures of them, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import Array, to_device, to_numpy
from ...data import Classes, ImageTextPairs
from ...data.samples.collate import pad_rows
from ...data.text.bpe import PAD
from ...errors import DataError
from ...formats import one_line
from ...measures import Alignment, SampleTable, ZeroShot, class_embeddings, prompts_of
from ...measures.alignment import KS
from ...measures.base import SampleMeasure
from ...measures.embeddings import directions
from ...measures.retrieval import RecallOfRanks, ranks
from ...plotting.embeddings import plot_embeddings, plot_similarities
from ...plotting.gallery import COLUMNS, plot_gallery
from ..settings.captions import CaptionsConfig
from .captions import CaptionProcessor, texts_of

QUERIES = 4
"""Rows of a gallery."""
COMPARED = 30
"""Pairs in the picture of the cosines."""
FEWEST_FOR_TSNE, MOST_FOR_TSNE = 10, 500
"""Pairs, and images and texts together, in the picture by t-SNE."""
AT_ONCE = 256
"""Texts that are encoded at once."""
RECALL, ZERO_SHOT = "recall", "zero-shot %"


class Encoded:
    """A measure that keeps the features of all pairs.

    Attributes:
        images: (N, C) features of the images.
        texts: (N, C) features of the texts.
        groups: (N,) equal for equal texts.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Array, Array, Array]] = []

    def update(self, outputs: Any, batch: Any) -> None:
        """Keep the features of a batch."""
        images, texts = outputs
        self._parts.append((to_numpy(images), to_numpy(texts), to_numpy(batch.groups)))

    def result(self) -> dict[str, float]:
        """Nothing."""
        return {}

    @property
    def images(self) -> Array:
        """See the class."""
        return np.concatenate([part[0] for part in self._parts])

    @property
    def texts(self) -> Array:
        """See the class."""
        return np.concatenate([part[1] for part in self._parts])

    @property
    def groups(self) -> Array:
        """See the class."""
        return np.concatenate([part[2] for part in self._parts])


class ZeroShotData(NamedTuple):
    """The needs of zero-shot classification: the measure, and the class (N,) of each sample."""

    measure: ZeroShot
    targets: NDArray[np.int32]


class Nearest(NamedTuple):
    """Candidates that are nearest to a query, with their cosines."""

    rows: list[int]
    cosines: list[float]


def groups_of(batch: Any) -> Array:
    """The groups of a batch."""
    groups: Array = batch.groups
    return groups


def features_of_images(model: Any, images: Array, device: str) -> Array:
    """The features (N, C) of images (N, channels, H, W)."""
    return to_numpy(model.image.forward(to_device(images, device))[0])


def features_of_texts(model: Any, processor: CaptionProcessor, texts: Sequence[str], device: str) -> Array:
    """The features (N, C) of texts; longer ones than the model reads are cut.

    Raises:
        DataError: if a text is empty, or has words that the model does not know.
    """
    tokenizer: Any = processor.tokenizer
    ids = [tokenizer.encode(text)[: processor.block_size] for text in texts]
    if not all(map(len, ids)):
        raise DataError("a text is empty: give some words")
    found = []
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        lengths = np.array([len(one) for one in some], np.int32)
        rows = to_device(pad_rows(some, tokenizer.special_id(PAD)), device)
        found.append(to_numpy(model.text.forward(rows, lengths=to_device(lengths, device))[0]))
    return np.concatenate(found)


def nearest(query: Array, candidates: Array, count: int) -> Nearest:
    """The ``count`` candidates (N, C) with the highest cosine to a query (1, C)."""
    cosines = directions(candidates) @ directions(query)[0]
    rows = np.argsort(-cosines, kind="stable")[:count]
    return Nearest(rows.tolist(), cosines[rows].tolist())


def nearest_texts(query: Array, candidates: Array, texts: Sequence[str], count: int) -> Nearest:
    """The ``count`` different texts whose features (N, C) have the highest cosine to a query (1, C).

    Of equal texts, the nearest one stands for all.
    """
    found = nearest(query, candidates, len(texts))
    first: dict[str, int] = {}
    for place, row in enumerate(found.rows):
        first.setdefault(texts[row], place)
    places = list(first.values())[:count]
    return Nearest([found.rows[i] for i in places], [found.cosines[i] for i in places])


def guess_loss(batches: Iterable[Any]) -> float:
    """The mean InfoNCE of a model to which all pairs are alike: ln of the number of candidates."""
    total = count = 0.0
    for batch in batches:
        same = (batch.groups[:, None] == batch.groups[None, :]).sum(axis=1)  # (B,) with itself
        total += float(np.log(len(same) - same + 1).sum())
        count += len(same)
    return total / count


def zero_shot_of(
    data: CaptionsConfig, model: Any, processor: CaptionProcessor, samples: ImageTextPairs, device: str
) -> ZeroShotData | None:
    """Classification by prompts, if the data has classes.

    Raises:
        DataError: if it has no such column, or a prompt has words that the model does not know.
    """
    if data.label is None:
        return None
    column = data.label if data.label in samples.records.columns else "label"  # readers of files call it so
    if column not in samples.records.columns:
        raise DataError(
            f"the data has no column {data.label!r} for data.label; it has {', '.join(samples.records.columns)}"
        )
    labels = [str(samples.records.without_image(row)[column]) for row in samples.rows.tolist()]
    classes = Classes(sorted(set(labels)))
    prompts = prompts_of(list(classes), data.prompts)
    features = features_of_texts(model, processor, [text for some in prompts for text in some], device)
    sizes = np.cumsum([len(some) for some in prompts])[:-1]
    measure = ZeroShot(class_embeddings(np.split(features, sizes)), targets=lambda targets: targets)
    numbers = {name: number for number, name in enumerate(classes)}
    return ZeroShotData(measure, np.array([numbers[label] for label in labels], np.int32))


def measure_retrieval(
    encoded: Encoded, zero_shot: ZeroShotData | None, data: str
) -> tuple[SampleTable, dict[str, float], list[str]]:
    """The measures of the features of all pairs.

    Args:
        encoded: the features.
        zero_shot: classification by prompts; ``None`` without classes.
        data: names the data, for comparisons.

    Returns:
        The table of the samples, the values for the screen, and lines below them.
    """
    images, texts, groups = encoded.images, encoded.texts, encoded.groups
    both = ranks(images, texts, groups), ranks(texts, images, groups)
    measures: dict[str, SampleMeasure] = {RECALL: RecallOfRanks(KS)}
    rows = {RECALL: RecallOfRanks(KS).rows(both, None)}
    if zero_shot is not None:
        measures[ZERO_SHOT] = zero_shot.measure
        rows[ZERO_SHOT] = zero_shot.measure.rows((images, texts), zero_shot.targets)
    table = SampleTable(measures, rows, {}, data)
    found = table.values()
    values: dict[str, float] = {}
    for way, name in (("text", ""), ("image", "reverse_")):
        values |= {f"{way} R@{k} %": found[f"{RECALL}_{name}top{k}"] for k in KS}
    values |= {f"{way} rank": float(np.median(one + 1)) for way, one in zip(("text", "image"), both, strict=True)}
    if zero_shot is not None:
        values[ZERO_SHOT] = found[ZERO_SHOT]
    alignment = Alignment()
    alignment.update((images, texts), None)
    said = ", ".join(f"{name} {value:.3f}" for name, value in alignment.result().items())
    chance = float(np.mean([(groups == one).mean() for one in groups]))
    notes = [
        "text R@k: the right text is among the k nearest to an image; image R@k: the reverse; rank: the median place",
        f"by chance, R@1 is {100 * chance:.2f} %; alignment: {said}",
    ]
    return table, values, notes


def draw_retrieval(encoded: Encoded, samples: ImageTextPairs, folder: Path) -> tuple[Path, ...]:
    """Images with their nearest texts and texts with their nearest images, cosines, and the features in a plane.

    Args:
        encoded: the features of all samples.
        samples: the samples.
        folder: the folder for the pictures.
    """
    images, texts, groups = encoded.images, encoded.texts, encoded.groups
    names = [one_line(texts_of(samples, i)[0]) for i in range(len(samples))]
    paths = tuple(folder / f"{name}.png" for name in ("texts_of_images", "images_of_texts", "cosines", "features"))
    rows = np.unique(np.linspace(0, len(samples) - 1, 2 * COLUMNS).astype(int)).tolist()
    said, good = [], []
    for row in rows:
        found = nearest_texts(images[row : row + 1], texts, names, 3).rows
        said.append("\n".join(_mark(names[i], bool(groups[i] == groups[row])) for i in found))
        good.append(bool(groups[found[0]] == groups[row]))
    images_shown = [samples[i].image for i in rows]
    plot_gallery(images_shown, said, paths[0], title="Images with their nearest texts", right=good)
    shown, said, good = [], [], []
    queries = np.unique(np.linspace(0, len(samples) - 1, QUERIES).astype(int)).tolist()
    for row in queries:
        for place, other in enumerate(nearest(texts[row : row + 1], images, COLUMNS).rows):
            shown.append(samples[other].image)
            right = bool(groups[other] == groups[row])
            said.append(f"{names[row] if not place else ''}\n{_mark(f'{place + 1}.', right)}")
            good.append(right)
    plot_gallery(shown, said, paths[1], title="Texts with their nearest images", right=good)
    some = np.unique(np.linspace(0, len(samples) - 1, COMPARED).astype(int))
    u, v = directions(images), directions(texts)
    plot_similarities(u[some] @ v[some].T, [names[i] for i in some.tolist()], paths[2])
    chosen = np.unique(np.linspace(0, len(samples) - 1, MOST_FOR_TSNE // 2).astype(int))
    vectors = np.concatenate([u[chosen], v[chosen]])
    plane = {"principal components": principal_components(vectors)}
    if find_spec("sklearn") is not None and len(chosen) >= FEWEST_FOR_TSNE and np.ptp(vectors) > 1e-6:
        plane["t-SNE"] = _tsne(vectors)
    plot_embeddings(plane, len(chosen), paths[3])
    return paths


def principal_components(vectors: Array, count: int = 2) -> Array:
    """The coordinates of vectors (N, C) along the directions in which they differ most, (N, ``count``).

    The sign of a direction is such that its largest coordinate is positive. Directions that are not there are 0.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    found = (u * s)[:, :count]
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    found = found * np.where(largest < 0, -1, 1)
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


def _tsne(vectors: Array) -> Array:
    """A plane in which near vectors stay near (van der Maaten and Hinton, 2008), by scikit-learn."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    with threadpool_limits(1, "openmp"):  # several threads wait for each other: 11 times as long on a busy machine
        found: Array = TSNE(2, perplexity=perplexity, init="random", random_state=0).fit_transform(vectors)
    return found


def _mark(text: str, right: bool) -> str:
    return f"{text} (right)" if right else text
