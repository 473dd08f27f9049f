"""The names of what can be seen inside a model, and the layers that compute it.

| name | what it is |
|---|---|
| ``tok_emb.out``, ``pos_emb.out``, … | the output of an embedding |
| ``blocks.0.in``, ``.mid``, ``.out`` | the stream before a block, between its branches, and after it (B, T, C) |
| ``blocks.0.norm1.out``, ``norm.out``, … | the output of a norm |
| ``blocks.0.attention.q``, ``.k``, ``.v`` | queries and keys as they are compared, and values (B, T, H, D) |
| ``blocks.0.attention.weights`` | the attention pattern (B, H, T, S); rows sum to 1 |
| ``blocks.0.attention.mixed`` | what each head has gathered (B, T, H, D), before the output projection |
| ``decoder.0.cross.weights``, … | the same of attention to another sequence (B, H, T, S) |
| ``blocks.0.feed_forward.hidden`` | the hidden layer after its activation, the input of ``down`` |
| ``blocks.0.attention.out``, ``blocks.0.feed_forward.out`` | what a branch adds to the stream |
| ``logits`` | the output of the model |

``.grad`` after ``.in``, ``.mid``, ``.out`` or ``logits`` names the gradient of the loss with respect to it. In
patterns, ``*`` stands for one part of a name, and ``**`` for any number of parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import ConfigError, did_you_mean
from ..models.common.cross_entropy import CrossEntropyModel
from ..nn.attention.cross_attention import CrossAttention
from ..nn.attention.positions import LearnedPositions, SinusoidalPositions
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.blocks.block import PreNormBlock
from ..nn.blocks.residual_block import ResidualBlock
from ..nn.core.module import Module
from ..nn.layers.conv_stem import ConvStem
from ..nn.layers.embedding import Embedding
from ..nn.layers.feed_forward import FeedForward
from ..nn.layers.gated_feed_forward import GatedFeedForward
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.patch_embedding import PatchEmbedding
from ..nn.layers.rms_norm import RMSNorm

PLAIN = (Embedding, LearnedPositions, SinusoidalPositions, PatchEmbedding, ConvStem, LayerNorm, RMSNorm)
SHOWN: dict[type[Module], tuple[str, ...]] = {
    CrossEntropyModel: ("logits",),
    **dict.fromkeys((MultiHeadAttention, CrossAttention), ("q", "k", "v", "weights", "mixed", "out")),
    FeedForward: ("hidden", "out"),
    GatedFeedForward: ("hidden", "out"),
    **dict.fromkeys((ResidualBlock, *PLAIN), ("out",)),
}
"""The arrays that layers of a type show once the layers inside them have run."""
WITH_GRADIENT = ("in", "mid", "out", "logits")


class Site(NamedTuple):
    """A place where a value is computed."""

    layer: Module  # that computes it
    kind: str  # the last part of its name


def names(model: Module, pattern: str = "**") -> list[str]:
    """The names of what `capture` can show, in the order in which it is computed; gradients are last.

    Args:
        model: any model; GPT and Llama show everything.
        pattern: which names, see `minitrain.inside.sites`.

    Raises:
        ConfigError: if there is none; the message has the nearest name.
    """
    return list(chosen(model, [pattern]))


def chosen(model: Module, patterns: Iterable[str]) -> dict[str, Site]:
    """The sites that match one of the patterns, by name.

    Raises:
        ConfigError: if a pattern matches none; the message has the nearest name.
    """
    known = dict(_walk(model, "", set()))
    known |= {f"{name}.grad": site for name, site in known.items() if site.kind in WITH_GRADIENT}
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in known if _expression(pattern).fullmatch(name)}
        if not matching:
            raise ConfigError(
                f"{type(model).__name__} has no {pattern!r} inside; "
                f"{did_you_mean(pattern, known)}minitrain.inside.names(model) lists what there is"
            )
        found |= matching
    return {name: site for name, site in known.items() if name in found}


def _walk(layer: Module, path: str, seen: set[int]) -> Iterator[tuple[str, Site]]:
    """The sites in a layer, by name. A layer that the model has twice is known by its first path."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if isinstance(layer, ResidualBlock):
        yield f"{path}in", Site(layer, "in")
    for name, member in vars(layer).items():
        parts = enumerate(member) if isinstance(member, list) else [(None, member)]
        for i, part in parts:
            if isinstance(part, Module):
                if isinstance(layer, PreNormBlock) and part is layer.norm2:
                    yield f"{path}mid", Site(part, "mid")  # the norm adds the first branch to the stream
                yield from _walk(part, f"{path}{name}." if i is None else f"{path}{name}.{i}.", seen)
    shown = next((kinds for known, kinds in SHOWN.items() if isinstance(layer, known)), ())
    yield from ((f"{path}{kind}", Site(layer, kind)) for kind in shown)


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", r"[^.]*"))
