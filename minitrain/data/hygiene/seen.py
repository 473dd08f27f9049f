"""The records that were kept so far, on disk, to find duplicates of them.

datasketch's own index keeps about 3 kB for each record in memory, or needs a Redis or Cassandra server. Here its
signatures and bands are in a temporary SQLite file, so memory does not grow with the number of records.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import NamedTuple

from ...files import Closing, FileError, file_error
from .duplicates import NearDuplicates, similarity

COMPARED = 256
"""The most candidates that a record is compared with: those that share the most bands."""


class Twin(NamedTuple):
    """A record that was kept, of which another one is a duplicate.

    Attributes:
        number: of the record.
        place: where it is from.
        similarity: estimated; ``None`` for an exact duplicate.
    """

    number: int
    place: str
    similarity: float | None


class SeenRecords(Closing):
    """An index of records by their content.

    Args:
        path: the file of the index.
        near: how near duplicates are found; ``None`` finds exact ones alone.

    Raises:
        FileError: if the file cannot be made.
    """

    def __init__(self, path: Path, near: NearDuplicates | None) -> None:
        self.path, self.near = path, near
        try:
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.executescript(
                "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;"
                "CREATE TABLE kept (number INTEGER PRIMARY KEY, place TEXT, signature BLOB);"
                "CREATE TABLE exact (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;"
                "CREATE TABLE bands (key BLOB, number INTEGER, PRIMARY KEY (key, number)) WITHOUT ROWID;"
                "BEGIN;"
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def twin(self, digest: bytes, signature: bytes) -> Twin | None:
        """The record of which another one is a duplicate: an exact one, or else the most similar, or the first of them.

        Args:
            digest: of the other one; empty if exact duplicates may stay.
            signature: of the other one; empty if it has no words.
        """
        try:
            row = self._base.execute(
                "SELECT number, place FROM exact JOIN kept USING (number) WHERE digest = ?", (digest,)
            ).fetchone()
            if row is not None:
                return Twin(row[0], row[1], None)
            return self._near_twin(signature) if self.near and signature else None
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def add(self, number: int, place: str, digest: bytes, signature: bytes) -> None:
        """Take up a record that is kept."""
        try:
            self._base.execute("INSERT INTO kept VALUES (?, ?, ?)", (number, place, signature))
            if digest:
                self._base.execute("INSERT INTO exact VALUES (?, ?)", (digest, number))
            if self.near and signature:
                rows = [(key, number) for key in self.near.keys(signature)]
                self._base.executemany("INSERT INTO bands VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Remove the file."""
        self._base.close()
        self.path.unlink(missing_ok=True)

    def _near_twin(self, signature: bytes) -> Twin | None:
        assert self.near is not None
        keys = list(self.near.keys(signature))
        rows = self._base.execute(
            "SELECT number, place, signature FROM (SELECT number FROM bands WHERE key IN "
            f"({','.join('?' * len(keys))}) GROUP BY number ORDER BY count(*) DESC, number LIMIT {COMPARED}) "
            "JOIN kept USING (number) ORDER BY number",
            keys,
        ).fetchall()
        if not rows:
            return None
        similarities = similarity(signature, [row[2] for row in rows])
        best = int(similarities.argmax())
        if similarities[best] < self.near.threshold:
            return None
        return Twin(rows[best][0], rows[best][1], float(similarities[best]))

    def _failed(self, error: sqlite3.Error) -> FileError:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        code = errno.ENOSPC if full else errno.EIO
        failure = file_error("keep the index of records in", self.path, OSError(code, str(error)))
        failure.errno = code  # the disk failed, not the user
        return failure
