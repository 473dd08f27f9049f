"""The text to train on: a file, a folder of text files, or the language reference inside every Python."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ...errors import DataError
from ...files import FileError, open_regular
from .pieces import PIECE_BYTES, read_pieces

TEXT_SUFFIXES = frozenset(
    {
        *(".csv", ".html", ".json", ".md", ".rst", ".tex", ".text", ".toml", ".txt", ".yaml", ".yml"),
        *(".c", ".cpp", ".go", ".h", ".hpp", ".java", ".js", ".py", ".rb", ".rs", ".sh", ".sql", ".ts"),
    }
)
"""File name endings, in lower case, of text files in a folder."""


def read_corpus(path: str | os.PathLike[str] | None = None) -> str:
    r"""Read the text to train on.

    - ``None``: Python's own language reference (``pydoc_data.topics``), its topics in alphabetical order. It
      ships with Python, so it needs no download. Its text differs slightly between Python versions.
    - A file: its text, whatever its name.
    - A folder: every file below it whose name ends in one of `TEXT_SUFFIXES`, in the order of their paths,
      joined with a line break. Hidden files and folders (``.git``, ``.venv``, …) and empty files are left out,
      and links to folders are not followed.

    Text is UTF-8. As in Python's text mode, ``\r\n`` and ``\r`` become ``\n``, and a byte order mark is
    dropped.

    Args:
        path: a file or a folder (``~`` is expanded), or ``None``.

    Raises:
        DataError: if there is nothing at ``path``, it cannot be read, is empty, holds bytes that are not
            UTF-8 text (the message gives the file and the offset), or is a folder without text.
    """
    if path is None:
        return _language_reference()
    return "\n".join("".join(text for _, text in stream_file(file)) for file in corpus_files(path))


PathLike = str | os.PathLike[str]


def source_paths(sources: PathLike | Sequence[PathLike]) -> list[Path]:
    """One path or several, as a list, with ``~`` expanded.

    Raises:
        DataError: if there are none.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given:
        raise DataError("there are no sources to read: give a text file or a folder of them")
    return [Path(os.path.expanduser(source)) for source in given]


def corpus_files(path: PathLike) -> list[Path]:
    """The files of the text at ``path``, in the order of `read_corpus`; blank ones are left out.

    Raises:
        DataError: as in `read_corpus`, except for bytes that are not UTF-8 in text that was not read yet.
    """
    path = Path(os.path.expanduser(path))
    if os.path.isdir(path):
        files = [file for file in files_below(path, TEXT_SUFFIXES) if not _is_blank(file)]
        if not files:
            endings = " ".join(sorted(TEXT_SUFFIXES))
            raise DataError(f"the folder {path} holds no text: no file in it, unless empty, ends in one of {endings}")
        return files
    if _is_blank(path):
        raise DataError(f"{path} is empty: give a file with text in it")
    return [path]


def stream_file(file: Path, *, start: int = 0, piece_bytes: int = PIECE_BYTES) -> Iterator[tuple[int, str]]:
    r"""The text of ``file`` in pieces, of which one at a time is in memory.

    Line ends and byte order marks are treated as in `read_corpus`; for the cuts see `pieces`.

    Args:
        file: the file.
        start: byte of the file to begin at, 0 or one that an earlier call yielded.
        piece_bytes: bytes of a piece.

    Yields:
        Pairs of the byte at which the piece begins in the file, and its text.

    Raises:
        DataError: if the file is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        with open_regular(file) as opened:
            opened.seek(start)
            for piece in read_pieces(opened, piece_bytes):
                yield start, _decode(piece, file, start)
                start += len(piece)
    except FileError as error:
        raise DataError(
            f"{file} is neither a file nor a folder ({error}): give a text file or a folder of them"
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file or folder {file}: check the path (relative to {Path.cwd()})") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _language_reference() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "this Python has no pydoc_data, the default text to train on: "
            "give a text file or a folder of them with data.path=…"
        ) from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def _is_blank(file: Path) -> bool:
    return not any(text.strip() for _, text in stream_file(file, piece_bytes=1 << 12))  # the first piece decides


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files below a folder that end in one of ``suffixes``, sorted by the parts of their paths on every system.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        DataError: if a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot list the folder {error.filename}: {error.strerror}") from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(files, key=lambda file: file.relative_to(folder).parts)


def _decode(piece: bytes, file: Path, start: int) -> str:
    """The text of ``piece``, which begins at byte ``start`` of ``file``."""
    if (offset := piece.find(b"\0")) >= 0:
        raise DataError(
            f"{file} is not text: it holds a zero byte at offset {start + offset}. "
            "Give a text file in UTF-8 (UTF-16 must be converted first)"
        )
    try:
        text = piece.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text: byte 0x{piece[error.start]:02x} at offset {start + error.start} is invalid. "
            "Convert it to UTF-8 (for instance iconv -f latin1 -t utf-8), or give another file"
        ) from error
    if start == 0:
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")
