"""Token ids on disk, read through a memory map, so that a data set may be larger than memory.

There are two files: ``train.bin`` holds only the ids (little-endian, uint16 if the vocabulary allows, else uint32),
and ``train.json`` holds their number, type, vocabulary size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, TokenError
from ...files import FileError, file_error, open_atomically, parse_json, read_file, require_regular, sha256_of

FORMAT, VERSION = "minitrain tokens", 1
_LARGEST_DESCRIPTION = 10_000  # bytes; one has about 200
CHUNK = 1 << 22  # ids converted, checked and hashed at a time


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The stored type of a vocabulary's ids: ``<u2`` for up to 65536 of them, ``<u4`` above."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def write_tokens(path: str | os.PathLike[str], ids: NDArray[Any], vocab_size: int) -> None:
    """Write ``ids`` to ``path`` (``….bin``) and their description next to it (``….json``).

    Both files appear complete or not at all. If the machine stops between the two renames while an older pair is
    replaced, the description is missing rather than wrong, and `TokenFile.open` says so.

    Args:
        path: the file to write, ending in ``.bin``; missing folders are made.
        ids: ``(N,)`` integers in ``[0, vocab_size)``, N >= 1; may be a memory map.
        vocab_size: number of ids of the tokenizer.

    Raises:
        DataError: if the arguments do not fit the format.
        TokenError: if an id is outside the vocabulary; the message names the first one.
        FileError: if a file cannot be written.
    """
    path = _checked_path(path)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or ids.size == 0:
        raise DataError(f"token ids must be a non-empty (N,) array of integers, not {ids.dtype} {ids.shape}")
    if not 1 <= vocab_size <= 1 << 31:
        raise DataError(f"vocab_size must be between 1 and 2**31, not {vocab_size}")
    dtype, digest, sidecar = token_dtype(vocab_size), hashlib.sha256(), path.with_suffix(".json")
    with open_atomically(sidecar) as description, open_atomically(path) as file:
        for start in range(0, ids.size, CHUNK):
            chunk = ids[start : start + CHUNK]
            if chunk.min() < 0 or chunk.max() >= vocab_size:
                at = int(np.argmax((chunk < 0) | (chunk >= vocab_size)))
                raise TokenError(
                    f"token id {chunk[at]} at position {start + at} is outside the vocabulary "
                    f"of {vocab_size} ids: the ids come from another tokenizer"
                )
            data = chunk.astype(dtype).tobytes()
            digest.update(data)
            file.write(data)
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": dtype.name,
            "count": int(ids.size),
            "vocab_size": int(vocab_size),
            "sha256": digest.hexdigest(),
        }
        description.write(json.dumps(fields, indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())  # the new ids must be on disk before the old description is removed
        sidecar.unlink(missing_ok=True)


@dataclass(frozen=True)
class TokenFile:
    """A token file opened for reading; made by `TokenFile.open`.

    Attributes:
        path: the ``.bin`` file.
        tokens: ``(N,)`` memory map of the ids, uint16 or uint32, read-only; pages come from disk when
            touched.
        vocab_size: number of ids of the tokenizer that made it.
        sha256: the digest in its description.
    """

    path: Path
    tokens: np.memmap[Any, np.dtype[Any]]
    vocab_size: int
    sha256: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> TokenFile:
        """Open ``path`` (``….bin``) and check it against its description.

        Args:
            path: the ``.bin`` file; its ``.json`` is next to it.
            verify: also read all of it and compare its SHA-256 (about a second per gigabyte).

        Raises:
            DataError: if a file is missing or the two do not match; the message says how they differ.
            FileError: if a file exists and cannot be read.
        """
        path = _checked_path(path)
        sidecar = path.with_suffix(".json")
        dtype, count, vocab_size, sha256 = _read_description(sidecar)
        try:
            found = path.stat()
            require_regular(path, found.st_mode)
            size = found.st_size
            if size != count * dtype.itemsize:
                raise DataError(
                    f"{path} has {size} bytes, but {sidecar} describes {count} ids of {dtype.name}, "
                    f"{count * dtype.itemsize} bytes: it is damaged or not the described one; write it again"
                )
            tokens = np.memmap(path, dtype=dtype, mode="r", shape=(count,))
        except FileError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"there is no token file {path}: check the path, or write it again") from error
        except OSError as error:
            raise file_error("read", path, error) from error
        token_file = cls(path, tokens, vocab_size, sha256)
        if verify:
            token_file.verify()
        return token_file

    def verify(self) -> None:
        """Read the whole file and compare its SHA-256 with the description.

        Raises:
            DataError: if they differ.
        """
        if (found := sha256_of(self.path)) != self.sha256:
            raise DataError(
                f"{self.path} is damaged: its SHA-256 is {found[:12]}…, "
                f"its description says {self.sha256[:12]}…; write it again"
            )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.suffix != ".bin":
        raise DataError(f"the name of a token file must end in .bin, got {path}")
    return path


def _read_description(sidecar: Path) -> tuple[np.dtype[Any], int, int, str]:
    try:
        fields = parse_json(read_file(sidecar, _LARGEST_DESCRIPTION))
    except FileError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {sidecar}, the description of the token file next to it: "
            "check the path, or write the token file again"
        ) from error
    except OSError as error:
        raise file_error("read", sidecar, error) from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise DataError(f"{sidecar} is damaged, it is not JSON ({error}): write the token file again") from error
    match fields:
        case {"format": name, "version": version} if (name, version) != (FORMAT, VERSION):
            raise DataError(
                f"{sidecar} is of format {name!r} version {version}, not {FORMAT!r} version {VERSION}: "
                "write the token file again"
            )
        case {
            "format": _,
            "version": _,
            "dtype": dtype,
            "count": int(count),
            "vocab_size": int(size),
            "sha256": str(sha256),
        }:
            if count >= 1 and size >= 1 and dtype == token_dtype(size).name:
                return token_dtype(size), count, size, sha256
            raise DataError(
                f"{sidecar} contradicts itself: dtype {dtype!r}, count {count}, vocab_size {size}, "
                f"where {size} ids are stored as {token_dtype(size).name}: write the token file again"
            )
    raise DataError(
        f"{sidecar} does not describe a token file, it needs format, version, dtype, count, vocab_size "
        "and sha256: write the token file again"
    )
