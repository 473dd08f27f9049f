"""Cleans data before training: filters, masks and removes duplicates, and accounts for every record.

Records pass one after another, so the data may be larger than memory: what must be remembered of all of them is on
disk (`seen`). The results are functions of the files and the settings. The order in which files are given and the
number of processes change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError, did_you_mean
from ..text.corpus import PathLike
from .duplicates import NearDuplicates
from .filters import Filter, Finding
from .output import LinesFile, new_folder, refuse_if_full
from .personal import PersonalData
from .report import CleanReport
from .seen import SeenRecords
from .sources import Item, Source, inside_a_source, read_items, source_files
from .steps import Outcome, Steps

EXACT, NEAR = "duplicate", "near duplicate"
REMOVED, MARKED, MASKED, REPORT, PAGE = (
    "removed.jsonl",
    "marked.jsonl",
    "masked.jsonl",
    "report.json",
    "report.md",
)


def clean(
    sources: PathLike | Sequence[PathLike],
    to: PathLike,
    *,
    unit: str = "blank",
    columns: Sequence[str] | None = None,
    filters: Sequence[Filter] = (),
    mark: Sequence[str] = (),
    personal: PersonalData | None = None,
    exact: bool = True,
    near: NearDuplicates | None = None,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> CleanReport:
    """Clean records and write what is left, what was removed and why.

    The folder gets ``data.txt`` if all sources are texts, otherwise ``data.jsonl``; ``removed.jsonl`` with the number,
    place, reason and content of each removed record; ``masked.jsonl`` with the number, place and kinds for each masked
    one; ``marked.jsonl``, if something is marked; ``report.json`` and ``report.md``. It appears when all are complete.

    Of duplicates the first one stays, in the order of the files' paths. A near duplicate is one of a record that
    stays, by at least the threshold.

    Args:
        sources: text files, ``.jsonl``, ``.ndjson``, ``.tsv``, ``.csv`` and ``.parquet`` files, and folders of them.
        to: the folder to make.
        unit: what a record of a text file is: ``"blank"``, what stands between blank lines; ``"line"``; ``"file"``; or
            ``"label"``, a file in ``folder/CLASS/``, with its class as the column ``label``.
        columns: the columns whose texts are looked at and masked, in tables; ``None`` takes all.
        filters: in their order; the first with a finding removes a record.
        mark: reasons of filters that remove nothing: their findings are written to ``marked.jsonl``.
        personal: what is masked; ``None`` masks nothing, in ``removed.jsonl`` neither.
        exact: whether exact duplicates are removed.
        near: how near duplicates are found; ``None`` keeps them.
        workers: processes beside this one; 0 does everything here.
        progress: called with the number of records read, now and then.

    Raises:
        ConfigError: if a setting is not one, or a package is missing.
        DataError: if a source cannot be read or has no records, or the folder is not empty.
        FileError: if a file cannot be written.
    """
    if workers < 0:
        raise ConfigError(f"workers={workers} must be at least 0")
    reasons = [one.reason for one in filters]
    for name in mark:
        if name not in reasons:
            raise ConfigError(f"mark={name!r} is no filter here: {did_you_mean(name, reasons)}there are {reasons}")
    if isinstance(columns, str):
        raise ConfigError(f"columns={columns!r} must be a list of names, such as [{columns!r}]")
    folder = Path(os.path.expanduser(to))
    refuse_if_full(folder)
    if inside_a_source(folder, sources):
        raise DataError(f"{folder} is inside its own source: its files would count as data; choose another folder")
    files = source_files(sources, unit)
    steps = Steps(filters, mark, personal, exact, near, columns)
    name = "data.jsonl" if any(file.is_table for file in files) else "data.txt"
    report = CleanReport(folder, folder / name, [str(file.path) for file in files], _described(steps, unit))
    with new_folder(folder) as place, _Results(place, name, unit, marks=bool(mark)) as results:
        with SeenRecords(place / ".index", near) as seen:
            for outcome in steps.all(_items(files, unit, steps), workers):
                report.read += 1
                _settle(outcome, steps, seen, report, results)
                if progress and report.read % 1000 == 0:
                    progress(report.read)
        if not report.read:
            raise DataError(f"there are no records in {', '.join(report.files[:5])}")
        report.sha256 = results.close()
        results.note(REPORT, json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")
        results.note(PAGE, report.to_markdown())
    return report


def _items(files: Sequence[Source], unit: str, steps: Steps) -> Iterator[Item]:
    """All records. A column that was asked for must be there, or its texts would go through unseen."""
    for file in files:
        for item in read_items(file, unit):
            missing = [name for name in steps.columns or () if item.row is not None and name not in item.row]
            yield (
                item
                if not missing
                else item._replace(
                    row=None, reason=f"there is no column {missing[0]!r}", raw=json.dumps(item.row, ensure_ascii=False)
                )
            )


def _settle(outcome: Outcome, steps: Steps, seen: SeenRecords, report: CleanReport, results: _Results) -> None:
    """Decide whether a record stays, count it and write it."""
    number, place = report.read, outcome.item.place
    cause: tuple[str, Finding] | None = None
    for reason, finding in outcome.findings:
        if reason in steps.mark:
            report.marked[reason, finding.rule] += 1
            results.mark(number, place, reason, finding)
        else:
            cause = reason, finding
    if cause is None and (twin := seen.twin(outcome.digest, outcome.signature)):
        detail = {"of": twin.number, "of_place": twin.place}
        if twin.similarity is None:
            cause = EXACT, Finding("", detail)
        else:
            report.add_similarity(twin.similarity)
            cause = NEAR, Finding("", {**detail, "similarity": round(twin.similarity, 4)})
    if cause is not None:
        report.removed[cause[0], cause[1].rule] += 1
        results.remove(number, outcome.item, *cause)
        return
    seen.add(number, place, outcome.digest, outcome.signature)
    report.kept += 1
    report.masked += outcome.masked
    report.masked_records += bool(outcome.masked)
    results.keep(number, outcome.item, outcome.masked)


class _Results:
    """The files of the results while they are written."""

    def __init__(self, folder: Path, name: str, unit: str, *, marks: bool) -> None:
        self.folder, self.name, self.unit = folder, name, unit
        names = [name, REMOVED, MASKED, *[MARKED] * marks]
        self._files = {one: LinesFile(folder / one) for one in names}
        self._empty = True

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # the error that ended the block matters more
                file.close()

    def keep(self, number: int, item: Item, masked: Counter[str]) -> None:
        assert item.row is not None
        if self.name.endswith(".jsonl"):
            self._files[self.name].write_json(item.row)
        else:
            between = "" if self._empty or self.unit == "line" else "\n"
            self._files[self.name].write(f"{between}{item.row['text']}\n")
        self._empty = False
        if masked:
            kinds = dict(sorted(masked.items()))
            self._files[MASKED].write_json({"number": number, "place": item.place, "kinds": kinds})

    def remove(self, number: int, item: Item, reason: str, finding: Finding) -> None:
        fields = _fields(number, item.place, reason, finding)
        content = {"raw": item.raw} if item.row is None else {"record": item.row}
        self._files[REMOVED].write_json(fields | content)

    def mark(self, number: int, place: str, reason: str, finding: Finding) -> None:
        self._files[MARKED].write_json(_fields(number, place, reason, finding))

    def note(self, name: str, text: str) -> None:
        file = LinesFile(self.folder / name)
        file.write(text)
        file.close()

    def close(self) -> str:
        """Close all; returns the SHA-256 of what was kept."""
        return {name: file.close() for name, file in self._files.items()}[self.name]


def _fields(number: int, place: str, reason: str, finding: Finding) -> dict[str, Any]:
    rule = {"rule": finding.rule} if finding.rule else {}
    return {"number": number, "place": place, "reason": reason, **rule, "detail": dict(finding.detail)}


def _described(steps: Steps, unit: str) -> list[str]:
    """The steps with their settings."""
    parts: list[Any] = [*steps.filters, steps.personal, steps.near]
    found = [repr(part) for part in parts if part is not None]
    found += [f"exact={steps.exact}", f"unit={unit!r}", f"columns={steps.columns!r}", f"mark={list(steps.mark)!r}"]
    return found
