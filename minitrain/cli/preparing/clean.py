"""``minitrain clean``: data without duplicates, personal data and unwanted texts, and a report of all that went."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..arguments import Parser, UsageError, did_you_mean
from ..failures import say, warn

if TYPE_CHECKING:
    from ...data.hygiene import Filter

_EPILOG = """\
The first of equal records stays. Personal data is replaced by <EMAIL>, <PHONE>, <CARD>, <IBAN>, <ID> and <IP>. Other
steps are taken if they are asked for. FOLDER gets data.txt or data.jsonl, removed.jsonl with each removed record and
the reason, masked.jsonl, report.json and report.md; it appears when all are complete.
Needs pip install 'minitrain[clean]'.

examples:
  minitrain clean notes.txt --to clean
  minitrain clean texts/ --to clean --records file --language en --quality
  minitrain clean train.jsonl --to clean --column text --held-out test.jsonl
  minitrain clean posts.tsv --to clean --blocklist words.txt --mark blocklist
  minitrain train data.path=clean/data.txt"""


def run(argv: Sequence[str]) -> int:
    """Clean the data that ``argv`` names; returns the exit code."""
    arguments = _parser().parse_args(argv)
    from ...data.hygiene import NearDuplicates, PersonalData, clean

    personal: dict[str, Any] = {"phone_regions": tuple(arguments.phone_region)}
    if arguments.personal is not None:
        personal["kinds"] = tuple(arguments.personal.split(","))
    near = None if arguments.keep_near else NearDuplicates(arguments.threshold, arguments.shingle)
    report = clean(
        arguments.source,
        arguments.to,
        unit=arguments.records,
        columns=arguments.column or None,
        filters=_filters(arguments),
        mark=arguments.mark,
        personal=None if arguments.personal == "none" else PersonalData(**personal),
        exact=not arguments.keep_exact,
        near=near,
        workers=arguments.workers,
        progress=_show if sys.stderr.isatty() else None,
    )
    say(report.describe())
    say(f"\n{report.data} has the records that were kept; removed.jsonl beside it has the others, with reasons.")
    if not report.kept:
        warn(f"nothing is left: see {report.folder}/removed.jsonl, or the table above")
    return 0


def _filters(arguments: argparse.Namespace) -> list[Filter]:
    """The filters that were asked for, cheap ones first."""
    from ...data.hygiene import Blocklist, HeldOut, Language, Quality

    found: list[Filter] = []
    if arguments.quality or arguments.limit:
        known = [field.name for field in fields(Quality)]
        limits = {}
        for given in arguments.limit:
            name, _, value = given.partition("=")
            if name not in known:
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                raise UsageError(f"--limit {given}: there is no limit {name!r}{hint}")
            try:
                limits[name] = float(value)
            except ValueError:
                raise UsageError(f"--limit {given}: write a number, as in {name}=5") from None
        found.append(Quality(**limits))
    found += [Blocklist.read(path) for path in arguments.blocklist]
    if arguments.language:
        found.append(Language(tuple(arguments.language)))
    if arguments.held_out:
        found.append(
            HeldOut.read(
                arguments.held_out,
                ngram=arguments.ngram,
                unit=arguments.records,
                columns=arguments.column or None,
            )
        )
    return found


def _show(records: int) -> None:
    print(f"\r{records:,} records", end="\r", file=sys.stderr, flush=True)


def _parser() -> Parser:
    parser = Parser("clean", description="Clean data before training.", epilog=_EPILOG)
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="a file of texts or records, or a folder of them")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument(
        "--records",
        choices=("blank", "line", "file", "label"),
        default="blank",
        help="a record of a text file: a paragraph between blank lines, a line, the file, a file in CLASS/ (blank)",
    )
    for name, metavar, purpose in (
        ("column", "NAME", "a column to look at and to mask (all)"),
        ("phone-region", "COUNTRY", "find phone numbers as they are written at home there, such as US"),
        ("language", "CODE", "a language to keep, such as en (all)"),
        ("blocklist", "FILE", "remove texts with a word or phrase of this list, one on each line"),
        ("limit", "NAME=VALUE", "change a limit of --quality, such as min_words=5"),
        ("held-out", "FILE", "remove texts that share words in a row with this evaluation set"),
        ("mark", "REASON", "only list what quality, blocklist, language or held_out finds, in marked.jsonl"),
    ):
        parser.add_argument(
            f"--{name}", metavar=metavar, action="append", default=[], help=f"{purpose}; may be repeated"
        )
    parser.add_argument("--quality", action="store_true", help="remove texts that break a rule of Gopher's")
    parser.add_argument("--personal", metavar="KINDS", help="mask these kinds alone, as in email,card; or none (all)")
    parser.add_argument("--keep-exact", action="store_true", help="keep exact duplicates")
    parser.add_argument("--keep-near", action="store_true", help="keep near duplicates")
    parser.add_argument(
        "--threshold", type=float, default=0.8, metavar="S", help="similarity of near duplicates, up to 1 (%(default)s)"
    )
    for name, default, purpose in (
        ("shingle", 5, "words in a run that near duplicates share"),
        ("ngram", 13, "words in a row that are shared with the evaluation set"),
        ("workers", 0, "processes beside this one"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{purpose} ({default})")
    return parser
