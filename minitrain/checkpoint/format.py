"""One checkpoint: a folder of arrays and JSON with a manifest of sizes and SHA-256 sums.

::

    step-00000500/
      model.safetensors       weights by path
      optimizer.safetensors   moments by exp_avg.<path> and exp_avg_sq.<path>
      extra.safetensors       arrays of everything else, such as averaged weights
      state.json              step, metrics measured with these weights, the optimizer's numbers, and the state of
                              trainer, schedule, data and callbacks; the history of metrics is in metrics.jsonl alone
      manifest.json           format, version, step, size and SHA-256 of each file; written last

Where several ranks save, each writes a shard of the weights and moments in place of the first two files, see
`minitrain.checkpoint.shards`.

Nothing is believed before the manifest's sums are checked. There is no pickle: a checkpoint from someone else
cannot run code.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..backend.arrays import Array
from ..errors import CheckpointError
from ..files import fsync_directory, require_regular, sha256_of
from .manifest import (
    EXTRA,
    MANIFEST,
    MODEL,
    OPTIMIZER,
    SHARDED,
    STATE,
    VERSION,
    Entry,
    Location,
    Manifest,
    json_bytes,
    parse_json,
    read_bytes,
    read_manifest,
    shards_in,
)
from .shards import join_shards
from .tensors import join_arrays, read_tensors, split_arrays, tensor_pieces

LARGEST_STATE = 4_000_000
"""Bytes of ``state.json``; one has less than 200 kB."""
_HISTORY = re.compile(rb'\n    "metrics": (\{\n.*?\n    \})', re.DOTALL)  # as version 2 wrote it, indented


class Contents(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        step: number of updates done, or of epochs for those who count in epochs.
        model: weights by path, as ``model.state_dict()``.
        optimizer: as ``optimizer.state_dict()``: ``moments`` holds arrays, the rest plain numbers.
        state: everything else: nested dictionaries and lists of arrays and of values that JSON can hold, NaN and
            infinity too.
        metrics: measured with exactly these weights, by name; the best checkpoints are chosen by one of them.
    """

    step: int
    model: Mapping[str, Array]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]
    metrics: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read; see `Contents`.

    Attributes:
        path: its folder.
    """

    path: Location
    step: int
    model: dict[str, Array]
    optimizer: dict[str, Any]
    state: dict[str, Any]
    metrics: dict[str, float]

    def check_fits(self, own: Mapping[str, Array]) -> None:
        """Check that the weights are those of a model whose ``state_dict()`` is ``own``.

        Raises:
            CheckpointError: naming the first parameter that differs, both shapes, and the fix.
        """
        for name in [*own, *(name for name in self.model if name not in own)]:
            here, there = _shape(own, name), _shape(self.model, name)
            if here != there:
                raise CheckpointError(
                    f"{self.path} is a checkpoint of another model: {name} is {there} in the checkpoint and {here} "
                    "in this model; build the model with the settings the checkpoint was trained with "
                    "(config.yaml in its run folder)"
                )


def _shape(arrays: Mapping[str, Array], name: str) -> str:
    return f"{tuple(arrays[name].shape)} {arrays[name].dtype}" if name in arrays else "missing"


def write_checkpoint(folder: Path, contents: Contents) -> None:
    """Write a checkpoint's files into the existing, empty ``folder``, durably, the manifest last.

    Args:
        folder: the folder to write to; give it a temporary name and rename it afterwards.
        contents: what to write.

    Raises:
        OSError: if a file cannot be written.
        CheckpointError: if an array's dtype cannot be stored.
    """
    state = write_state(folder, contents)  # first, since it may be refused
    files = {
        MODEL: write_file(folder / MODEL, tensor_pieces(contents.model)),
        OPTIMIZER: write_file(folder / OPTIMIZER, tensor_pieces(contents.optimizer["moments"])),
        **state,
    }
    write_file(folder / MANIFEST, [Manifest(VERSION, contents.step, files).to_json()])
    fsync_directory(folder)


def write_state(folder: Path, contents: Contents, **more: Any) -> dict[str, Entry]:
    """Write everything but weights and moments; the entries of the files.

    Args:
        folder: the folder to write to.
        contents: of the checkpoint.
        more: what else its description has, in JSON.

    Raises:
        OSError: if a file cannot be written.
        CheckpointError: if something cannot be stored.
    """
    step, _, optimizer_state, state, metrics = contents
    numbers = {name: value for name, value in optimizer_state.items() if name != "moments"}
    plain, arrays = split_arrays(state)
    description = {"step": step, "metrics": dict(metrics), "optimizer": numbers, "state": plain, **more}
    described = json_bytes(description)
    if len(described) > LARGEST_STATE:
        raise CheckpointError(
            f"cannot save {len(described):,} bytes of numbers and text in {STATE}, at most {LARGEST_STATE:,} are read "
            "back: keep less in the state of callbacks, or keep it in arrays"
        )
    return {
        EXTRA: write_file(folder / EXTRA, tensor_pieces(arrays)),
        STATE: write_file(folder / STATE, [described]),
    }


def write_rest(folder: Path, contents: Contents, shards: Mapping[str, Entry]) -> None:
    """Write what a checkpoint has beside the shards of several ranks, durably, the manifest last.

    Args:
        folder: the folder to write to.
        contents: of the checkpoint; its weights and moments are not looked at.
        shards: the entries of all shards, which need not lie in this folder.

    Raises:
        OSError: if a file cannot be written.
        CheckpointError: if something cannot be stored.
    """
    files = {**write_state(folder, contents), **dict(sorted(shards.items()))}
    write_file(folder / MANIFEST, [Manifest(SHARDED, contents.step, files).to_json()])
    fsync_directory(folder)


def verify_checkpoint(path: str | Path) -> int:
    """Read every byte of the checkpoint at ``path`` and compare it with the manifest.

    Returns:
        The step it was made at.

    Raises:
        CheckpointError: if anything is missing, changed, or of a format this version cannot read.
    """
    return _verified(Path(path)).step


def _verified(path: Path) -> Manifest:
    """The manifest of a checkpoint, after its files were compared with it."""
    manifest = read_manifest(path)
    for name, entry in manifest.files.items():
        _verify_file(path, name, entry)
    return manifest


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Verify the checkpoint at ``path`` and read it.

    Raises:
        CheckpointError: if it is damaged, incomplete, or of a format this version cannot read.
    """
    path = Path(path)
    manifest = _verified(path)
    numbers, state, metrics = _read_state(path, manifest)
    if manifest.version == SHARDED:
        model, moments = join_shards(path, shards_in(manifest.files))
    else:
        model, moments = read_tensors(path / MODEL), read_tensors(path / OPTIMIZER)
    extra = read_tensors(path / EXTRA) if EXTRA in manifest.files else {}
    state = migrated(manifest.version, state, extra)
    return Checkpoint(path, manifest.step, model, {**numbers, "moments": moments}, state, metrics)


