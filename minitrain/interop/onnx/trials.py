"""Calls of a model and of its exported graphs with the same inputs: what a check compares.

Each function yields what was tried, the model's outputs, and those of the graph. Inputs are drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import Array, device_of, to_device, to_numpy
from ...models.captioner import Captioner
from ...models.clip import Clip
from ...models.common.decoder import Decoder
from ...models.encoder import Encoder
from ...models.masked import MaskedEncoder
from ...models.mlp import MLP
from ...models.seq2seq import Seq2Seq
from ...models.vit import ViT
from .decoder import LOGITS, TOKENS
from .graph import Graph
from .images import IMAGES
from .seq2seq import SOURCE, TARGET

Feed = Mapping[str, NDArray[Any]]
Run = Callable[[Feed], dict[str, NDArray[Any]]]
"""Runs a graph: from its inputs to its outputs, both by name."""

PROMPTS = ((1, 1), (2, 7), (3, 26))
"""Rows and length of each prompt; 1 and then 5 tokens follow it."""


class Trial(NamedTuple):
    """The outputs of one call."""

    what: str
    expected: NDArray[Any]
    found: NDArray[Any]


class Opened(NamedTuple):
    """A graph that can be run."""

    graph: Graph
    run: Run


def try_decoder(model: Decoder, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """A prompt, then 1, then 5 tokens, with the cache if the graph has one; else all at once."""
    (opened,) = graphs.values()
    rng, config = np.random.default_rng(0), model.config
    for rows, prompt in PROMPTS:
        tokens = rng.integers(0, config.vocab_size, (rows, prompt + 6))[:, -config.block_size :]
        wanted = _forward(model, tokens)
        if _cache_names(opened.graph):
            yield from _steps(opened, {}, TOKENS, tokens, wanted)
        else:
            found = opened.run({TOKENS: tokens})[LOGITS]
            yield Trial(f"{tokens.shape[1]} tokens, batch {rows}", wanted, found)


def try_encoder(model: Encoder | MaskedEncoder, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Texts of different lengths, one without a token among them."""
    (opened,) = graphs.values()
    rng, config = np.random.default_rng(0), model.config
    for rows, longest in PROMPTS:
        tokens = rng.integers(0, config.vocab_size, (rows, min(longest, config.block_size)))
        lengths = rng.integers(0, tokens.shape[1] + 1, rows)
        lengths[0] = tokens.shape[1]
        found = opened.run({"input_ids": tokens, "lengths": lengths})["logits"]
        yield Trial(f"{tokens.shape[1]} tokens, batch {rows}", _forward(model, tokens, lengths=lengths), found)


def try_vit(model: ViT, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Images of noise."""
    config = model.config
    yield from _batches(model, graphs, IMAGES, (config.channels, config.image_size, config.image_size), "logits")


def try_clip(model: Clip, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Both encoders, each by itself."""
    yield from try_vit(model.image, {"": graphs["image"]})
    yield from try_encoder(model.text, {"": graphs["text"]})


def try_mlp(model: MLP, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Vectors of noise."""
    yield from _batches(model, graphs, "inputs", (model.config.widths[0],), "outputs")


def try_seq2seq(model: Seq2Seq, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Padded sources and their targets; with a cache, the targets come in steps and have no padding."""
    rng, config = np.random.default_rng(0), model.config
    for rows, length in PROMPTS:
        source = _padded(rng, config.vocab_size, (rows, min(length, config.block_size)), config.pad_idx)
        yield from _written(model, graphs, rng, SOURCE, source, config.n_targets, length)


def try_captioner(model: Captioner, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Images of noise and their texts; with a cache, the texts come in steps and have no padding."""
    rng, config = np.random.default_rng(0), model.config
    for rows, length in PROMPTS:
        images = rng.standard_normal((rows, config.channels, config.image_size, config.image_size)).astype(np.float32)
        yield from _written(model, graphs, rng, IMAGES, images, config.vocab_size, length)


def _written(
    model: Seq2Seq | Captioner,
    graphs: Mapping[str, Opened],
    rng: np.random.Generator,
    name: str,
    source: NDArray[Any],
    vocabulary: int,
    length: int,
) -> Iterator[Trial]:
    """The target that is written to a source, in one graph or in one for each stack."""
    cached, config = "decoder" in graphs, model.config
    shape = len(source), min(length + 6, config.block_size)
    target = _padded(rng, vocabulary, shape, config.pad_idx, shortest=shape[1] if cached else 0)
    wanted = _forward(model, source, target)
    if cached:
        read = graphs["encoder"].run({name: source})
        yield from _steps(graphs["decoder"], read, TARGET, target, wanted)
    else:
        found = graphs[""].run({name: source, TARGET: target})[LOGITS]
        yield Trial(f"source {source.shape}, target {target.shape}", wanted, found)


def _padded(
    rng: np.random.Generator, vocabulary: int, shape: tuple[int, int], pad_idx: int, *, shortest: int = 0
) -> NDArray[np.int64]:
    """Token ids (B, T), padded at the end; the first row is full."""
    tokens = rng.integers(0, vocabulary, shape)
    tokens[tokens == pad_idx] = (pad_idx + 1) % vocabulary
    lengths = rng.integers(shortest, shape[1] + 1, shape[0])
    lengths[0] = shape[1]
    return np.where(np.arange(shape[1]) < lengths[:, None], tokens, pad_idx)


def _steps(opened: Opened, fixed: Feed, name: str, tokens: NDArray[Any], wanted: NDArray[Any]) -> Iterator[Trial]:
    """Tokens (B, T) in three calls with a cache: all but six, one, the rest."""
    names = _cache_names(opened.graph)
    heads = {port.name: port.shape for port in opened.graph.inputs}
    rows, total = tokens.shape
    first = max(1, total - 6)
    cache = {past: np.zeros((rows, int(heads[past][1]), 0, int(heads[past][3])), np.float32) for past in names}
    for start, stop in ((0, first), (first, min(first + 1, total)), (min(first + 1, total), total)):
        if start == stop:
            continue
        out = opened.run({name: tokens[:, start:stop], **fixed, **cache})
        yield Trial(f"tokens {start} to {stop}, batch {rows}", wanted[:, start:stop], out[LOGITS])
        cache = {past: out[present] for past, present in names.items()}


def _cache_names(graph: Graph) -> dict[str, str]:
    """The output that each cache input takes in the next call."""
    names = [port.name for port in graph.inputs if port.name.startswith("past_key_values.")]
    return {name: name.replace("past_key_values", "present") for name in names}


def _batches(
    model: Any, graphs: Mapping[str, Opened], name: str, shape: tuple[int, ...], output: str
) -> Iterator[Trial]:
    (opened,) = graphs.values()
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3):
        inputs = rng.standard_normal((rows, *shape)).astype(np.float32)
        yield Trial(f"batch {rows}", _forward(model, inputs), opened.run({name: inputs})[output])


def _forward(model: Any, *inputs: NDArray[Any], **options: NDArray[Any]) -> Array:
    """The model's outputs on the CPU."""
    device = device_of(model.parameters()[0].data).partition(":")[0]
    moved = [to_device(one, device) for one in inputs]
    out, _ = model.forward(*moved, **{name: to_device(one, device) for name, one in options.items()})
    return to_numpy(out)
