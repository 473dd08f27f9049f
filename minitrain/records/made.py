"""The outputs of a model for a few held-out inputs at each evaluation: files in a run folder, and a table of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import DataError
from ..files import parse_json
from ..folder import RunFolder
from ..folder.names import SAMPLES

MOST_STEPS = 6
"""Steps in a table."""
LONGEST = 300
"""Characters of a text that are kept."""
LARGEST = 100_000
"""Bytes of a file."""
NAME = re.compile(r"step-(\d{8,15})\.json")


class Made(NamedTuple):
    """The output of a model for one input.

    Attributes:
        given: the input, or its name if it is no text.
        right: the right output.
        made: the model's output.
        good: whether that is right.
    """

    given: str
    right: str
    made: str
    good: bool


def write_made(folder: RunFolder, step: int, made: Sequence[Made]) -> None:
    """Keep what the model made at a step.

    Raises:
        FileError: if it cannot be written.
    """
    folder.make(SAMPLES)
    rows = [[*(text[:LONGEST] for text in one[:3]), one.good] for one in made]
    folder.write(f"{SAMPLES}/step-{step:08d}.json", json.dumps(rows).encode() + b"\n")


def read_made(folder: RunFolder) -> dict[int, list[Made]]:
    """The kept outputs by step: of many steps the first, the last, and some between.

    Raises:
        DataError: if a file is damaged.
        FileError: if one cannot be read.
    """
    place = folder.file(SAMPLES)
    names = os.listdir(place) if place.is_dir() else []
    steps = sorted({int(match[1]): name for name in names if (match := NAME.fullmatch(name))}.items())
    if len(steps) > MOST_STEPS:
        steps = [steps[round(i * (len(steps) - 1) / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]
    return {step: _read(folder, f"{SAMPLES}/{name}") for step, name in steps}


def by_input(made: Mapping[int, Sequence[Made]]) -> list[dict[int, Made]]:
    """For each input what was made of it, by step."""
    most = max(map(len, made.values()), default=0)
    return [{step: rows[i] for step, rows in made.items() if i < len(rows)} for i in range(most)]


def _read(folder: RunFolder, name: str) -> list[Made]:
    try:
        rows = parse_json(folder.read(name, LARGEST), containers=1000)
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and [type(one) for one in row] == [str, str, str, bool] for row in rows
        ):
            raise ValueError("it is not a list of three texts and a yes or no each")
    except ValueError as error:
        raise DataError(f"{folder.path / name} is damaged: {error}; delete it to go on without it") from error
    return [Made(*row) for row in rows]
