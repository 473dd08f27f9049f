"""Paths that stay inside a run folder, and what may stand in their way.

A folder from someone else may hold links, FIFOs and devices, and its settings may name any path. So nothing below a run
folder is followed or opened before each part of its path was looked at. The folder itself was named by the person at
the command line, and may be a link.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ConfigError
from ..files import FileError, checked_path, file_error, kind_of


def inside(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """The place of ``path`` in a run folder; a relative one counts from the folder.

    Args:
        folder: the run folder.
        path: a path from the folder's settings.

    Raises:
        FileError: if it leads out of the folder, or through a link in it.
    """
    folder, given = checked_path(folder), checked_path(path)
    root = Path(os.path.abspath(folder))
    full = Path(os.path.abspath(root / given))  # without .., and without following links
    if not full.is_relative_to(root):
        real = Path(os.path.realpath(folder))  # the folder by its other name
        if not full.is_relative_to(real):
            raise FileError(
                f"{os.fspath(path)} lies outside the run folder {folder}, whose settings name it: give a path inside "
                "the folder; if you trust the folder, add --trust (in Python, trusted=True)"
            )
        root = real
    relative = full.relative_to(root)
    refuse_links(folder, relative)
    return folder / relative


def refuse_links(folder: Path, relative: str | os.PathLike[str]) -> None:
    """Make sure that the way from ``folder`` to a file or folder in it leads through folders only, not through links.

    What is not there yet is fine.

    Raises:
        FileError: naming the first part that is a link, a FIFO, a device, a socket, or a file in place of a folder.
    """
    place, parts = folder, Path(relative).parts
    for number, part in enumerate(parts):
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):  # the second: the folder itself would lie below a file
            return
        except OSError as error:
            raise file_error("use", place, error) from error
        last = number == len(parts) - 1
        if not (stat.S_ISDIR(mode) or (last and stat.S_ISREG(mode))):
            raise FileError(
                f"cannot use {place}: it is {kind_of(mode)}, and a run folder holds plain files and folders only; "
                "put a copy there, or remove it"
            )


def refuse_url(url: str, what: str) -> None:
    """Refuse a URL that the settings of a folder name: it leads out of the folder.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"{what}={url} leads out of the run folder, whose settings name it: if you trust the folder, add --trust (in "
        "Python, trusted=True)"
    )
