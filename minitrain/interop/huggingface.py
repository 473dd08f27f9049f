"""Models in folders as transformers writes them: ``config.json`` and safetensors.

    model = load_huggingface("SmolLM2-135M")
    save_huggingface(model, "mine", dtype="bfloat16")

A folder is data: nothing in it runs. It is compared with its own settings before a model is built, so a false size
takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.store import Warn, warn_user
from ..errors import CheckpointError
from ..files import FileError, make_folder, parse_json, read_file, write_atomically
from ..nn.core.module import Module
from .families.known import FAMILIES
from .family import Family, read_settings, write_settings
from .gguf.vocabulary import check_size
from .huggingface_tokenizer import ALL_FILES, write_tokenizer
from .table import Row, arrays_of, build_blank, check_shapes, decoder_sizes, fill, shortened, without_block_size
from .tensor_files import INDEX, LARGEST_SHARD, SINGLE, TensorFile, open_tensors, rounded, to_float32, write_tensors

CONFIG = "config.json"
LARGEST_CONFIG = 10_000_000  # bytes: some list a name for each of 20,000 classes


def is_huggingface(folder: str | Path) -> bool:
    """Whether a folder looks like one of transformers: it has a ``config.json``."""
    return (Path(folder) / CONFIG).is_file()


def load_huggingface(folder: str | Path, **changes: Any) -> Any:
    """The model in a folder of transformers.

    Args:
        folder: has ``config.json`` and ``model.safetensors``, or several files with ``model.safetensors.index.json``.
        changes: settings of minitrain in place of the folder's, such as ``dropout=0.1``, a smaller ``block_size``, or
            ``loss_chunk=512``.

    Returns:
        A `GPT`, `Llama` or `Bert` in float32, on the CPU. Weights in float16 or bfloat16 keep their values.

    Raises:
        CheckpointError: if the folder is missing or damaged, of another family, has a setting that minitrain does not
            know or have, or has its weights as a pickle.
    """
    return load_parts(folder, changes)[0]


def describe_huggingface(folder: str | Path, **changes: Any) -> tuple[str, Any]:
    """The family of the model in a folder, and minitrain's configuration of it; no weights are read.

    Raises:
        CheckpointError: as `load_huggingface`.
    """
    family, config, _ = _open(Path(folder), changes)
    return family.name, config


def load_parts(folder: str | Path, changes: Mapping[str, Any]) -> tuple[Module, Family]:
    """The model in a folder, and its family; see `load_huggingface`."""
    folder = Path(folder)
    changes, block_size = without_block_size(changes)
    family, config, files = _open(folder, changes)
    sizes, rows, ignored = decoder_sizes(config), _rows(family, config, files), list(family.ignored)
    if _is_tied(family, config):
        assert family.head is not None
        _check_tied(family, rows, files, folder)
        ignored.append(family.head.parts[0].name)
    shapes = {name: file.entries[name].shape for name, file in files.items()}
    check_shapes(rows, config.n_layer, sizes, shapes, str(folder), ignored)

    def read(name: str) -> Any:
        return to_float32(files[name].read(name), f"{folder}: {name}")

    model = build_blank(family.model, config)
    fill(model, rows, config.n_layer, read, sizes)
    return shortened(model, block_size), family


def _open(folder: Path, changes: Mapping[str, Any]) -> tuple[Family, Any, dict[str, TensorFile]]:
    """Family, configuration and files of a folder."""
    given = read_config(folder)
    family = _family_of(given, folder)
    files = open_tensors(folder)
    changes = family.look(folder, files) | dict(changes)
    return family, read_settings(family, given, str(folder / CONFIG), changes), files


def read_config(folder: Path) -> dict[str, Any]:
    """The settings in a folder's ``config.json``.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    path = folder / CONFIG
    try:
        given = parse_json(read_file(path, LARGEST_CONFIG))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not a model of transformers: there is no {CONFIG} in it") from None
    except (FileError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error!s:.300}") from error
    if not isinstance(given, dict):
        raise CheckpointError(f"{path} has no settings")
    return given


