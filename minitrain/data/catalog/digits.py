"""Handwritten digits of 8 x 8 pixels, which scikit-learn carries."""

from __future__ import annotations

import gzip
import zlib

import numpy as np

from ...errors import DataError
from ..images.arrays import ImageArrays
from .base import Entry, Files, Prepared, package_folder

_FILE = "digits.csv.gz"
_SIDE, _BRIGHTEST = 8, 16


def load_digits(files: Files) -> Prepared:
    """Images ``(1, 8, 8)`` and their digit in ``label``: a fifth at random is the test set, a tenth validates.

    Raises:
        DataError: if the file is missing or damaged.
    """
    path = files(_FILE)
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.array([line.split(",") for line in file], dtype=np.float64)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no packed table of numbers: {error}") from error
    if table.shape[1:] != (_SIDE**2 + 1,) or not 0 <= table.min() <= table.max() <= _BRIGHTEST:
        raise DataError(f"{path} does not have 64 pixels from 0 to 16 and a digit in each row")
    images = np.rint(table[:, :-1].reshape(-1, _SIDE, _SIDE) * (255 / _BRIGHTEST)).astype(np.uint8)
    rest, test = ImageArrays(images, label=table[:, -1].astype(np.int64)).split(0.2, seed=0)
    train, validation = rest.split(0.125, seed=1)
    return Prepared(train, validation, test)


DIGITS = Entry(
    name="digits",
    title="1,797 handwritten digits of 8 x 8 pixels",
    licence="CC BY 4.0 (UCI machine learning repository)",
    get="pip install scikit-learn",
    load=load_digits,
    find=lambda: package_folder("sklearn", "datasets", "data"),
    files={_FILE: "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"},
)
