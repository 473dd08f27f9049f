"""Names of the jobs of a sweep, which are the names of their folders."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 100
"""Bytes of a name, at most. File systems allow 255, and temporary files put something in front and behind."""


def job_name(number: int, width: int, chosen: Sequence[tuple[str, str]]) -> str:
    """The name of a job: its number, then the values that set it apart, such as ``03_learning_rate=1e-3,n_layer=2``.

    The number makes it unique. The values are there to be read: signs that a path cannot hold everywhere become
    ``_``, and what is too long is cut off.

    Args:
        number: of the job, from 0.
        width: digits of the number, so that names sort like numbers.
        chosen: settings and their values.
    """
    label = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in chosen)
    name = f"{number:0{width}}_{re.sub(r'[^A-Za-z0-9.=,+_-]', '_', label)}"
    return name[:LONGEST].rstrip(".")  # Windows drops a point at the end