def _family_of(given: Mapping[str, Any], folder: Path) -> Family:
    name, classes = given.get("model_type"), given.get("architectures")
    if not isinstance(name, str) or name not in FAMILIES:
        raise CheckpointError(f"{folder} has a model of the type {name!r:.100}; minitrain reads {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    known = family.architectures
    if classes is not None and not (isinstance(classes, list) and any(one in known for one in classes)):
        raise CheckpointError(f"{folder} has a {classes!r:.100}; minitrain reads {' and '.join(known)}")
    return family


def _rows(family: Family, config: Any, names: Mapping[str, Any] | None = None) -> list[Row]:
    """The table with the names of the file; ``names`` tells whether it leaves the prefix out."""
    prefix = family.prefix
    if names is not None and not any(name.startswith(prefix) for name in names):
        prefix = ""
    rows = [
        one._replace(parts=tuple(part._replace(name=prefix + part.name) for part in one.parts))
        for one in family.rows(config)
    ]
    if family.head is not None and not config.tie_weights:
        rows.append(family.head)
    return rows


def _is_tied(family: Family, config: Any) -> bool:
    return family.head is not None and bool(config.tie_weights)


def _check_tied(family: Family, rows: Sequence[Row], files: Mapping[str, TensorFile], folder: Path) -> None:
    """Tied weights may be written twice, if both are equal."""
    assert family.head is not None
    head = family.head.parts[0].name
    embedding = next(one.parts[0].name for one in rows if one.ours == "tok_emb.weight")
    if head not in files or embedding not in files:
        return
    entries = [files[name].entries[name] for name in (head, embedding)]
    if (
        entries[0].shape != entries[1].shape
        or entries[0].dtype != entries[1].dtype
        or not np.array_equal(files[head].read(head).view(np.uint8), files[embedding].read(embedding).view(np.uint8))
    ):
        raise CheckpointError(
            f"{folder / CONFIG} says that {head} and {embedding} are one matrix, but the files have two; set "
            "tie_word_embeddings to false if the output layer has weights of its own"
        )


def save_huggingface(
    model: Any,
    folder: str | Path,
    *,
    dtype: str = "float32",
    largest: int = LARGEST_SHARD,
    tie_twice: bool = False,
    tokenizer: Any = None,
    warn: Warn = warn_user,
) -> str:
    """Write a model for transformers.

    Args:
        model: a `GPT`, `Llama` or `Bert`; adapters must be merged before.
        folder: the folder to write to; it must not hold a model.
        dtype: of the weights in the file: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        largest: bytes of weights in one file; a larger model is written as several files with an index.
        tie_twice: whether the matrix of a tied output layer is written a second time, for programs that look for it.
        tokenizer: the model's tokenizer, which is written as ``tokenizer.json`` with its settings.
        warn: called with a sentence if transformers cannot have it, and minitrain alone will find it.

    Returns:
        The family that it was written as, such as ``"llama"``.

    Raises:
        CheckpointError: if no family has such a model, a weight does not fit ``dtype``, the folder holds a model, or
            the tokenizer has more tokens than the model.
        FileError: if a file cannot be written.
    """
    folder = Path(folder)
    config: Any = getattr(model, "config", None)
    family = family_of(config)
    for name in (CONFIG, SINGLE, INDEX, *(ALL_FILES if tokenizer is not None else ())):
        if (folder / name).exists():
            raise CheckpointError(f"{folder} holds a model already: there is {name} in it; give another folder")
    if tokenizer is not None:
        check_size(tokenizer, config.vocab_size)
    rows = _rows(family, config)
    if _is_tied(family, config) and tie_twice:
        assert family.head is not None
        rows.append(family.head._replace(ours="tok_emb.weight"))
    arrays = {
        name: rounded(array, dtype, name)
        for name, array in arrays_of(model, rows, config.n_layer, decoder_sizes(config))
    }
    make_folder(folder)
    write_tensors(folder, arrays, largest=largest)
    family.add(folder, config)
    settings = write_settings(family, config) | {"dtype": dtype, "torch_dtype": dtype}
    if tokenizer is not None:
        settings |= write_tokenizer(tokenizer, family, folder, config.block_size, warn)
    write_atomically(folder / CONFIG, json.dumps(settings, indent=2, sort_keys=True).encode() + b"\n")
    return family.name


def family_of(config: Any) -> Family:
    """The family that a configuration of minitrain can be written as.

    Raises:
        CheckpointError: if there is none.
    """
    for family in FAMILIES.values():
        if family.fits(config):
            return family
    raise CheckpointError(
        f"a {type(config).__name__} with these settings is no model that transformers has: it has GPTs with learned "
        "positions and as many key heads as heads, and Llamas with rotary positions"
    )
