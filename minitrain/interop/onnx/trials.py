"""Calls of a model and of its exported graphs with the same inputs: what a check compares.

Each function yields what was tried, the model's outputs, and those of the graph. Inputs are drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import Array, device_of, to_device, to_numpy
from ...models.common.decoder import Decoder
from ...models.encoder import Encoder
from ...models.mlp import MLP
from ...models.seq2seq import Seq2Seq
from ...models.vit import ViT
from .decoder import LOGITS, TOKENS
from .graph import Graph
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


def try_encoder(model: Encoder, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
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
    yield from _batches(model, graphs, "images", (config.channels, config.image_size, config.image_size), "logits")


def try_mlp(model: MLP, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Vectors of noise."""
    yield from _batches(model, graphs, "inputs", (model.config.widths[0],), "outputs")


def try_seq2seq(model: Seq2Seq, graphs: Mapping[str, Opened]) -> Iterator[Trial]:
    """Padded sources and their targets; with a cache, the targets come in steps and have no padding."""
    rng, config = np.random.default_rng(0), model.config

    def draw(vocabulary: int, rows: int, length: int, shortest: int) -> NDArray[np.int64]:
        """Token ids, padded at the end; the first row is full."""
        tokens = rng.integers(0, vocabulary, (rows, min(length, config.block_size)))
        tokens[tokens == config.pad_idx] = (config.pad_idx + 1) % vocabulary
        lengths = rng.integers(min(shortest, tokens.shape[1]), tokens.shape[1] + 1, rows)
        lengths[0] = tokens.shape[1]
        return np.where(np.arange(tokens.shape[1]) < lengths[:, None], tokens, config.pad_idx)

    for rows, length in PROMPTS:
        cached = "decoder" in graphs
        source = draw(config.vocab_size, rows, length, 0)
        target = draw(config.n_targets, rows, length + 6, length + 6 if cached else 0)
        wanted = _forward(model, source, target)
        if cached:
            read = graphs["encoder"].run({SOURCE: source})
            yield from _steps(graphs["decoder"], read, TARGET, target, wanted)
        else:
            found = graphs[""].run({SOURCE: source, TARGET: target})[LOGITS]
            yield Trial(f"source {source.shape}, target {target.shape}", wanted, found)


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
