"""The fastest session that fits a model, and the memory that its keys and values take."""

from __future__ import annotations

from typing import Any, cast

from ...backend.memory import available_memory
from ...errors import ConfigError
from ...formats import size
from ...models.common.decoder import Decoder
from ...models.seq2seq import Seq2Seq
from ...nn.attention.past import bytes_needed
from .cached import CachedSession
from .graphed import GraphedSession, keys_may_lie_anywhere
from .kernel import KernelSession
from .packed import why_not
from .seq2seq import Seq2SeqSession
from .session import LanguageModel, Session, UncachedSession
from .weights import check_weights, with_weights

SHARE = 0.8
"""The keys and values may take this share of the memory that is free."""


def session_for(model: Any, slots: int = 1, *, device: str = "cpu", weights: str = "float32") -> Session:
    """A session for a model.

    Decoders keep keys and values: on the CPU by a kernel for whole steps, on a GPU by the model's own layers with one
    launch for a token, and where neither knows a layer, by the model's own layers. A model of your own that has only
    ``config.block_size`` and ``forward``, and a decoder with a ``forward`` of its own, are run on the whole sequence
    for each token.

    Args:
        model: the model; runs without dropout. Its weights are those of now: make a new session after training.
        slots: how many sequences there may be at once.
        device: the model's device.
        weights: ``"float32"``, or ``"bfloat16"`` or ``"int8"`` to round the matrices and read fewer bytes, see
            `minitrain.generation.sessions.weights`.

    Raises:
        ConfigError: if there is no slot, if the weights of such a model cannot be rounded, or if keys and values would
            take more than the memory that is free. Nothing is allocated then.
    """
    check_weights(weights)
    if weights != "float32" and not isinstance(model, Decoder):
        raise ConfigError(f"weights={weights!r}: only decoders, such as GPT and Llama, have their weights rounded")
    if not isinstance(model, Seq2Seq) and not computes_like_a_decoder(model):
        return UncachedSession(with_weights(model, weights), slots, device=device)
    check_memory(model, slots, device, f"slots = {slots}")
    if isinstance(model, Seq2Seq):
        return Seq2SeqSession(model, slots, device=device)
    if why_not(model, device):
        rounded = with_weights(model, weights)
        if device != "cpu" and keys_may_lie_anywhere(rounded):
            return GraphedSession(rounded, slots, device=device, plain_if_refused=True)
        return CachedSession(rounded, slots, device=device)
    return KernelSession(model, slots, weights=weights)


def computes_like_a_decoder(model: Any) -> bool:
    """Whether a model is a decoder, and its class has not changed what a decoder computes.

    Whoever runs a decoder by its parts, such as ``forward_hidden``, asks this first.
    """
    methods = ("forward", "forward_hidden", "new_past")
    return all(getattr(type(model), name, None) is getattr(Decoder, name) for name in methods)


def open_session(model: LanguageModel | Session, slots: int, *, device: str = "cpu") -> Session:
    """A session of a model, see `session_for`; a session is returned as it is."""
    if hasattr(model, "extend"):
        return cast(Session, model)
    return session_for(model, slots, device=device)


def check_memory(model: Any, sequences: int, device: str, setting: str) -> None:
    """Check that there is memory for keys and values, before anything is allocated.

    Args:
        model: a decoder or an encoder-decoder.
        sequences: how many sequences there may be at once.
        device: the model's device; nothing is known of others than the CPU.
        setting: what asks for so many, for the error.

    Raises:
        ConfigError: if they would take more than `SHARE` of what is free.
    """
    needed, free = cache_bytes(model, sequences), available_memory() if device == "cpu" else None
    if free is not None and needed > SHARE * free:
        most = int(SHARE * free * sequences / needed)
        advice = f"at most {most} of them fit" if most else "use a model with a smaller block_size"
        raise ConfigError(
            f"{setting}: the keys and values of {sequences} sequences of {model.config.block_size} tokens take "
            f"{size(needed)}, and {size(free)} of memory are free; {advice}"
        )


def cache_bytes(model: Any, slots: int = 1) -> int:
    """Memory for the keys and values of a decoder or an encoder-decoder, in bytes.

    Args:
        model: the model.
        slots: how many sequences there may be at once.
    """
    longest = model.config.block_size
    if isinstance(model, Seq2Seq):
        layers = [layer for block in model.decoder for layer in (block.attention, block.cross)]
    else:
        layers = [block.attention for block in model.blocks]
    dtype = next(iter(model.parameters())).data.dtype
    return slots * sum(
        bytes_needed(longest, getattr(layer, "window", None), layer.kv_heads, layer.head_width, dtype)
        for layer in layers
    )