def read_checkpoint_metrics(path: str | Path) -> dict[str, float]:
    """The metrics measured with a checkpoint's weights; of its files only the description is read and verified.

    Raises:
        CheckpointError: if that is damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    _verify_file(path, STATE, manifest.files[STATE])
    return _read_state(path, manifest)[2]


def migrated(version: int, state: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The state of a checkpoint of an older version as this version would have written it."""
    if version == 1:  # before there were callbacks: the length of metrics.jsonl stood alone
        offset = state.get("metrics_offset", 0)
        rest = {name: value for name, value in state.items() if name != "metrics_offset"}
        return {**rest, "metrics": {}, "callbacks": {"JsonlLogger": {"offset": offset}}}
    try:
        joined: dict[str, Any] = join_arrays(state, arrays)
    except RecursionError as error:
        raise CheckpointError(f"{STATE} of the checkpoint is nested too deep") from error
    return joined


def _verify_file(path: Path, name: str, entry: Entry) -> None:
    try:
        found = (path / name).lstat()
        require_regular(path / name, found.st_mode)
        if found.st_size != entry.size:
            raise CheckpointError(
                f"{path / name} is damaged: it has {found.st_size} bytes, its manifest says {entry.size}"
            )
        if sha256_of(path / name, links=False) != entry.sha256:
            raise CheckpointError(f"{path / name} is damaged: its SHA-256 differs from the manifest's")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is incomplete: {name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path / name} cannot be read: {error.strerror or error}") from error


def _read_state(path: Path, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    """The optimizer's numbers, the state, and the metrics.

    A history of metrics that is too long to be parsed here is left out: version 2 wrote it here and in
    ``metrics.jsonl``.
    """
    step = manifest.step
    content = read_bytes(path / STATE, manifest.files[STATE].size)
    if len(content) > LARGEST_STATE and manifest.version == 2 and (history := _HISTORY.search(content)):
        content = content[: history.start(1)] + b"{}" + content[history.end(1) :]
    if len(content) > LARGEST_STATE:
        raise CheckpointError(
            f"{path / STATE} has {len(content):,} bytes, and such a file has at most {LARGEST_STATE:,}: save less in it"
        )
    description = parse_json(path / STATE, content)
    match description:
        case {"step": int(own_step), "optimizer": dict(numbers), "state": dict(state)} if own_step == step:
            metrics = description.get("metrics", {})  # version 1 has none
            if isinstance(metrics, dict) and all(map(_is_number, metrics.values())):
                return numbers, state, metrics
    raise CheckpointError(f"{path / STATE} does not describe a checkpoint of step {step}")


def _is_number(value: object) -> bool:
    """Whether a value is a number of a size that measuring can give; NaN and infinity are."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def write_file(path: Path, pieces: Iterable[Any]) -> Entry:
    """Write ``pieces`` to the new file ``path``, durably; its entry in the manifest."""
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return Entry(size, digest.hexdigest())
