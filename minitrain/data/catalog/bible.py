"""The Bible in the English of 1769 and of today, verse by verse: the King James Version and the World English Bible."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import DataError, printable
from ..records.memory import MemoryRecords
from .base import Entry, Files, Prepared, system_folder

Verse = tuple[str, int, int]
"""Book, chapter and verse."""

VERSIONS = {"source": "engKJV2006eb", "target": "engWEB2015eb"}
TEST_BOOKS = ("Mark", "Ruth", "Jonah")
VALIDATION_BOOKS = ("Philippians", "Habakkuk", "Esther")
_MODULES = "modules/texts/ztext"
_VERSE = re.compile(r"((?:I+ )?[A-Z][A-Za-z ]*) (\d+):(\d+): ?(.*)")
_MARKS = re.compile(r"<title.*?</title>|<[^>]*>")
_SECONDS = 300


def load_bible(files: Files) -> Prepared:
    """Verses in ``source``, old, and ``target``, modern, with their ``verse``; the words of the same verse.

    Mark, Ruth and Jonah are the test set, Philippians, Habakkuk and Esther validate. Verses that one of the
    versions lacks are left out.

    Raises:
        DataError: if a file is missing, or diatheke cannot print it.
    """
    for name in BIBLE.files:
        files(name)
    assert files.folder is not None
    folder = files.folder
    with ThreadPoolExecutor() as pool:
        old, new = pool.map(lambda version: read_verses(print_bible(folder, version)), VERSIONS.values())
    rows: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    for verse, source in old.items():
        if source and (target := new.get(verse)):
            book, chapter, number = verse
            part = "test" if book in TEST_BOOKS else "validation" if book in VALIDATION_BOOKS else "train"
            rows[part].append({"source": source, "target": target, "verse": f"{book} {chapter}:{number}"})
    return Prepared(*map(MemoryRecords, rows.values()))


def print_bible(folder: Path, version: str) -> str:
    """A version as diatheke prints it.

    Raises:
        DataError: if diatheke is missing or fails.
    """
    command = ["diatheke", "-b", version, "-f", "plain", "-k", "Gen 1:1-Rev 22:21"]
    try:
        done = subprocess.run(
            command, env={**os.environ, "SWORD_PATH": str(folder)}, capture_output=True, timeout=_SECONDS, check=True
        )
        return done.stdout.decode("utf-8")
    except FileNotFoundError as error:
        raise DataError(f"diatheke, which prints the data set bible, is not installed: {BIBLE.get}") from error
    except (subprocess.SubprocessError, UnicodeDecodeError) as error:
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
        elif text.startswith("   ") or (text.startswith("(") and text.strip("()\n") in VERSIONS.values()):
            lines = []
        else:
            lines.append(text)
    return {verse: " ".join(" ".join(parts).replace("¶", " ").split()) for verse, parts in verses.items()}


BIBLE = Entry(
    name="bible",
    title="31,095 verses of the Bible in the English of 1769 and of today",
    licence="public domain (the King James Version has a Crown patent in the United Kingdom)",
    get="apt install diatheke sword-text-kjv sword-text-web",
    load=load_bible,
    find=lambda: system_folder("/usr/share/sword"),
    files={
        f"{_MODULES}/engKJV2006eb/nt.bzz": "135b6e70af49372f3a82c5d9cc3c00278f38dbb2c12af74ea8d4b54c18d0cd56",
        f"{_MODULES}/engKJV2006eb/ot.bzz": "69f7e4e9b42ecef2e212ea957a388fccbeed1e3e333a38cf52e1b4064c6ce373",
        f"{_MODULES}/engWEB2015eb/nt.bzz": "5429389d9331b7a86901a73afa74f32d089cae3d5bd8dfe304b11808714a69ba",
        f"{_MODULES}/engWEB2015eb/ot.bzz": "4633066d3872f1a3e600d2d10e667a13cd6c32bf116ca971d3c8f288bc3ea453",
    },
)
