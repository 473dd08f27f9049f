"""Handwritten digits of 8 x 8 pixels, which scikit-learn carries."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from ...errors import DataError
from ..images.arrays import ImageArrays
from .base import Entry, Files, Prepared


def load_digits(files: Files) -> Prepared:
    """Images ``(1, 8, 8)`` and their digit in ``label``: a fifth at random is the test set, a tenth validates.

    Raises:
        DataError: if scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise DataError(f"the data set digits is part of scikit-learn, which is not installed: {DIGITS.get}")
    from sklearn.datasets import load_digits as sklearn_digits

    found = sklearn_digits()
    # Its pixels go from 0 to 16.
    images = ImageArrays(np.rint(found.images * (255 / 16)).astype(np.uint8), label=found.target)
    rest, test = images.split(0.2, seed=0)
    train, validation = rest.split(0.125, seed=1)
    return Prepared(train, validation, test)


DIGITS = Entry(
    name="digits",
    title="1,797 handwritten digits of 8 x 8 pixels",
    licence="CC BY 4.0 (UCI machine learning repository)",
    get="pip install scikit-learn",
    load=load_digits,
)
