"""The size and cost of a model: parameters by part, arithmetic, and memory in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..display.markup import block, shown, table
from ..formats import short, size
from ..nn.attention.cross_attention import CrossAttention
from ..nn.attention.positions import LearnedPositions
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from ..nn.layers.conv_stem import ConvStem
from ..nn.layers.embedding import Embedding
from ..nn.layers.feed_forward import FeedForward
from ..nn.layers.gated_feed_forward import GatedFeedForward
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..nn.layers.patch_embedding import PatchEmbedding
from ..nn.layers.rms_norm import RMSNorm
from .flops import TRAINING, Flops

# A layer of such a kind belongs to its part with all layers inside it: a norm inside attention counts as attention.
PARTS: dict[str, tuple[type[Module], ...]] = {
    "embedding": (Embedding, LearnedPositions, PatchEmbedding, ConvStem),
    "attention": (MultiHeadAttention, CrossAttention),
    "feed-forward": (FeedForward, GatedFeedForward),
    "norms": (LayerNorm, RMSNorm),
}
HEAD, LAYERS = "head", "linear layers"
ADAMW_COPIES = 4
"""Copies of the weights in memory: the weights, their gradients and AdamW's two moments."""


class ModelSummary(NamedTuple):
    """The size and cost of a model; printed, it is a table.

    Attributes:
        parameters: number of weights by part, of parts that have any; a matrix shared by two counts for the first.
        flops: floating-point operations of the forward of one sample.
        weight_bytes: memory of the weights.
    """

    parameters: dict[str, int]
    flops: Flops
    weight_bytes: int

    @property
    def parameter_count(self) -> int:
        """The sum of all parts."""
        return sum(self.parameters.values())

    @property
    def training_bytes(self) -> int:
        """Memory of weights, gradients and AdamW's moments; activations are extra."""
        return ADAMW_COPIES * self.weight_bytes

    def rows(self) -> dict[str, str]:
        """The summary as names and values, for a table."""
        rows = {"parameters": f"{self.parameter_count:,}"}
        for part, count in self.parameters.items():
            rows[f"  {part}"] = f"{count:,} ({count / self.parameter_count:.1%})"
        tokens, _, attention = self.flops
        per_token = self.flops.total / tokens
        unit = "token" if tokens > 1 else "vector"
        rows[f"FLOPs per {unit}"] = f"{short(per_token)} forward, {short(TRAINING * per_token)} in a training step"
        if attention:
            rows["  of which compare positions"] = f"{attention / self.flops.total:.1%}"
        if tokens > 1:
            rows["FLOPs per sample"] = f"{short(self.flops.total)} forward, of {tokens} tokens"
        rows["memory of training"] = f"{size(self.training_bytes)}, without activations"
        for name, copies in (("weights", 1), ("gradients", 1), ("AdamW's moments", 2)):
            rows[f"  {name}"] = size(copies * self.weight_bytes)
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        wide = max(map(len, rows))
        return "\n".join(f"{name:{wide}}  {value}" for name, value in rows.items())

    @shown
    def _repr_html_(self) -> str:
        rows = self.rows().items()
        return block(table([], [[name.replace("  ", "\N{EM SPACE}"), value] for name, value in rows]))


def summarize(model: Any) -> ModelSummary:
    """Count the parameters of a model by part, its arithmetic and its memory.

    Args:
        model: a model of `minitrain.models`, or any module with ``forward_flops``.
    """
    counts = dict.fromkeys([*PARTS, LAYERS, HEAD], 0)
    seen: set[int] = set()
    for part, parameter in _parts(model, ""):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            counts[part] += parameter.data.size
    parameters = {part: count for part, count in counts.items() if count}
    weight_bytes = sum(parameter.data.nbytes for parameter in model.parameters())
    return ModelSummary(parameters, model.forward_flops(), weight_bytes)


def _parts(module: Module, part: str) -> Iterator[tuple[str, Parameter]]:
    """Every parameter with its part, in order of definition."""
    for name, value in vars(module).items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Parameter):
                yield part or "embedding", item  # a model's own vectors, such as a class token
            elif isinstance(item, Module):
                own = next((known for known, kinds in PARTS.items() if isinstance(item, kinds)), "")
                if isinstance(item, Linear):
                    own = HEAD if name == HEAD else LAYERS
                yield from _parts(item, part or own)
