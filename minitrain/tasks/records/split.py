"""The records of a run: opened where they lie, some held out, and known again when the run is continued.

Records may be large and stay where they are. The run folder keeps their fingerprints, and a run goes on only while they
are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...data.catalog.entries import data_set
from ...data.images.kept import KeptImages
from ...data.records.base import Records
from ...data.records.broken import BrokenItems
from ...errors import DataError
from ...files import parse_json
from ...folder import RunFolder
from ...folder.names import RECORDS
from ..settings.records import RecordsConfig


class RecordSplit(NamedTuple):
    """The records of a run: to train and to validate on.

    Attributes:
        train: to train on.
        val: held out; the evaluations during a training use it.
        test: the test set, for the finished model; ``val`` if there is no other.
    """

    train: Records
    val: Records
    test: Records


def open_split(data: RecordsConfig, read: Callable[[str], Records], *, seed: int) -> RecordSplit:
    """The records that settings name.

    Args:
        data: the settings.
        read: opens the records at a path.
        seed: of what is held out.

    Raises:
        DataError: if they are missing or broken, or too few to hold some out.
    """
    check_there(data)
    if data.dataset is not None:
        found = data_set(data.dataset).prepare(data.path, check=data.verify)
        return _kept(data, RecordSplit(found.train, found.validation, found.test))
    assert data.path is not None
    if data.val_path is not None:
        val = read(data.val_path)
        return _kept(data, RecordSplit(read(data.path), val, val))
    train, val = read(data.path).split(data.val_fraction, seed=seed)
    return _kept(data, RecordSplit(train, val, val))


def _kept(data: RecordsConfig, split: RecordSplit) -> RecordSplit:
    """The records with their images in memory, if settings say so; equal parts stay the same object."""
    if not getattr(data, "keep", False):
        return split
    made = {id(part): KeptImages(part) for part in split}
    return RecordSplit(*(made[id(part)] for part in split))


def check_there(data: RecordsConfig) -> None:
    """Check that the data is there, without reading it.

    Raises:
        DataError: if it is not, or there is no such data set.
    """
    if data.dataset is not None and not data_set(data.dataset).files and data.path is not None:
        raise DataError(
            f"data.path={data.path} is not for the data set {data.dataset}, which has no files: leave it out, or give "
            "data.dataset=null to use your own files"
        )
    for path in (data.path, data.val_path):
        if path is not None and not Path(path).expanduser().exists():
            raise DataError(f"there is no {path}")


D = TypeVar("D", bound=RecordsConfig)


def save_split(split: RecordSplit, data: D, folder: RunFolder) -> D:
    """Write down which records a run began with.

    Returns:
        The settings, with paths that hold wherever the run is taken up.

    Raises:
        FileError: if the file cannot be written.
    """
    folder.make(str(Path(RECORDS).parent))
    kept = {name: {"records": len(part), "fingerprint": part.fingerprint} for name, part in split._asdict().items()}
    folder.write(RECORDS, json.dumps(kept, indent=1).encode() + b"\n")
    paths = {name: value for name, value in data.to_dict().items() if name.endswith("path") and value is not None}
    kept_paths: dict[str, Any] = {name: str(Path(path).expanduser().resolve()) for name, path in paths.items()}
    return replace(data, **kept_paths)


def check_fingerprints(split: RecordSplit, folder: RunFolder) -> None:
    """Check that these are the records that a run began with.

    Raises:
        DataError: if they are not, or what was written down is damaged.
    """
    try:
        kept = parse_json(folder.read(RECORDS))
        wanted = {name: kept[name]["fingerprint"] for name in split._fields}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder.path / RECORDS} is damaged: {error}") from error
    for name, part in split._asdict().items():
        if part.fingerprint != wanted[name]:
            raise DataError(
                f"the {name} data is not that which the run in {folder.path} began with: put the files back as they "
                "were, or start a new run on the new data, with init_from=RUN for its weights"
            )


def describe_split(split: RecordSplit, what: str, source: str, samples: Iterable[Any] = ()) -> str:
    """The numbers of records in words, with those left out and cut.

    Args:
        split: the records.
        what: what a record is.
        source: where they are from.
        samples: what was made of the parts, which leaves some out and cuts others.
    """
    found = f"{len(split.train):,} training and {len(split.val):,} validation {what} of {source}"
    parts = list({id(one): one for one in samples}.values())
    broken = {id(one): one.count for part in (*split, *parts) for one in _broken_of(part)}
    left_out = sum(broken.values()) + sum(getattr(part, "skipped", 0) for part in parts)
    cut = sum(getattr(part, "truncated", 0) for part in parts)
    told = [f"{count:,} {how}" for count, how in ((left_out, "left out"), (cut, "cut")) if count]
    return f"{found}; {', '.join(told)}" if told else found


def _broken_of(records: Any) -> Iterator[BrokenItems]:
    """Notes on what was left out of records, and of those that they are made of."""
    while records is not None:
        if isinstance(broken := getattr(records, "broken", None), BrokenItems):
            yield broken
        records = getattr(records, "records", None)
