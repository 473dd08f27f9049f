"""One checkpoint: a folder of arrays and JSON with a manifest of sizes and SHA-256 sums.

::

    step-00000500/
      model.safetensors       weights by path
      optimizer.safetensors   moments by exp_avg.<path> and exp_avg_sq.<path>
      extra.safetensors       arrays of everything else, such as averaged weights
      state.json              step, the optimizer's numbers, the state of trainer, schedule, callbacks and metrics
      manifest.json           format, version, step, size and SHA-256 of each file; written last

Nothing is believed before the manifest's sums are checked. There is no pickle: a checkpoint from someone else
cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backend.arrays import Array
from ..errors import CheckpointError
from ..files import fsync_directory, sha256_of
from .tensors import join_arrays, read_tensors, split_arrays, tensor_pieces

FORMAT, VERSION = "minitrain checkpoint", 2
MODEL, OPTIMIZER, EXTRA = "model.safetensors", "optimizer.safetensors", "extra.safetensors"
STATE, MANIFEST = "state.json", "manifest.json"
CONTENTS = {1: {MODEL, OPTIMIZER, STATE}, 2: {MODEL, OPTIMIZER, EXTRA, STATE}}
"""The files of each version of the format, besides the manifest."""
_NAME = re.compile(r"step-(\d{8,})")


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after ``step`` updates, e.g. ``step-00000500``."""
    return f"step-{step:08d}"


def step_of(path: str | Path) -> int | None:
    """The step in a checkpoint's folder name, or ``None`` if the name is not a checkpoint's."""
    match = _NAME.fullmatch(Path(path).name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: its folder.
        step: number of updates done.
        model: weights by path, as ``model.state_dict()``.
        optimizer: as ``optimizer.state_dict()``.
        state: everything else: plain values and arrays.
    """

    path: Path
    step: int
    model: dict[str, Array]
    optimizer: dict[str, Any]
    state: dict[str, Any]

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


def write_checkpoint(
    folder: Path,
    step: int,
    model_state: Mapping[str, Array],
    optimizer_state: Mapping[str, Any],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint's files into the existing, empty ``folder``, durably, the manifest last.

    Args:
        folder: where to; give it a temporary name and rename it afterwards.
        step: number of updates done.
        model_state: ``model.state_dict()``.
        optimizer_state: ``optimizer.state_dict()``: ``moments`` holds arrays, the rest plain numbers.
        state: nested dictionaries and lists of arrays and of values that JSON can hold, NaN and infinity too.

    Raises:
        OSError: if the disk refuses.
        CheckpointError: if an array's dtype cannot be stored.
    """
    numbers = {name: value for name, value in optimizer_state.items() if name != "moments"}
    plain, arrays = split_arrays(state)
    description = {"step": step, "optimizer": numbers, "state": plain}
    files = {
        MODEL: _write(folder / MODEL, tensor_pieces(model_state)),
        OPTIMIZER: _write(folder / OPTIMIZER, tensor_pieces(optimizer_state["moments"])),
        EXTRA: _write(folder / EXTRA, tensor_pieces(arrays)),
        STATE: _write(folder / STATE, [_json(description)]),
    }
    manifest = {"format": FORMAT, "version": VERSION, "step": step, "files": files}
    _write(folder / MANIFEST, [_json(manifest)])
    fsync_directory(folder)


def verify_checkpoint(path: str | Path) -> int:
    """Read every byte of the checkpoint at ``path`` and compare it with the manifest.

    Returns:
        The step it was made at.

    Raises:
        CheckpointError: if anything is missing, changed, or of a format this version cannot read.
    """
    path = Path(path)
    _, step, files = _read_manifest(path)
    for name, (size, sha256) in files.items():
        try:
            found = (path / name).stat().st_size
            if found != size:
                raise CheckpointError(f"{path / name} is damaged: it has {found} bytes, its manifest says {size}")
            if sha256_of(path / name) != sha256:
                raise CheckpointError(f"{path / name} is damaged: its SHA-256 differs from the manifest's")
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is incomplete: {name} is missing") from error
        except OSError as error:
            raise CheckpointError(f"{path / name} cannot be read: {error.strerror or error}") from error
    return step


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Verify the checkpoint at ``path`` and read it.

    Raises:
        CheckpointError: if it is damaged, incomplete, or of a format this version cannot read.
    """
    path = Path(path)
    step = verify_checkpoint(path)
    version, _, _ = _read_manifest(path)
    match _parse(path / STATE, _read(path / STATE)):
        case {"step": int(own_step), "optimizer": dict(numbers), "state": dict(state)} if own_step == step:
            optimizer = {**numbers, "moments": read_tensors(path / OPTIMIZER)}
            extra = read_tensors(path / EXTRA) if EXTRA in CONTENTS[version] else {}
            return Checkpoint(path, step, read_tensors(path / MODEL), optimizer, migrated(version, state, extra))
    raise CheckpointError(f"{path / STATE} does not describe a checkpoint of step {step}")


def migrated(version: int, state: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The state of a checkpoint of an older version as this version would have written it."""
    if version == 1:  # before there were callbacks: the length of metrics.jsonl stood alone
        offset = state.get("metrics_offset", 0)
        rest = {name: value for name, value in state.items() if name != "metrics_offset"}
        return {**rest, "metrics": {}, "callbacks": {"JsonlLogger": {"offset": offset}}}
    joined: dict[str, Any] = join_arrays(state, arrays)
    return joined


def _read_manifest(path: Path) -> tuple[int, int, dict[str, tuple[int, str]]]:
    """Version, step, and size and SHA-256 of each file; a manifest with a byte changed anywhere is refused."""
    content = _read(path / MANIFEST)
    manifest = _parse(path / MANIFEST, content)
    match manifest:
        case {"format": "minitrain checkpoint", "version": int(version)} if version > VERSION:
            raise CheckpointError(
                f"{path} was written by a newer minitrain (format version {version}, this one reads up to "
                f"{VERSION}); upgrade minitrain"
            )
        case {
            "format": "minitrain checkpoint",
            "version": int(version),
            "step": int(step),
            "files": dict(files),
        } if files.keys() == CONTENTS.get(version) and _json(manifest) == content:
            if step_of(path) not in (None, step):
                raise CheckpointError(f"{path} is damaged: its manifest is that of step {step}")
            return version, step, {name: _entry(path, entry) for name, entry in files.items()}
    raise CheckpointError(f"{path / MANIFEST} is damaged: it does not describe a checkpoint")


def _entry(path: Path, entry: Any) -> tuple[int, str]:
    match entry:
        case {"size": int(size), "sha256": str(sha256)}:
            return size, sha256
    raise CheckpointError(f"{path / MANIFEST} is damaged: it lacks the size or the SHA-256 of a file")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a complete checkpoint: {path.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8
        raise CheckpointError(f"{path} is damaged: it is not JSON ({error})") from error


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _write(path: Path, pieces: Iterable[Any]) -> dict[str, Any]:
    """Write ``pieces`` to the new file ``path``, durably; its entry in the manifest."""
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}
