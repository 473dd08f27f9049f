"""How well the loss tells whether a text was trained on (Yeom et al., 2018, arXiv:1709.01604).

The attack says "trained on" if the loss is low. Its AUC is the probability that a training text has a lower loss than a
held-out one: 0.5 is guessing. The interval is that of DeLong et al. (1988), which needs no assumption about the losses
except that the texts are independent. What few texts give away counts too, so the share of training texts that is found
with hardly any false alarm stands beside the AUC (Carlini et al., 2022, arXiv:2112.03570).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Batch
from ..data.ids import as_int32
from ..data.tokens.token_array import TokenArray
from ..errors import DataError
from ..measures import Interval
from ..random import Key, random_bits
from ..training.evaluator import LOSS, Evaluator

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Membership:
    """How well the loss tells training text from held-out text.

    Attributes:
        auc: with its interval.
        found: the share of training windows below the loss that only ``false_alarms`` of the held-out ones are below.
        false_alarms: that share of held-out windows.
        train_loss: mean loss of the training windows, nats per token.
        held_out_loss: that of the held-out ones.
        train_windows: how many there were.
        held_out_windows: how many there were.
    """

    auc: Interval
    found: float
    false_alarms: float
    train_loss: float
    held_out_loss: float
    train_windows: int
    held_out_windows: int


def membership(
    model: Any,
    train: TokenArray,
    held_out: TokenArray,
    block_size: int,
    *,
    windows: int = 1000,
    batch_size: int = 32,
    false_alarms: float = 0.01,
    level: float = 0.95,
    device: str = "cpu",
    seed: int = 0,
) -> Membership:
    """Attack a model by the losses of windows.

    Args:
        model: has ``loss(batch)``; runs without dropout.
        train: ``(N,)`` token ids that it was trained on.
        held_out: ``(M,)`` token ids that it was not.
        block_size: T, tokens in a window.
        windows: how many of each text at most, at random among those side by side.
        batch_size: windows at once.
        false_alarms: see `Membership`.
        level: of the interval.
        device: the model's device.
        seed: seed of the choice of windows.

    Raises:
        DataError: if a text has fewer than two windows.
    """
    key = Key.from_seed(seed)
    inside = _losses(model, train, block_size, windows, batch_size, device, key.fold("train"))
    outside = _losses(model, held_out, block_size, windows, batch_size, device, key.fold("held out"))
    return Membership(
        auc_interval(-inside, -outside, level=level),
        found_at(-inside, -outside, false_alarms),
        false_alarms,
        float(inside.mean()),
        float(outside.mean()),
        len(inside),
        len(outside),
    )


def auc_interval(positive: Numbers, negative: Numbers, *, level: float = 0.95) -> Interval:
    """The area under the ROC curve, with DeLong's interval.

    Args:
        positive: ``(n,)`` scores that should be high, n >= 2.
        negative: ``(m,)`` scores that should be low, m >= 2.
        level: of the interval.

    Returns:
        The probability that a positive score is above a negative one, ties counted half, and its interval within 0 to
        1.

    Raises:
        DataError: if there are fewer than two of a kind, or a score is NaN.
    """
    positive, negative = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if len(positive) < 2 or len(negative) < 2:
        raise DataError(f"an AUC needs two scores or more of each kind, not {len(positive)} and {len(negative)}")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise DataError("an AUC needs scores that can be compared, and one is NaN")
    beaten = _share_below(positive, negative)  # (n,) of each positive, the negatives below
    lost = _share_below(negative, positive)  # (m,) of each negative, the positives below
    auc = float(beaten.mean())
    error = math.sqrt(beaten.var(ddof=1) / len(positive) + lost.var(ddof=1) / len(negative))
    from scipy.special import ndtri

    reach = float(ndtri((1 + level) / 2)) * error
    return Interval(auc, max(0.0, auc - reach), min(1.0, auc + reach))


def found_at(positive: Numbers, negative: Numbers, false_alarms: float) -> float:
    """The share of positive scores above all but the share ``false_alarms`` of the negative ones."""
    ordered = np.sort(negative)
    allowed = int(false_alarms * len(ordered))
    return float((positive > ordered[len(ordered) - 1 - allowed]).mean())


def _share_below(scores: Numbers, others: Numbers) -> Numbers:
    """For each score, the share of the others that are below it, ties counted half."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    return (below + upto) / (2 * len(ordered))


def _losses(
    model: Any, tokens: TokenArray, block_size: int, most: int, batch_size: int, device: str, key: Key
) -> Numbers:
    """(n,) mean losses of windows."""
    there = (tokens.size - 1) // block_size
    if there < 2:
        raise DataError(f"a text of {tokens.size} tokens has fewer than two windows of {block_size}")
    order = np.argsort(random_bits(key, (1, there))[0], kind="stable")[:most]
    batches = []
    for first in range(0, len(order), batch_size):
        starts = order[first : first + batch_size] * block_size
        rows = as_int32(np.stack([tokens[start : start + block_size + 1] for start in starts.tolist()]))
        batches.append(Batch(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])))
    rows = Evaluator(model, batches, metrics={}, device=device).samples(data="windows").rows[LOSS]
    return np.asarray(rows[:, 0] / rows[:, 1], np.float64)
