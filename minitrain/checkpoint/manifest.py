"""The names and the manifest of a checkpoint: which files there are, how large, with which SHA-256 sums.

A manifest vouches for the files beside it, so it is read with most suspicion of all: it must be, byte for byte, the
text that is written for what it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .. import files
from ..errors import CheckpointError

FORMAT, VERSION = "minitrain checkpoint", 3
MODEL, OPTIMIZER, EXTRA = "model.safetensors", "optimizer.safetensors", "extra.safetensors"
STATE, MANIFEST = "state.json", "manifest.json"
_ALL = {MODEL, OPTIMIZER, EXTRA, STATE}
CONTENTS = {1: {MODEL, OPTIMIZER, STATE}, 2: _ALL, 3: _ALL}
"""The files of each version of the format, besides the manifest. Version 2 had the history of metrics in its state."""
SHARDED = 4
"""The version of checkpoints that several ranks wrote: `EXTRA`, `STATE`, and a shard of each rank."""
MOST_SHARDS = 4096
LARGEST_MANIFEST = 1_000_000
"""Bytes; a manifest has some 700, and 200 more for each shard."""
FILES = (MODEL, OPTIMIZER, EXTRA, STATE, MANIFEST)
_SHARD = re.compile(r"shard-\d{5}-of-(\d{5})\.safetensors")
_NAME = re.compile(r"(?:step-(\d{8,})|epoch-(\d{4,})-.+)")

Location: TypeAlias = Path | str
"""Where a checkpoint is: a path, or the URL of a remote one, such as ``s3://bucket/run/step-00000500``."""


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after ``step`` updates, e.g. ``step-00000500``."""
    return f"step-{step:08d}"


def step_of(path: Location) -> int | None:
    """The step or the epoch in a checkpoint's folder name, or ``None`` if the name is not a checkpoint's."""
    match = _NAME.fullmatch(Path(path).name)
    return int(match[1] or match[2]) if match else None


def shard_name(rank: int, ranks: int) -> str:
    """The file of a rank, e.g. ``shard-00001-of-00004.safetensors`` for rank 0 of 4."""
    return f"shard-{rank + 1:05d}-of-{ranks:05d}.safetensors"


def shards_in(names: Iterable[str]) -> list[str]:
    """The shards among the files of a checkpoint, by rank; none if one is missing."""
    found = [match for match in map(_SHARD.fullmatch, names) if match]
    ranks = int(found[0][1]) if found else 0
    every = [shard_name(rank, ranks) for rank in range(ranks if ranks <= MOST_SHARDS else 0)]
    return every if {match[0] for match in found} == set(every) else []


def is_complete(version: int, names: Collection[str]) -> bool:
    """Whether these are the files of a checkpoint of that version."""
    if version == SHARDED:
        return bool(shards := shards_in(names)) and set(names) == {EXTRA, STATE, *shards}
    return set(names) == CONTENTS.get(version)


class Entry(NamedTuple):
    """A file of a checkpoint: its size in bytes, and its SHA-256 as hexadecimal digits."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """Version of the format, step of the checkpoint, and its files by name."""

    version: int
    step: int
    files: dict[str, Entry]

    def to_json(self) -> bytes:
        """The content of its file."""
        entries = {name: entry._asdict() for name, entry in self.files.items()}
        return json_bytes({"format": FORMAT, "version": self.version, "step": self.step, "files": entries})


def read_manifest(path: Path) -> Manifest:
    """The manifest in the folder ``path``.

    Raises:
        CheckpointError: if it is missing, if a byte of it was changed, or if its version is newer than this one.
    """
    content = read_bytes(path / MANIFEST, LARGEST_MANIFEST)
    manifest = parse_json(path / MANIFEST, content)
    match manifest:
        case {"format": "minitrain checkpoint", "version": int(version)} if version > SHARDED:
            raise CheckpointError(
                f"{path} was written by a newer minitrain (format version {version}, this one reads up to "
                f"{SHARDED}); upgrade minitrain"
            )
        case {
            "format": "minitrain checkpoint",
            "version": int(version),
            "step": int(step),
            "files": dict(entries),
        } if is_complete(version, entries) and _is_canonical(manifest, content):
            if step_of(path) not in (None, step):
                raise CheckpointError(f"{path} is damaged: its manifest is that of step {step}")
            return Manifest(version, step, {name: _entry(path, entry) for name, entry in entries.items()})
    raise CheckpointError(f"{path / MANIFEST} is damaged: it does not describe a checkpoint")


def _is_canonical(value: Any, content: bytes) -> bool:
    """Whether ``content`` is the very text that this module writes for ``value``."""
    try:
        return json_bytes(value) == content
    except RecursionError:  # newer Pythons parse deeper than they write
        return False


def _entry(path: Path, entry: Any) -> Entry:
    match entry:
        case {"size": int(size), "sha256": str(sha256)}:
            return Entry(size, sha256)
    raise CheckpointError(f"{path / MANIFEST} is damaged: it lacks the size or the SHA-256 of a file")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of a checkpoint.

    Args:
        path: the file.
        limit: more bytes than it can have.

    Raises:
        CheckpointError: if it is missing, no regular file or larger, or cannot be read.
    """
    try:
        return files.read_file(path, limit, links=False)
    except files.FileError as error:
        raise CheckpointError(str(error)) from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a complete checkpoint: {path.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_json(path: Path, content: bytes) -> Any:
    """Parse the JSON ``content`` of file ``path``.

    Raises:
        CheckpointError: if it is not JSON, or a name stands twice in an object of it.
    """
    try:
        return files.parse_json(content)
    except ValueError as error:  # not JSON, not UTF-8
        raise CheckpointError(f"{path} is damaged: it is not JSON ({error})") from error


def json_bytes(value: Any) -> bytes:
    """``value`` as JSON, NaN and infinity too."""
    return json.dumps(value, indent=2).encode() + b"\n"
