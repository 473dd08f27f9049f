"""The formats that models are written to and read from, as data: a new one is a row of a table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint.store import Warn, warn_user
from ..data import Tokenizer
from ..errors import CheckpointError, ConfigError, DataError, did_you_mean
from ..files import FileError
from ..nn.adapters.lora import has_adapters, merge_lora
from .gguf.model import is_gguf, load_gguf, read_config
from .gguf.reader import GGUFFile
from .gguf.vocabulary import copied_vocabulary, read_vocabulary
from .huggingface import describe_huggingface, is_huggingface, load_huggingface
from .huggingface_tokenizer import read_tokenizer


class Format(NamedTuple):
    """A format to write.

    Attributes:
        what: what is written, for help texts.
        writer: ``module:function``, called as ``function(model, out, **options)``. Its module is imported when it is
            used.
        options: the valid values of its options, the usual one first, by the options' names.
        tokenizer: whether the writer also takes a ``tokenizer``, and ``warn`` for what it leaves out.
    """

    what: str
    writer: str
    options: Mapping[str, tuple[str | int, ...]]
    tokenizer: bool = True


FORMATS: dict[str, Format] = {
    "huggingface": Format(
        "a folder for transformers: config.json, safetensors and the tokenizer",
        "minitrain.interop.huggingface:save_huggingface",
        {"dtype": ("float32", "bfloat16", "float16")},
    ),
    "gguf": Format(
        "a file for llama.cpp: the model and its tokenizer",
        "minitrain.interop.gguf.model:save_gguf",
        {"dtype": ("float16", "float32", "bfloat16", "q8_0")},
    ),
    "onnx": Format(
        "a graph for onnxruntime and others",
        "minitrain.interop.onnx:export_onnx",
        {"opset": (23, 17)},
        tokenizer=False,
    ),
}
"""The formats by name."""


def export(
    model: Any,
    to: str,
    out: str | Path,
    *,
    tokenizer: Tokenizer | str | Path | None = None,
    warn: Warn = warn_user,
    **options: str | int,
) -> None:
    """Write a model in a format. Adapters are merged into it first.

    Args:
        model: the model.
        to: a key of ``FORMATS``.
        out: the file or folder to write.
        tokenizer: the model's tokenizer; or the published model that it is taken from, a folder or a GGUF file. ONNX
            has no place for one.
        warn: called with a sentence if the tokenizer is left out, or is not there.
        options: those of the format, such as ``dtype="bfloat16"``; the usual values otherwise.

    Raises:
        ConfigError: if there is no such format, option or value.
        CheckpointError: if the format has no such model.
        FileError: if a file cannot be written.
    """
    if to not in FORMATS:
        raise ConfigError(f"there is no format {to!r}: {did_you_mean(to, FORMATS)}use one of {', '.join(FORMATS)}")
    form = FORMATS[to]
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        values = {str(one): one for one in form.options.get(name, ())}
        if str(value) not in values:
            one_of = f": use one of {', '.join(values)}" if values else ""
            raise ConfigError(f"{to} has no {name} {value!r}{one_of}")
        chosen[name] = values[str(value)]
    if has_adapters(model):
        merge_lora(model)
    if form.tokenizer:
        chosen |= _vocabulary(tokenizer, to, warn) | {"warn": warn}
    module, _, function = form.writer.partition(":")
    getattr(importlib.import_module(module), function)(
        model, out, **{name: values[0] for name, values in form.options.items()} | chosen
    )


def _vocabulary(tokenizer: Tokenizer | str | Path | None, to: str, warn: Warn) -> dict[str, Any]:
    """The tokenizer as an argument of a writer. From one GGUF file to another, its settings are copied."""
    if not isinstance(tokenizer, str | Path):
        return {"tokenizer": tokenizer}
    if to == "gguf" and is_gguf(tokenizer):
        return {"metadata": copied_vocabulary(GGUFFile(tokenizer).metadata)}
    try:
        return {"tokenizer": published_tokenizer(tokenizer)}
    except (DataError, FileError) as error:
        warn(f"the model is written without a tokenizer: {error}")
        return {}


def is_published(place: str | Path) -> bool:
    """Whether a path is a folder of transformers or a GGUF file."""
    return is_huggingface(place) or is_gguf(place)


def load_published(place: str | Path, **changes: Any) -> Any:
    """The model in a folder of transformers or in a GGUF file; see `load_huggingface` and `load_gguf`.

    Raises:
        CheckpointError: if it is neither, or cannot be read.
    """
    if is_gguf(place):
        return load_gguf(place, **changes)
    if is_huggingface(place):
        return load_huggingface(place, **changes)
    raise CheckpointError(f"{place} is neither a folder of transformers (with config.json) nor a GGUF file")


def published_tokenizer(place: str | Path) -> Tokenizer:
    """The tokenizer of a folder of transformers or a GGUF file.

    Raises:
        DataError: if there is none, or minitrain cannot do exactly what it does.
        FileError: if a file of it is missing or cannot be read.
    """
    return read_vocabulary(GGUFFile(place).metadata) if is_gguf(place) else read_tokenizer(place)


def describe_published(place: str | Path) -> tuple[str, str, Any]:
    """The format, the family and minitrain's configuration of a published model, without its weights.

    Raises:
        CheckpointError: if it is not one, or cannot be read.
    """
    if is_gguf(place):
        architecture, config = read_config(GGUFFile(place), {})
        return "gguf", architecture.name, config
    return ("huggingface", *describe_huggingface(place))
