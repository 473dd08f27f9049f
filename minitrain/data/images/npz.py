"""Images and labels as two arrays in NumPy's ``.npz`` format."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import DataError
from ...files import FileError, file_error, open_regular
from .arrays import ImageArrays
from .idx import MAX_BYTES

IMAGES, LABELS = "images", "labels"


def read_npz_images(path: str | os.PathLike[str]) -> ImageArrays:
    """The arrays ``images`` and ``labels`` of a file, as ``numpy.savez(path, images=…, labels=…)`` writes it.

    Both are in memory. Nothing in the file is run: arrays of Python objects are refused.

    Args:
        path: a file with ``images``, uint8 (N, H, W) or (N, H, W, C), and ``labels``, (N,) integers or texts.

    Raises:
        DataError: if the file cannot be read, is no such file, or the arrays do not fit together.
    """
    path = Path(os.path.expanduser(path))
    try:
        with open_regular(path) as raw, zipfile.ZipFile(raw) as archive:
            images, labels = (_array(archive, path, name) for name in (IMAGES, LABELS))
    except FileError as error:
        raise DataError(str(error)) from error
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is no .npz file that can be read: {error!s:.200}") from error
    except OSError as error:
        raise DataError(str(file_error("read", path, error))) from error
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(f"{path}: {LABELS} is {labels.dtype} {labels.shape}, and must be (N,) integers or texts")
    return ImageArrays(images, label=labels)


def _array(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[Any]:
    """One array; its header is compared with the size of the member before there is memory for it."""
    names = [member.removesuffix(".npy") for member in archive.namelist()]
    if name not in names:
        raise DataError(f"{path} has no array {name!r}; it has {', '.join(map(repr, names[:10])) or 'none'}")
    size = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(member)
        expected = member.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject or expected != size or size > MAX_BYTES:
            raise DataError(
                f"{path}: {name!r} is {dtype} {shape} in {size:,} bytes; expected are plain numbers or texts that fill "
                f"the member, {MAX_BYTES:,} bytes at most"
            )
    with archive.open(f"{name}.npy") as member:
        return np.asarray(npy.read_array(member, allow_pickle=False))
