"""The members of a tar archive from anywhere: where their bytes are. Nothing is unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ...errors import DataError, printable

BLOCK = 512
MAX_NAME_BYTES = 1 << 16
_LONG_NAME = tarfile.GNUTYPE_LONGNAME
_SKIPPED = (tarfile.DIRTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: its path.
        start: where its bytes begin in the archive.
        size: how many there are.
    """

    name: str
    start: int
    size: int


def members(file: Any, size: int, archive: str, *, max_bytes: int) -> Iterator[Member]:
    """The regular files of an archive without compression, in order.

    Args:
        file: the archive, open for reading bytes, with ``seek``.
        size: its size.
        archive: its name, for messages.
        max_bytes: the largest member.

    Raises:
        DataError: if it is no tar archive or damaged, or a member is no regular file, is too large, or has a name that
            leads somewhere else.
    """
    position, long_name = 0, None
    while position < size:
        file.seek(position)
        block = file.read(BLOCK)
        if len(block) == BLOCK and not block.strip(b"\0"):
            return  # the end of the archive
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _refused(archive, f"at byte {position} is no member of a tar archive ({error})") from error
        start = position + BLOCK
        if not 0 <= header.size <= size - start:
            raise _refused(archive, f"{header.name} has {header.size:,} bytes, more than the rest of the archive")
        position = start + -(-header.size // BLOCK) * BLOCK
        if header.type in (_LONG_NAME, tarfile.XHDTYPE):
            if header.size > MAX_NAME_BYTES:
                raise _refused(archive, f"a name has {header.size:,} bytes, more than {MAX_NAME_BYTES:,}")
            content = file.read(header.size)
            long_name = _gnu_name(content) if header.type == _LONG_NAME else _pax_path(content, archive) or long_name
            continue
        if header.type in _SKIPPED:
            continue
        name, long_name = long_name or header.name, None
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _refused(archive, f"{name} is a link or a device, and only files are read")
        if header.size > max_bytes:
            raise _refused(archive, f"{name} has {header.size:,} bytes, more than {max_bytes:,}")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or not parts or "\\" in name or "\0" in name:
            raise _refused(archive, f"the name {name!r} leads out of the archive")
        yield Member(name.removeprefix("./"), start, header.size)


def _gnu_name(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _pax_path(content: bytes, archive: str) -> str | None:
    """The ``path`` of an extended header, which has records of length, key and value; a size is not allowed."""
    path = None
    while content:
        length, space, rest = content.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 2 < int(length[:6]) <= len(content):
            raise _refused(archive, "an extended header is damaged")
        key, _, value = rest[: int(length[:6]) - len(length) - 2].partition(b"=")
        if key == b"size":
            raise _refused(archive, "a member has its size in an extended header, which is for 8 GiB and more")
        if key == b"path":
            path = value.decode("utf-8", "surrogateescape")
        content = content[int(length[:6]) :]
    return path


def _refused(archive: str, reason: str) -> DataError:
    return DataError(printable(f"cannot use {archive}: {reason}"))
