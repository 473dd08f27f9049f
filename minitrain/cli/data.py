"""``minitrain data``: the data sets that minitrain knows by name; whether one is there, and what is in it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import printable
from .arguments import Parser
from .failures import say

if TYPE_CHECKING:
    from ..data.catalog.base import Entry

SHOWN = 3
_LONGEST = 100

_EPILOG = """\
Nothing is downloaded. A data set comes with a package that you install, or is generated; its files are compared
with the SHA-256 that the published figures were measured on.

examples:
  minitrain data                                       all data sets
  minitrain data cmudict                               look for one, check it, show some of it
  minitrain data fashion --path FOLDER                 files that lie elsewhere
  minitrain data cmudict --path mine --unchecked       files of your own of the same kind
  minitrain train recipe=g2p                           train on it"""


def run(argv: Sequence[str]) -> int:
    """List the data sets, or show the one that ``argv`` names; returns the exit code."""
    arguments = _parser().parse_args(argv)
    from ..data.catalog.entries import CATALOG, data_set

    if arguments.name is None:
        width = max(map(len, CATALOG)) + 2
        for entry in CATALOG.values():
            say(f"{entry.name:<{width}}{entry.title}")
            if entry.get:
                say(f"{'':<{width}}{entry.licence}\n{'':<{width}}{'found' if entry.find() else entry.get}")
        return 0
    entry = data_set(arguments.name)
    say(_describe(entry))
    found = entry.prepare(arguments.path, check=not arguments.unchecked)
    checked = "not checked" if arguments.unchecked else "all SHA-256 as expected"
    say(f"files      {checked if entry.get else 'none: generated'}")
    for name, records in found._asdict().items():
        say(f"{name:<11}{len(records):,} records of {', '.join(records.columns)}")
        if records.broken.count:
            say(f"{'':<11}{records.broken.describe()}")
    say(f"\nthe first {SHOWN} to train on:")
    for index in range(min(SHOWN, len(found.train))):
        say(f"  {_shown(found.train[index])}")
    return 0


def _describe(entry: Entry) -> str:
    more = [f"licence    {entry.licence}", f"get it     {entry.get}"] if entry.get else []
    return "\n".join([f"{entry.name}: {entry.title}", *more])


def _shown(record: Mapping[str, Any]) -> str:
    """A record in one line."""
    parts = []
    for name, value in record.items():
        if hasattr(value, "shape"):
            text = f"{value.dtype} {value.shape}"
        else:
            text = printable(json.dumps(value, ensure_ascii=False, default=str))
        parts.append(f"{name}: {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}")
    return "  ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("data", description="The data sets that minitrain knows by name.", epilog=_EPILOG)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set; without it, all are listed")
    parser.add_argument("--path", metavar="FOLDER", help="where its files are, if no package put them in place")
    parser.add_argument("--unchecked", action="store_true", help="take other files of the same kind")
    return parser
