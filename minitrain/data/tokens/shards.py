"""Token shards: a text of any length as several token files, written and read in little memory.

::

    shards/
      shard-00000.bin  shard-00000.json     a token file each, see `token_file`
      shard-00001.bin  shard-00001.json
      manifest.json                         written last: with it the folder counts as complete

The text is read in pieces. Memory holds one piece, its tokens and the tokens of the current shard, whatever the length
of the text, plus a few hundred bytes per shard for the manifest. During a build, ``unfinished.json`` records its
progress: called again with the same arguments, `build_token_shards` continues after the last complete shard and ends
with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...files import FileError, file_error, make_folder, parse_json, read_file, write_atomically
from ..ids import as_int32
from ..text.bpe import LARGEST_FILE, MOST_CONTAINERS
from ..text.corpus import PathLike, corpus_files, source_paths, stream_file
from ..text.pieces import PIECE_BYTES
from ..text.roles import check_pieces
from ..text.tokenizers import Tokenizer, tokenizer_from_json
from .token_array import JoinedTokens
from .token_file import TokenFile, write_tokens

FORMAT, VERSION = "minitrain token shards", 1
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"


class _Place(NamedTuple):
    """A place in the stream of tokens: after the first ``skip`` tokens of the piece at byte ``start`` of a file."""

    file: int = 0
    start: int = 0
    skip: int = 0


def build_token_shards(
    sources: PathLike | Sequence[PathLike],
    tokenizer: Tokenizer,
    out_dir: PathLike,
    *,
    shard_tokens: int = 1 << 24,
    end_id: int | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> TokenShards:
    """Turn text files into token shards.

    Character and byte tokens are those of the whole text as `read_corpus` reads it. BPE tokens are those of each file
    by itself, as long as no word and no run of white space in it is longer than a piece.

    Args:
        sources: a text file, a folder of them, or several of these; UTF-8, in the given order.
        tokenizer: turns text into ids.
        out_dir: folder of the shards; it is created if necessary.
        shard_tokens: ids in a shard, except the last; 4 bytes each are in memory.
        end_id: id after every file, such as ``tokenizer.special_id("<eos>")``, which separates documents. Without it,
            files are joined by a line break.
        piece_bytes: bytes of text in memory at a time.

    Raises:
        ConfigError: if a number is out of range, or the tokenizer is another model's.
        DataError: if a source is missing or not text, or the folder holds other shards.
        FileError: if a file cannot be written.
    """
    check_pieces(tokenizer)
    if shard_tokens < 1 or piece_bytes < 8:
        raise ConfigError(
            f"shard_tokens={shard_tokens} must be at least 1 and piece_bytes={piece_bytes} at least 8: "
            "leave them out for shards of 16 million tokens and pieces of a megabyte"
        )
    if end_id is not None and not 0 <= end_id < tokenizer.vocab_size:
        raise ConfigError(f"end_id={end_id} must be an id of the tokenizer, from 0 to {tokenizer.vocab_size - 1}")
    paths, out_dir = source_paths(sources), Path(out_dir)
    files = [file for path in paths for file in corpus_files(path)]
    if any(out_dir.resolve().is_relative_to(path.resolve()) for path in paths):
        raise DataError(
            f"{out_dir} is inside its own source: files written there would count as text; choose another folder"
        )
    job = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizer": tokenizer.to_json(),
        "vocab_size": tokenizer.vocab_size,
        "end_id": end_id,
        "shard_tokens": shard_tokens,
        "piece_bytes": piece_bytes,
        "sources": [_fingerprint(file) for file in files],
    }
    shards, place = _begin_or_resume(out_dir, job)
    stream = _tokens(files, tokenizer, end_id, piece_bytes, place)
    for ids, place in _in_shards(stream, shard_tokens):
        name = f"shard-{len(shards):05d}.bin"
        write_tokens(out_dir / name, ids, tokenizer.vocab_size)
        written = TokenFile.open(out_dir / name)
        shards.append({"name": name, "count": written.tokens.size, "sha256": written.sha256})
        _write_json(out_dir / UNFINISHED, {**job, "shards": shards, "place": list(place)})
    _write_json(out_dir / MANIFEST, {**job, "count": sum(shard["count"] for shard in shards), "shards": shards})
    (out_dir / UNFINISHED).unlink(missing_ok=True)
    return TokenShards.open(out_dir)


@dataclass(frozen=True)
class TokenShards:
    """Token shards opened for reading; made by `TokenShards.open`.

    Attributes:
        path: the folder.
        tokens: ``(N,)`` ids of all shards, read through memory maps, for loaders such as `TokenLoader`.
        tokenizer: the tokenizer that made them.
        end_id: the id after every file, if there is one.
        files: the shards.
    """

    path: Path
    tokens: JoinedTokens
    tokenizer: Tokenizer
    end_id: int | None
    files: tuple[TokenFile, ...]

    @classmethod
    def open(cls, path: PathLike, *, verify: bool = False) -> TokenShards:
        """Open the folder ``path`` and check its shards against the manifest.

        Args:
            path: the folder.
            verify: also read all shards and compare their SHA-256 sums.

        Raises:
            DataError: if the folder is not complete, or shards and manifest do not match.
            FileError: if a file exists and cannot be read.
        """
        path = Path(path)
        if not (path / MANIFEST).exists():
            begun = (path / UNFINISHED).exists()
            reason = "the shards in it are not finished" if begun else f"it has no {MANIFEST}"
            raise DataError(
                f"{path} is not a folder of token shards, {reason}: "
                "make them with minitrain shards SOURCE OUT, or build_token_shards"
            )
        fields = _read_json(path / MANIFEST)
        match fields:
            case {
                "format": str(name),
                "version": int(version),
                "tokenizer": description,
                "vocab_size": int(vocab_size),
                "end_id": int() | None as end_id,
                "count": int(count),
                "shards": [_, *_] as shards,
            } if (name, version) == (FORMAT, VERSION):
                files = tuple(_open_shard(path, shard, verify) for shard in shards)
                tokenizer = tokenizer_from_json(description)
            case _:
                raise DataError(f"{path / MANIFEST} is damaged or of another version: build the shards again")
        sizes = {file.vocab_size for file in files} | {tokenizer.vocab_size}
        if sizes != {vocab_size} or sum(file.tokens.size for file in files) != count:
            raise DataError(
                f"{path / MANIFEST} states {count} ids of a vocabulary of {vocab_size}, but its shards or tokenizer "
                "differ: they come from two builds; build the shards again"
            )
        return cls(path, JoinedTokens([file.tokens for file in files]), tokenizer, end_id, files)


def _open_shard(folder: Path, shard: object, verify: bool) -> TokenFile:
    match shard:
        case {"name": str(name), "count": int(count), "sha256": str(sha256)} if Path(name).name == name:
            file = TokenFile.open(folder / name, verify=verify)
            if (file.tokens.size, file.sha256) == (count, sha256):
                return file
            raise DataError(f"{folder / name} is not the shard that {MANIFEST} describes: build the shards again")
    raise DataError(f"{folder / MANIFEST} is damaged: it describes a shard as {shard!r:.80}; build the shards again")


def _begin_or_resume(out_dir: Path, job: dict[str, Any]) -> tuple[list[dict[str, Any]], _Place]:
    """The complete shards and the place after them; raises an error for a folder with other shards."""
    if (out_dir / MANIFEST).exists():
        raise DataError(
            f"{out_dir} already holds token shards: open them with TokenShards.open, or choose another folder"
        )
    if not (out_dir / UNFINISHED).exists():
        if any(out_dir.glob("shard-*.bin")):
            raise DataError(
                f"{out_dir} holds shards of unknown origin, with neither {MANIFEST} nor {UNFINISHED}: "
                "remove them or choose another folder"
            )
        make_folder(out_dir)
        _write_json(out_dir / UNFINISHED, {**job, "shards": [], "place": list(_Place())})
        return [], _Place()
    begun = _read_json(out_dir / UNFINISHED)
    match begun:
        case {"shards": list(shards), "place": [int(), int(), int()] as numbers} if min(numbers) >= 0:
            place = _Place(*numbers)
        case _:
            raise DataError(f"{out_dir / UNFINISHED} is damaged: remove the folder and build the shards again")
    if changed := [name for name, value in job.items() if begun.get(name) != json.loads(json.dumps(value))]:
        raise DataError(
            f"{out_dir} holds shards that were begun with other {' and '.join(changed)}: call with the same arguments "
            "and files to continue, remove the folder to start over, or choose another one"
        )
    for shard in shards:
        _open_shard(out_dir, shard, verify=True)
    return shards, place


def _tokens(
    files: list[Path], tokenizer: Tokenizer, end_id: int | None, piece_bytes: int, place: _Place
) -> Iterator[tuple[NDArray[Any], _Place]]:
    """The ids of each piece from ``place`` on, with the place where the piece begins."""
    end = np.array([] if end_id is None else [end_id], dtype=np.int32)
    for number in range(place.file, len(files)):
        here = place if number == place.file else _Place(number)
        skip = here.skip
        pieces = stream_file(files[number], start=here.start, piece_bytes=piece_bytes)
        for (start, text), is_last in _marking_the_last(pieces):
            joint = "\n" if end_id is None and number > 0 and start == 0 else ""
            ids = tokenizer.encode(joint + text)
            if is_last:
                ids = np.concatenate([ids, end])
            yield ids[skip:], _Place(number, start, skip)
            skip = 0


def _in_shards(
    stream: Iterator[tuple[NDArray[Any], _Place]], shard_tokens: int
) -> Iterator[tuple[NDArray[np.int32], _Place]]:
    """The ids of each shard and the place after it; the array is reused for the next shard."""
    shard = np.empty(shard_tokens, dtype=np.int32)
    filled, behind = 0, _Place()
    for ids, place in stream:
        taken = 0
        while taken < ids.size:
            part = as_int32(ids[taken : taken + shard_tokens - filled])
            shard[filled : filled + part.size] = part
            filled, taken = filled + part.size, taken + part.size
            behind = place._replace(skip=place.skip + taken)
            if filled == shard_tokens:
                yield shard, behind
                filled = 0
    if filled:
        yield shard[:filled], behind


def _marking_the_last(pieces: Iterator[tuple[int, str]]) -> Iterator[tuple[tuple[int, str], bool]]:
    waiting = next(pieces, None)
    while waiting is not None:
        following = next(pieces, None)
        yield waiting, following is None
        waiting = following


def _fingerprint(file: Path) -> dict[str, Any]:
    """Values that show whether ``file`` is still the one that shards were begun with."""
    status = file.stat()
    return {"name": file.name, "bytes": status.st_size, "modified": status.st_mtime_ns}


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(fields, indent=1).encode() + b"\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = parse_json(read_file(path, LARGEST_FILE), containers=MOST_CONTAINERS)
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged, it is not JSON ({error}): remove the folder and build again") from error
    return fields if isinstance(fields, dict) else {}
