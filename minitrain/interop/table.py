"""Which weight of a model is which array of a file: tables of rows, and the moves between both.

A family of models is described by a table. The table also says each array's shape in letters, so a file is compared
with its settings before a model of any size is built.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import CheckpointError
from ..nn.attention.positions import LearnedPositions
from ..nn.core.init import blank_weights
from ..nn.core.module import Module, some_of
from ..nn.core.parameter import Parameter

MINITRAIN = __name__.partition(".")[0] + "."
"""The beginning of the names of minitrain's own modules."""


class Part(NamedTuple):
    """An array of a file.

    Attributes:
        name: its name; ``{i}`` stands for the number of the block.
        shape: letters of its sizes, in minitrain's order (out, in).
        heads: the number of heads whose rows are permuted (GGUF's Llama), as a letter.
    """

    name: str
    shape: str
    heads: str = ""


class Row(NamedTuple):
    """A weight of a model, and the arrays that hold its rows.

    Attributes:
        ours: path of the weight.
        parts: the arrays, one after the other.
        transposed: whether the file has them as (in, out).
        zeros: whether a model may lack the weight, whose array is then zeros: a bias.
    """

    ours: str
    parts: tuple[Part, ...]
    transposed: bool = False
    zeros: bool = False


def row(ours: str, theirs: str, shape: str, *, transposed: bool = False, zeros: bool = False) -> Row:
    """A weight that is one array."""
    return Row(ours, (Part(theirs, shape),), transposed, zeros)


Sizes = Mapping[str, int]
"""The sizes that the letters stand for."""


def decoder_sizes(config: Any) -> dict[str, int]:
    """The letters of a decoder or an encoder of minitrain.

    ``V`` vocabulary, ``P`` positions, ``C`` width, ``F`` width of the feed-forward layer, ``H`` and ``G`` heads of
    queries and of keys, ``D`` width of a head, ``Q`` and ``K`` width of all queries and of all keys, ``A`` all three.
    """
    H = config.n_head
    G = getattr(config, "n_kv_head", None) or H
    D = getattr(config, "head_width", None) or config.n_embd // H
    F = getattr(config, "hidden", None) or getattr(config, "n_hidden", None) or 4 * config.n_embd
    return {
        "V": config.vocab_size,
        "P": config.block_size,
        "C": config.n_embd,
        "F": F,
        "H": H,
        "G": G,
        "D": D,
        "Q": H * D,
        "K": G * D,
        "A": (H + 2 * G) * D,
        "T": getattr(config, "n_types", 0),
    }


def expand(rows: Sequence[Row], layers: int) -> Iterator[Row]:
    """The rows of all blocks: one for each number in place of ``{i}``."""
    for one in rows:
        if "{i}" not in one.ours:
            yield one
            continue
        for i in range(layers):
            parts = tuple(part._replace(name=part.name.replace("{i}", str(i))) for part in one.parts)
            yield one._replace(ours=one.ours.replace("{i}", str(i)), parts=parts)


def shape_of(part: Part, sizes: Sizes, transposed: bool) -> tuple[int, ...]:
    """The shape of an array in the file."""
    shape = tuple(sizes[letter] for letter in part.shape.split())
    return shape[::-1] if transposed else shape


def check_shapes(
    rows: Sequence[Row],
    layers: int,
    sizes: Sizes,
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
    ignored: Sequence[str] = (),
) -> None:
    """Compare a file's arrays with the table, before anything is built.

    Args:
        rows: the table.
        layers: number of blocks, as the file's settings say.
        sizes: the values of the letters, from the same settings.
        shapes: shape of each array in the file.
        where: the file, for messages.
        ignored: patterns of names that may be there and hold nothing.

    Raises:
        CheckpointError: if an array is missing, unknown, or has another shape.
    """
    blocks = sum("{i}" in one.ours for one in rows)
    if layers * blocks > len(shapes):  # before the table is written out: the number may be anything
        raise CheckpointError(f"{where}: its settings say {layers} layers, but it has {len(shapes)} arrays")
    needed = {part.name: (part, one.transposed) for one in expand(rows, layers) for part in one.parts}
    if missing := [name for name in needed if name not in shapes]:
        raise CheckpointError(f"{where} lacks {some_of(missing)}")
    patterns = [re.compile(pattern) for pattern in ignored]
    unknown = [name for name in shapes if name not in needed and not any(p.fullmatch(name) for p in patterns)]
    if unknown:
        raise CheckpointError(
            f"{where} has arrays that its settings do not explain: {some_of([f'{name:.100}' for name in unknown])}"
        )
    for name, (part, transposed) in needed.items():
        if shapes[name] != (expected := shape_of(part, sizes, transposed)):
            raise CheckpointError(f"{where}: {name} has shape {shapes[name]}, but its settings say {expected}")


