"""Models in GGUF files, in and out.

model = load_gguf("SmolLM2-135M-Instruct.Q4_1.gguf")
save_gguf(model, "mine.gguf", dtype="q8_0")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...checkpoint.store import Warn, warn_user
from ...errors import CheckpointError, ConfigError
from ...files import open_atomically
from ...nn.attention.heads import Rope
from ..table import arrays_of, build_blank, check_shapes, decoder_sizes, fill, shortened, without_block_size
from .blocks import BF16, F16, F32, Q8_0, block_of, packed
from .header import ALIGNMENT, header_of
from .names import ARCHITECTURES, FIXED, KNOWN, OUTPUT, ROPE, TOKENS, TYPES, Architecture
from .reader import MAGIC, GGUFFile
from .vocabulary import vocabulary_of

DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16, "q8_0": Q8_0}
"""The types that weights are written in."""
FILE_TYPES = {F32: 0, F16: 1, Q8_0: 7, BF16: 32}
"""``general.file_type`` of a file whose matrices have a type."""
GELU = "minitrain.gelu"
"""A setting of our own: GGUF does not say which form of GELU a model was trained with."""
POOLS = {1: "mean", 2: "first"}


def is_gguf(path: str | Path) -> bool:
    """Whether a path is a file that begins as GGUF does."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def load_gguf(path: str | Path, **changes: Any) -> Any:
    """The model in a GGUF file.

    Args:
        path: the file.
        changes: settings of minitrain in place of the file's, such as ``dropout=0.1`` or a smaller ``block_size``.

    Returns:
        A `GPT`, `Llama` or `Bert` in float32, on the CPU. Weights in blocks of 4, 5 or 8 bits are unpacked.

    Raises:
        CheckpointError: if the file is missing or damaged, of another family, has a setting that minitrain does not
            know or have, or arrays of a type that cannot be unpacked.
    """
    return model_of(GGUFFile(path), changes)


def model_of(file: GGUFFile, changes: Mapping[str, Any]) -> Any:
    """The model in a file that is open; see `load_gguf`."""
    changes, block_size = without_block_size(changes)
    architecture, config = read_config(file, changes)
    ignored = [ROPE] if ROPE in file.tensors else []
    rows, sizes = architecture.rows(config), decoder_sizes(config)
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    check_shapes(rows, config.n_layer, sizes, shapes, str(file.path), ignored)
    model = build_blank(architecture.model, config)
    fill(model, rows, config.n_layer, file.read, sizes)
    return shortened(model, block_size)


