"""Image files, archives and IDX files, made for tests."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(height: int = 6, width: int = 5, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """An image ``(C, H, W)``."""
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width), dtype=np.uint8)


def encoded(image: NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    """An image ``(C, H, W)`` as a file."""
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(buffer, form, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header says a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def tar(members: list[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def idx(array: NDArray[np.uint8]) -> bytes:
    """An array as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