def build_blank(model: Callable[[Any], Module], config: Any) -> Module:
    """A model whose weights are loaded next: they are not drawn, and take no memory yet."""
    with blank_weights():
        return model(config)


def fill(model: Module, rows: Sequence[Row], layers: int, read: Callable[[str], Array], sizes: Sizes) -> None:
    """Set all weights of a model from the arrays of a file, whose shapes were checked.

    Args:
        model: the model.
        rows: the table.
        layers: number of blocks.
        read: a file's array by name, in float32.
        sizes: the values of the letters.

    Raises:
        CheckpointError: if the table leaves a weight out.
    """
    parameters: dict[str, Parameter] = dict(model.named_parameters())
    for one in expand(rows, layers):
        parts = []
        for part in one.parts:
            array = read(part.name)
            array = array.T if one.transposed else array
            parts.append(unpermuted(array, sizes[part.heads]) if part.heads else array)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        parameter = parameters.pop(one.ours)
        assert parameter.data.shape == whole.shape, one.ours
        parameter.data = np.ascontiguousarray(whole)
    if parameters:
        raise CheckpointError(f"no array of the file is {some_of(list(parameters))}")


def without_block_size(changes: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The changes without a block size, which is for `shortened`, and the block size."""
    rest = dict(changes)
    return rest, rest.pop("block_size", None)


def shortened(model: Any, block_size: int | None) -> Any:
    """A model for sequences of at most ``block_size`` tokens, which must not be more than it was made for.

    A table of positions loses its last rows.

    Raises:
        CheckpointError: if the model is for shorter sequences.
    """
    if block_size is None:
        return model
    config = model.config
    if block_size > config.block_size:
        raise CheckpointError(f"block_size = {block_size}: the model is for sequences of at most {config.block_size}")
    model.config = dataclasses.replace(config, block_size=block_size)
    if isinstance(model.pos_emb, LearnedPositions):
        model.pos_emb.weight.data = model.pos_emb.weight.data[:block_size].copy()
    return model


def arrays_of(model: Module, rows: Sequence[Row], layers: int, sizes: Sizes) -> Iterator[tuple[str, Array]]:
    """The arrays of a file, one after the other, from a model: views or copies on the CPU.

    Raises:
        CheckpointError: if the model has weights that the table does not know, such as those of adapters, or a part
            that computes something else than minitrain's.
    """
    _check_forwards(model)
    state = model.state_dict()
    known = {one.ours for one in expand(rows, layers)}
    if unknown := [path for path in state if path not in known]:
        hint = "; call merge_lora(model) first" if any("lora_" in path for path in unknown) else ""
        raise CheckpointError(f"the format has no place for {some_of(unknown)}{hint}")
    for one in expand(rows, layers):
        ends = np.cumsum([sizes[part.shape.split()[0]] for part in one.parts]).tolist()
        if one.ours in state:
            whole = to_numpy(state[one.ours])
        elif one.zeros:
            rest = [sizes[letter] for letter in one.parts[0].shape.split()[1:]]
            whole = np.zeros((ends[-1], *rest), np.float32)
        else:
            raise CheckpointError(f"the format needs {one.ours}, which the model does not have")
        for part, end in zip(one.parts, ends, strict=True):
            array = whole[end - sizes[part.shape.split()[0]] : end]
            array = permuted(array, sizes[part.heads]) if part.heads else array
            yield part.name, array.T if one.transposed else array


def _check_forwards(model: Module) -> None:
    """Check that nothing in a model has a forward of the user's own: other programs would compute the usual one.

    Raises:
        CheckpointError: with the first such part.
    """
    for path, part in model.named_modules():
        for name in ("forward", "forward_hidden"):
            method = getattr(type(part), name, None)
            if method is not None and not method.__module__.startswith(MINITRAIN):
                where = f"{path}, a {type(part).__name__}" if path else type(part).__name__
                raise CheckpointError(
                    f"{where} has a {name} of its own, and a program that reads the file would not know of it; save it "
                    "as a checkpoint of minitrain, or build the model from minitrain's own layers"
                )


def permuted(rows: Array, heads: int) -> Array:
    """Rows of queries or keys in GGUF's order for Llama, in which the two elements of a rotated pair are neighbours.

    minitrain and transformers rotate element i with element i + D / 2.

    Args:
        rows: (heads D, ...) weights.
        heads: number of heads.
    """
    D = len(rows) // heads
    return rows.reshape(heads, 2, D // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermuted(rows: Array, heads: int) -> Array:
    """The inverse of `permuted`."""
    D = len(rows) // heads
    return rows.reshape(heads, D // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
