"""The text to train on: a file, a folder of text files, or the language reference inside every Python."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError

TEXT_SUFFIXES = frozenset(
    {
        *(".csv", ".html", ".json", ".md", ".rst", ".tex", ".text", ".toml", ".txt", ".yaml", ".yml"),
        *(".c", ".cpp", ".go", ".h", ".hpp", ".java", ".js", ".py", ".rb", ".rs", ".sh", ".sql", ".ts"),
    }
)
"""Endings, in lower case, that mark a file of a folder as text."""


def read_corpus(path: str | os.PathLike[str] | None = None) -> str:
    r"""Read the text to train on.

    - ``None``: Python's own language reference (``pydoc_data.topics``), its topics in alphabetical order. It
      ships with Python, so it needs no download; its text differs a little from one Python version to the
      next.
    - A file: its text, whatever its name.
    - A folder: every file below it whose name ends in one of `TEXT_SUFFIXES`, in the order of their paths,
      joined with a line break. Hidden files and folders (``.git``, ``.venv``, …) are left out, links to
      folders are not followed, empty files do not count.

    Text is UTF-8. As in Python's text mode, ``\r\n`` and ``\r`` become ``\n``, and a byte order mark is
    dropped.

    Args:
        path: a file or a folder (``~`` is understood), or ``None``.

    Raises:
        DataError: if there is nothing at ``path``, it cannot be read, is empty, holds bytes that are not
            UTF-8 text (the message gives the file and the offset), or is a folder without text.
    """
    if path is None:
        return _language_reference()
    path = Path(os.path.expanduser(path))
    if os.path.isdir(path):
        return _read_folder(path)
    text = _read_file(path)
    if not text.strip():
        raise DataError(f"{path} is empty: give a file with text in it")
    return text


def _language_reference() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "this Python comes without pydoc_data, the text trained on by default: "
            "give a text file or a folder of them with data.path=…"
        ) from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def _read_folder(folder: Path) -> str:
    texts = [text for file in _text_files(folder) if (text := _read_file(file)).strip()]
    if not texts:
        endings = " ".join(sorted(TEXT_SUFFIXES))
        raise DataError(f"the folder {folder} holds no text: no file in it, unless empty, ends in one of {endings}")
    return "\n".join(texts)


def _text_files(folder: Path) -> list[Path]:
    """The folder's text files, sorted by the parts of their paths: the same order on every system."""

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot list the folder {error.filename}: {error.strerror}") from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in TEXT_SUFFIXES
        ]
    return sorted(files, key=lambda file: file.relative_to(folder).parts)


def _read_file(file: Path) -> str:
    try:
        if os.path.exists(file) and not os.path.isfile(file):
            raise DataError(f"{file} is neither a file nor a folder: give a text file or a folder of them")
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file or folder {file}: check the path (relative to {Path.cwd()})") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    if (offset := data.find(b"\0")) >= 0:
        raise DataError(
            f"{file} is not text: it holds a zero byte at offset {offset}. "
            "Give a text file in UTF-8 (UTF-16 has to be converted first)"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start} does not fit. "
            "Convert it to UTF-8 (for instance iconv -f latin1 -t utf-8), or give another file"
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