def read_config(file: GGUFFile, changes: Mapping[str, Any]) -> tuple[Architecture, Any]:
    """The family of the model in a file, and its configuration.

    Raises:
        CheckpointError: see `load_gguf`.
    """
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(
            f"{file.path} has a model of the architecture {name!r:.100}; minitrain reads {', '.join(ARCHITECTURES)}"
        )
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise CheckpointError(f"{file.path} is one part of several: join them with llama-gguf-split --merge")
    architecture, start = ARCHITECTURES[name], f"{name}."
    values = {key.removeprefix(start): value for key, value in file.metadata.items() if key.startswith(start)}
    try:
        config = architecture.config(**_settings(architecture, values, file) | dict(changes))
    except (ConfigError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{file.path} has settings that fit no {name}: {error!s:.300}") from error
    return architecture, config


def _settings(architecture: Architecture, values: dict[str, Any], file: GGUFFile) -> dict[str, Any]:
    """Minitrain's settings; every one of the file is understood, or refused."""
    ours: dict[str, Any] = {"tie_weights": OUTPUT not in file.tensors}
    for theirs, name in architecture.settings.items():
        if theirs not in values and theirs not in architecture.defaults:
            raise CheckpointError(f"{file.path} does not say {architecture.name}.{theirs}")
        ours[name] = values.pop(theirs, architecture.defaults.get(theirs))
        if not isinstance(ours[name], int | float | None):
            raise ValueError(f"{theirs} must be one number for all layers")
    ours["vocab_size"] = file.tensors[TOKENS].shape[0] if TOKENS in file.tensors else 1
    fixed = FIXED
    if architecture.name == "bert":
        del ours["tie_weights"]
        fixed = FIXED | {"attention.causal": (False,)}
        ours["n_types"] = file.tensors[TYPES].shape[0] if TYPES in file.tensors else 1
        pooling = values.pop("pooling_type", 1)
        if pooling not in POOLS:
            raise ValueError(f"pooling_type = {pooling}; known are {', '.join(map(str, POOLS))}")
        ours["pool"] = POOLS[pooling]
    else:
        values.pop("pooling_type", None)
    if architecture.name == "gpt2":
        hidden = values.pop("feed_forward_length", 4 * ours["n_embd"])
        if hidden != 4 * ours["n_embd"]:
            raise ValueError(f"feed_forward_length = {hidden}; it can be 4 embedding_length alone")
    ours |= architecture.own
    if (gelu := file.metadata.get(GELU)) is not None and "gelu" in architecture.config.__dataclass_fields__:
        ours["gelu"] = gelu
    if architecture.name in ("llama", "qwen2", "qwen3"):
        D = values.get("attention.key_length", values.get("rope.dimension_count"))
        if D is not None and int(D) * ours["n_head"] != ours["n_embd"]:
            ours["head_width"] = int(D)
        ours |= _rope(values, ours, file)
    sizes = decoder_sizes(architecture.config(**ours))
    for theirs, letter in KNOWN.items():
        if theirs in values and (value := values.pop(theirs)) != sizes[letter]:
            raise ValueError(f"{theirs} = {value!r:.50}, but the other settings say {sizes[letter]}")
    for theirs, allowed in fixed.items():
        if theirs in values and (value := values.pop(theirs)) not in allowed:
            raise ValueError(f"{theirs} = {value!r:.50}, and minitrain has {' or '.join(map(repr, allowed))} alone")
    if values:
        theirs, value = next(iter(values.items()))
        raise ValueError(
            f"minitrain does not know what {theirs} = {value!r:.50} means, so the model would not be the same"
        )
    return ours


def _rope(values: dict[str, Any], ours: Mapping[str, Any], file: GGUFFile) -> dict[str, Any]:
    """The scaling of rotary positions; Llama 3's is an array of one divisor for each frequency."""
    kind, factor = values.pop("rope.scaling.type", "none"), values.pop("rope.scaling.factor", 1.0)
    original = values.pop("rope.scaling.original_context_length", 8192)
    values.pop("rope.scaling.finetuned", None)
    linear = {"rope_scaling": float(factor)} if kind == "linear" and factor else {}
    if kind not in ("none", "linear"):
        raise ValueError(f"rope.scaling.type = {kind!r:.50}; minitrain has none and linear")
    if ROPE not in file.tensors:
        return linear
    D = ours.get("head_width") or ours["n_embd"] // ours["n_head"]
    if linear or file.tensors[ROPE].shape != (D // 2,):
        raise ValueError(f"{ROPE} does not fit the other settings")
    given = file.read(ROPE)
    rope = Rope(float(ours["rope_base"]), float(given.max()), "llama3", original=int(original))
    with np.errstate(all="ignore"):
        expected = rope.base ** (-np.arange(0, D, 2) / D) / np.array(rope.options(D)["frequencies"])
    if np.allclose(given, expected, rtol=1e-5):
        return {"rope_kind": "llama3", "rope_scaling": rope.scaling, "rope_original": rope.original}
    raise ValueError(f"{ROPE} has factors of a scaling that minitrain does not have")


def save_gguf(
    model: Any,
    path: str | Path,
    *,
    dtype: str = "float16",
    tokenizer: Any = None,
    metadata: Mapping[str, Any] | None = None,
    warn: Warn = warn_user,
) -> str:
    """Write a model as a GGUF file.

    Args:
        model: a `GPT`, `Llama` or `Bert`; adapters must be merged before.
        path: the file.
        dtype: of the matrices: ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"q8_0"`` (8 bits, one scale for 32
            numbers). Norms and biases are always float32.
        tokenizer: the model's tokenizer, which is written for llama.cpp where GGUF can hold it, see
            `minitrain.interop.gguf.vocabulary`.
        metadata: further settings, by their names in GGUF.
        warn: called with a sentence if GGUF cannot hold the tokenizer.

    Returns:
        The architecture that it was written as, such as ``"llama"``.

    Raises:
        CheckpointError: if no architecture has such a model, a weight does not fit ``dtype``, or the tokenizer has more
            tokens than the model.
        FileError: if the file cannot be written.
    """
    config: Any = getattr(model, "config", None)
    architecture = next((one for one in ARCHITECTURES.values() if one.fits(config)), None)
    if architecture is None:
        raise CheckpointError(
            f"a {type(config).__name__} with these settings is no model that GGUF has: it has GPTs with learned "
            "positions, Llamas with rotary positions and no window, and BERTs without a pooler"
        )
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype={dtype!r}: weights are written as {', '.join(DTYPES)}")
    rows, sizes = architecture.rows(config), decoder_sizes(config)
    kind = DTYPES[dtype]
    arrays = dict(arrays_of(model, rows, config.n_layer, sizes))  # views, but for permuted rows
    if getattr(config, "rope_kind", "linear") == "llama3":
        usual = config.rope_base ** (-np.arange(0, sizes["D"], 2) / sizes["D"])
        arrays[ROPE] = (usual / np.array(config.rope.options(sizes["D"])["frequencies"])).astype(np.float32)
    kinds = {name: _kind_of(array, kind) for name, array in arrays.items()}
    given = _metadata(architecture, config, sizes) | {"general.file_type": np.uint32(FILE_TYPES[kind])}
    given |= vocabulary_of(tokenizer, sizes["V"], warn) | dict(metadata or {})
    with open_atomically(path) as file:
        header = b"".join(header_of(given, arrays, kinds))
        file.write(header + bytes(-len(header) % ALIGNMENT))
        for name, array in arrays.items():
            content = _content(array, kinds[name], name)
            file.write(content.data)
            file.write(bytes(-content.nbytes % ALIGNMENT))
    return architecture.name


def _kind_of(array: Array, kind: int) -> int:
    """Vectors stay float32, and so do matrices whose rows are no whole blocks."""
    if array.ndim < 2:
        return F32
    return kind if array.shape[-1] % block_of(kind)[0] == 0 else F16


def _content(array: Array, kind: int, name: str) -> Array:
    host = np.ascontiguousarray(array, np.float32)
    largest = abs(host).max(initial=0)
    limit = {F16: 65504.0, Q8_0: 65504.0 * 127}.get(kind, np.inf)
    if not largest <= limit or (kind == Q8_0 and not np.isfinite(largest)):
        raise CheckpointError(f"{name} has numbers that the type does not hold; use dtype='float32' or 'bfloat16'")
    return packed(host, kind).reshape(-1)


def _metadata(architecture: Architecture, config: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The settings of a model."""
    name = architecture.name
    values: dict[str, Any] = {"context_length": config.block_size, "embedding_length": sizes["C"]}
    values |= {"block_count": config.n_layer, "feed_forward_length": sizes["F"], "vocab_size": sizes["V"]}
    values |= {"attention.head_count": sizes["H"], "attention.head_count_kv": sizes["G"]}
    found: dict[str, Any] = {"general.architecture": name, "general.alignment": np.uint32(ALIGNMENT)}
    found["general.quantization_version"] = np.uint32(2)
    if name in ("gpt2", "bert"):
        del values["attention.head_count_kv"]
        values["attention.layer_norm_epsilon"] = float(config.eps)
        found[GELU] = config.gelu
    else:
        values |= {"attention.layer_norm_rms_epsilon": float(config.eps), "rope.freq_base": float(config.rope_base)}
        values |= {"rope.dimension_count": sizes["D"]}
        values |= {"attention.key_length": sizes["D"], "attention.value_length": sizes["D"]}
        if config.rope_kind == "llama3":
            values["rope.scaling.original_context_length"] = config.rope_original
        elif config.rope_scaling != 1:
            values |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(config.rope_scaling)}
    if name == "bert":
        pooling = next(number for number, pool in POOLS.items() if pool == config.pool)
        values |= {"attention.causal": False, "pooling_type": pooling}
    numbers = {key: np.uint32(value) if type(value) is int else value for key, value in values.items()}
    return found | {f"{name}.{key}": value for key, value in numbers.items()}
