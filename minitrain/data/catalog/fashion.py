"""Photographs of clothes in ten classes: Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747)."""

from __future__ import annotations

from ...errors import DataError
from ..images.arrays import ImageArrays
from ..images.idx import read_idx
from .base import Entry, Files, Prepared, system_folder

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load_fashion(files: Files) -> Prepared:
    """Images ``(1, 28, 28)`` with the name of the class in ``label``; 5,000 of the 60,000 for training validate.

    Raises:
        DataError: if a file is missing or damaged, or a label is not one of the ten.
    """
    train, test = (_part(files, name) for name in ("train", "t10k"))
    rest, validation = train.split(1 / 12, seed=0)
    return Prepared(rest, validation, test)


def _part(files: Files, name: str) -> ImageArrays:
    images, labels = (read_idx(files(f"{name}-{kind}-ubyte.gz")) for kind in ("images-idx3", "labels-idx1"))
    if labels.ndim != 1 or labels.max() >= len(CLASSES):
        raise DataError(
            f"the labels of {name} are {labels.shape} up to {labels.max()}; there are {len(CLASSES)} classes"
        )
    return ImageArrays(images, label=[CLASSES[label] for label in labels.tolist()])


FASHION = Entry(
    name="fashion",
    title="70,000 grey photographs of clothes of 28 x 28 pixels in ten classes",
    licence="MIT (Zalando SE)",
    get="apt install dataset-fashion-mnist",
    load=load_fashion,
    find=lambda: system_folder("/usr/share/datasets/fashion-mnist"),
    files={
        "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    },
)
