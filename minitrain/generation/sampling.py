"""From logits to tokens, a row each: temperature, top-k, top-p (nucleus) sampling, as one pure function."""

from __future__ import annotations

import numpy as np

from ..backend.arrays import Array, array_module, to_number, to_numpy
from ..errors import ConfigError, NonFiniteError, ShapeError
from .choosing import choose, cuts_of
from .params import SamplingParams, check_settings


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
    if (bad := to_numpy(broken)).any():
        row = int(bad.argmax())
        raise NonFiniteError(
            f"cannot sample: the highest logit of sample {row} is {to_number(highest[row, 0])}; "
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
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)
    cuts, numbers = cuts_of(params), to_numpy(uniform).tolist()
    tokens = [choose(row, temperature, cuts, number) for row, number in zip(to_numpy(logits), numbers, strict=True)]
    return xp.asarray(np.array(tokens, np.int32))  # type: ignore[no-any-return]
