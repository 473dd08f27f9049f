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

    The distribution is ``softmax(logits / temperature)``, limited to the ``top_k`` most likely tokens, then to the
    smallest set of most likely ones whose share of the rest reaches ``top_p`` (Holtzman et al., 2020, "The Curious
    Case of Neural Text Degeneration"). Of equal logits, the lower id counts as more likely. The token is drawn by
    inverse transform: the first id, in order, whose cumulative probability exceeds the row's number in ``uniform``.

    Args:
        logits: ``(B, V)`` floats; ``-inf`` bans a token.
        temperature: 0 or more. Below 1, output is more predictable; above 1, more varied. 0 always takes the most
            likely token.
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
            f"cannot sample: the highest logit of sample {row} is {float(highest[row, 0])}; "
            "the model's weights or its input are damaged, or every token is banned"
        )
    if temperature == 0:
        return logits.argmax(axis=1).astype(xp.int32)  # type: ignore[no-any-return]
    if uniform is None:
        raise ConfigError("sampling needs random numbers: give uniform, or temperature=0 for the most likely token")
    if uniform.shape != logits.shape[:1]:
        raise ShapeError(
            f"sample_logits: uniform has shape {uniform.shape}, expected one number per row, {logits.shape[:1]}"
        )
    with np.errstate(over="ignore"):  # at a tiny temperature a quotient may reach -inf; its weight 0 is right
        # In float64: sums over a large vocabulary must resolve the 32 bits of a random number.
        weight = xp.exp((logits.astype(xp.float64) - highest) / temperature)  # (B, V), 1 for the most likely
    if top_k is not None or top_p is not None:
        weight = _cut(weight, logits, top_k, top_p)
    share = xp.cumsum(weight, axis=1)  # (B, V)
    # The number of tokens whose cumulative share is below the point is the id of the chosen token.
    return (share <= uniform[:, None] * share[:, -1:]).sum(axis=1).astype(xp.int32)  # type: ignore[no-any-return]


def _cut(weight: Array, logits: Array, top_k: int | None, top_p: float | None) -> Array:
    """``weight (B, V)`` with 0 for all but the most likely tokens."""
    xp = array_module(weight)
    order = xp.argsort(-logits, axis=1, kind="stable")  # (B, V) ids, the most likely first
    kept = xp.take_along_axis(weight, order, axis=1)  # (B, V), descending
    if top_k is not None:
        kept[:, top_k:] = 0
    if top_p is not None:
        share = xp.cumsum(kept, axis=1)
        before = (share - kept) / share[:, -1:]  # (B, V) the share of the more likely tokens: 0 for the first
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
        raise ConfigError(f"temperature={temperature} must be above 0, or 0 for the most likely token")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k={top_k} must be 1 or more, or None to keep all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p={top_p} must be above 0 and at most 1, or None to keep all tokens")
