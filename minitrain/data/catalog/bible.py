"""The Bible verse by verse in two versions: of 1769 and of today, or in English and Spanish.

The versions are modules of the SWORD project, which `diatheke` prints. What it prints is text from elsewhere: its size
is limited, it has to be UTF-8, and marks and control characters are dropped.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Timer

from ...errors import DataError, printable
from ..records.memory import MemoryRecords
from .base import Entry, Files, Prepared, system_folder

Verse = tuple[str, int, int]
"""Book, chapter and verse."""

OLD, MODERN, SPANISH = "engKJV2006eb", "engWEB2015eb", "spaRV1909eb"
"""The King James Version, the World English Bible, the Reina-Valera of 1909."""
TEST_BOOKS = ("Mark", "Ruth", "Jonah")
VALIDATION_BOOKS = ("Philippians", "Habakkuk", "Esther")
_MODULES = "modules/texts/ztext"
_VERSE = re.compile(r"((?:I+ )?[A-Z][A-Za-z ]*) (\d{1,4}):(\d{1,4}): ?(.*)")
_MARKS = re.compile(r"<title.*?</title>|<[^>]*>")
_MODULE_NAME = re.compile(r"\(\w+\)")
_SECONDS = 300
_MOST_BYTES = 64_000_000


def load_verses(files: Files, source: str, target: str) -> Prepared:
    """The verses that two versions have, in ``source`` and ``target``, with their ``verse``.

    Mark, Ruth and Jonah are the test set; Philippians, Habakkuk and Esther validate. A verse that one of the two lacks,
    or has without words, is left out; ``broken`` of the training records counts and names them. Of a book that one of
    them lacks, the first verse is named.

    Raises:
        DataError: if a file is missing, or diatheke cannot print it.
    """
    for name in files.entry.files:
        files(name)
    assert files.folder is not None
    printer = partial(print_bible, files.folder, get=files.entry.get)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda version: read_verses(printer(version)), (source, target))
    rows: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    for verse, text in first.items():
        if text and (other := second.get(verse)):
            book = verse[0]
            part = "test" if book in TEST_BOOKS else "validation" if book in VALIDATION_BOOKS else "train"
            rows[part].append({"source": text, "target": other, "verse": _name(verse)})
    train = MemoryRecords(rows.pop("train"), broken="skip")
    for version, has, lacks in ((target, first, second), (source, second, first)):
        for verse, reason in _missing(has, lacks):
            train.broken.add(_name(verse), None, f"{version} lacks this {reason}")
    return Prepared(train, *map(MemoryRecords, rows.values()))


def _missing(has: Mapping[Verse, str], lacks: Mapping[Verse, str]) -> Iterator[tuple[Verse, str]]:
    """The verses of one version that another lacks; of books that it lacks, the first verse."""
    books = {verse[0] for verse in lacks}
    others = set[str]()
    for verse, text in has.items():
        if verse[0] not in books:
            if verse[0] not in others:
                others.add(verse[0])
                yield verse, "book"
        elif text and not lacks.get(verse):
            yield verse, "verse"


def _name(verse: Verse) -> str:
    return f"{verse[0]} {verse[1]}:{verse[2]}"


def print_bible(folder: Path, version: str, *, get: str) -> str:
    """A version as diatheke prints it.

    Args:
        folder: has the modules.
        version: the name of one.
        get: how to install diatheke.

    Raises:
        DataError: if diatheke is missing, fails, or prints too much or other things than text.
    """
    command = ["diatheke", "-b", version, "-f", "plain", "-k", "Gen 1:1-Rev 22:21"]
    place = {**os.environ, "SWORD_PATH": str(folder)}
    try:
        with subprocess.Popen(command, env=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            assert program.stdout is not None
            late = Timer(_SECONDS, program.kill)
            late.start()
            try:
                printed = program.stdout.read(_MOST_BYTES + 1)
                if len(printed) > _MOST_BYTES:
                    raise ValueError(f"it prints more than {_MOST_BYTES:,} bytes")
                if code := program.wait():
                    raise ValueError(f"its exit code is {code}")
            finally:
                late.cancel()
                program.kill()
        return printed.decode("utf-8")
    except FileNotFoundError as error:
        raise DataError(f"diatheke, which prints this data set, is not installed: {get}") from error
    except (OSError, ValueError) as error:
        raise DataError(printable(f"diatheke cannot print {version} from {folder}: {error!s:.200}")) from error


def read_verses(printed: str) -> dict[Verse, str]:
    """The verses that diatheke printed, each on one line.

    A verse may go on over several lines. Where a line with a verse is indented, the line before is the title of a
    psalm, which diatheke repeats for each verse. Other indented lines, and the module's name, are no verses.
    """
    verses: dict[Verse, list[str]] = {}
    lines: list[str] = []  # of the verse that is being read
    for line in printed.splitlines():
        text = _MARKS.sub("", line)
        found = _VERSE.fullmatch(text.strip())
        if found:
            if line.startswith("  ") and lines:
                lines.pop()
            lines = verses.setdefault((found[1], int(found[2]), int(found[3])), [])
            lines.append(found[4])
        elif text.startswith("   ") or _MODULE_NAME.fullmatch(text):
            lines = []
        else:
            lines.append(text)
    return {verse: _text(parts) for verse, parts in verses.items()}


def _text(parts: list[str]) -> str:
    """The words of a verse with single spaces; without paragraph signs and what cannot be printed."""
    words = " ".join(parts).replace("¶", " ").split()
    return " ".join("".join(letter for letter in word if letter.isprintable()) for word in words)


def _entry(name: str, title: str, licence: str, versions: tuple[str, str], packages: str) -> Entry:
    names = [f"{_MODULES}/{version}/{part}.bzz" for version in versions for part in ("nt", "ot")]
    return Entry(
        name=name,
        title=title,
        licence=licence,
        get=f"apt install diatheke {packages}",
        load=partial(load_verses, source=versions[0], target=versions[1]),
        find=lambda: system_folder("/usr/share/sword"),
        files={path: _SHA256[path] for path in names},
    )


_SHA256 = {
    f"{_MODULES}/{OLD}/nt.bzz": "135b6e70af49372f3a82c5d9cc3c00278f38dbb2c12af74ea8d4b54c18d0cd56",
    f"{_MODULES}/{OLD}/ot.bzz": "69f7e4e9b42ecef2e212ea957a388fccbeed1e3e333a38cf52e1b4064c6ce373",
    f"{_MODULES}/{MODERN}/nt.bzz": "5429389d9331b7a86901a73afa74f32d089cae3d5bd8dfe304b11808714a69ba",
    f"{_MODULES}/{MODERN}/ot.bzz": "4633066d3872f1a3e600d2d10e667a13cd6c32bf116ca971d3c8f288bc3ea453",
    f"{_MODULES}/{SPANISH}/nt.bzz": "7baf6b1e798b193315fed89d0e84e8e1a033d035316f66c78d456f5fb8c87e20",
    f"{_MODULES}/{SPANISH}/ot.bzz": "daae868e179e6cc884ad2c9429a9dfaf9745d61caa6dbb9da2a8b24ec3c01337",
}
BIBLE = _entry(
    "bible",
    "31,095 verses of the Bible in the English of 1769 and of today",
    "public domain (the King James Version has a Crown patent in the United Kingdom)",
    (OLD, MODERN),
    "sword-text-kjv sword-text-web",
)
BIBLE_ES = _entry(
    "bible_es",
    "31,077 verses of the Bible in the English of today and in Spanish of 1909",
    "public domain",
    (MODERN, SPANISH),
    "sword-text-web sword-text-sparv",
)
