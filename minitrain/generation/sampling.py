"""From logits to a token: temperature, top-k, top-p (nucleus) sampling, as one pure function."""

from __future__ import annotations

import math

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, NonFiniteError, ShapeError


def sample_logits(
    logits: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    uniform: Array | None = None,
) -> Array:
    """Choose a token in each row.

    The distribution is ``softmax(logits / temperature)``, cut down to the ``top_k`` likeliest tokens, then to
    the smallest set of likeliest ones whose share of what is left reaches ``top_p`` (Holtzman et al., 2020,
    "The Curious Case of Neural Text Degeneration"). Of equal logits the lower id counts as likelier. The shares
    of the tokens that are left divide the line from 0 to 1, in the order of their ids; the row's number points
    at the one chosen.

    Args:
        logits: ``(B, V)`` floats; ``-inf`` bans a token.
        temperature: above 0; below 1 the likely becomes likelier. 0 is the limit: always the likeliest token.
        top_k: keep this many tokens, 1 or more; ``None`` keeps all.
        top_p: keep this share of the probability, above 0 and at most 1; ``None`` keeps all.
        uniform: ``(B,)`` random numbers in [0, 1); not used, and not needed, at temperature 0.

    Returns:
        ``(B,)`` int32 token ids.

    Raises:
        ConfigError: if a setting is out of range or ``uniform`` is missing.
        ShapeError: if the shapes do not fit together.
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    check_settings(temperature, top_k, top_p)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ShapeError(f"sample_logits: logits has shape {logits.shape}, expected (B, V) with V >= 1")
    xp = array_module(logits)
    highest = logits.max(axis=1, keepdims=True)  # (B, 1); NaN if there is one in the row
    broken = ~xp.isfinite(highest[:, 0])
    if broken.any():
        row = int(broken.argmax())
        raise NonFiniteError(
            f"cannot sample: the highest of the logits of sample {row} is {float(highest[row, 0])}; "
            "the model's weights or its input are damaged, or every token is banned"
        )
    if temperature == 0:
        return logits.argmax(axis=1).astype(xp.int32)  # type: ignore[no-any-return]
    if uniform is None:
        raise ConfigError("sampling needs random numbers: give uniform, or temperature=0 for the likeliest token")
    if uniform.shape != logits.shape[:1]:
        raise ShapeError(
            f"sample_logits: uniform has shape {uniform.shape}, expected one number a row, {logits.shape[:1]}"
        )
    with np.errstate(over="ignore"):  # at a tiny temperature a quotient may reach -inf, whose weight, 0, is right
        # In float64: sums over a large vocabulary have to resolve the 32 bits of a random number.
        weight = xp.exp((logits.astype(xp.float64) - highest) / temperature)  # (B, V), 1 for the likeliest
    if top_k is not None or top_p is not None:
        weight = _cut(weight, logits, top_k, top_p)
    share = xp.cumsum(weight, axis=1)  # (B, V)
    # The tokens that end before the point; as many as the id of the token that it falls on.
    return (share <= uniform[:, None] * share[:, -1:]).sum(axis=1).astype(xp.int32)  # type: ignore[no-any-return]


def _cut(weight: Array, logits: Array, top_k: int | None, top_p: float | None) -> Array:
    """``weight (B, V)`` with 0 for all but the likeliest tokens."""
    xp = array_module(weight)
    order = xp.argsort(-logits, axis=1, kind="stable")  # (B, V) ids, the likeliest first
    kept = xp.take_along_axis(weight, order, axis=1)  # (B, V), falling
    if top_k is not None:
        kept[:, top_k:] = 0
    if top_p is not None:
        share = xp.cumsum(kept, axis=1)
        before = (share - kept) / share[:, -1:]  # (B, V) the share of the likelier tokens: 0 for the first
        kept[before >= top_p] = 0
    cut: Array = xp.empty_like(weight)
    cut[xp.arange(weight.shape[0])[:, None], order] = kept
    return cut


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Check the settings of `sample_logits`.

    Raises:
        ConfigError: naming the setting, its value and its range.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"temperature={temperature}: it must be above 0, or 0 for the likeliest token")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k={top_k}: it must be 1 or more, or None to keep all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p={top_p}: it must be above 0 and at most 1, or None to keep all tokens")
