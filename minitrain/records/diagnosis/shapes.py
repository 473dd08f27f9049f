"""Troubles that the shape of curves shows: they turn back, part from each other, stand still, or hardly fall."""

from __future__ import annotations

import math

import numpy as np

from .curves import FEW, Curves, Diagnosis, Values, finite, last_part, noise_of


def turned_back(c: Curves) -> Diagnosis | None:
    """A training loss that gave up much of what it had gained. The validation loss does the same, if there is one."""
    if len(c.loss) < 2 * FEW or _rate_rose(c):
        return None
    low = int(c.smooth.argmin())
    best, last = float(c.smooth[low]), float(c.smooth[-1])
    width = max(1, len(c.loss) // 10)
    gained, lost = float(c.loss[:width].max()) - best, last - best
    if not (lost > 0.15 * gained and lost > 7 * c.noise / math.sqrt(width)):
        return None
    if len(c.val) >= 4 and c.val[-1] - c.val.min() < 0.3 * lost:
        return None
    both = f", and val_loss from {c.val.min():.4g} to {c.val[-1]:.4g}" if len(c.val) else ""
    return Diagnosis(
        "turned back",
        "train_loss",
        f"train_loss rose again from {best:.4g} to {last:.4g}{both}: {lost / gained:.0%} of what it had gained",
        "this is no overfitting, where train_loss goes on falling: something pulls against the gradient, or the data "
        "changed; if the turn comes where the rate is highest, it is the weight decay or the rate",
        "lower the weight decay (0.1 is usual, on matrices alone; WeightStatistics shows whether weights shrink), or "
        "lower the highest rate",
    )


def overfitting(c: Curves) -> Diagnosis | None:
    """A validation loss that rises, or stands, while the training loss falls: they part."""
    if len(c.val) < 4 or len(c.loss) < 4:
        return None
    best = int(c.val.argmin())
    since = len(c.val) - 1 - best
    lowest, end = float(c.val[best]), float(c.val[-min(3, max(1, since)) :].mean())
    there = min(len(c.smooth) - 1, round((best + 1) / len(c.val) * len(c.smooth)))
    before, now = float(c.smooth[there]), float(c.smooth[-1])
    noise = 2 * c.noise / math.sqrt(max(1, len(c.loss) // 10))
    rise, fell = end - lowest, before - now
    rises = rise > max(0.02 * abs(lowest), 3 * noise_of(c.val[best:])) and fell > max(0.25 * rise, noise)
    stands = 3 * since >= len(c.val) and rise > 0.02 * abs(lowest) and now < min(0.6 * before, 0.8 * end) - noise
    if since < 2 or not (rises or stands):
        return None
    return Diagnosis(
        "overfitting",
        "val_loss",
        f"val_loss went from {lowest:.4g}, its lowest, to {end:.4g} in {since} evaluations, while "
        f"train_loss fell from {before:.4g} to {now:.4g}",
        "the model learns its training samples by heart",
        "stop at the best checkpoint (EarlyStopping), or take more data, dropout, weight decay, or a smaller model",
    )


def ignores_its_input(c: Curves) -> Diagnosis | None:
    """A loss that stands where a model without input would stand."""
    if len(c.loss) < 2 * FEW:
        return None
    late, gain, error = _last_thirds(c.loss)
    for level, words in ((c.levels.blind, "knows the frequencies of the targets"), (c.levels.guess, "guesses evenly")):
        if level is None or error > 0.01 * level or max(abs(late - level), abs(gain)) > 0.01 * level + error:
            continue
        return Diagnosis(
            "ignores its input",
            "train_loss",
            f"train_loss stands at {late:.4g}, and a model that {words}, and nothing else, has {level:.4g}",
            "inputs and targets do not belong together (shuffled, joined wrongly), or the input does not get through",
            "print some inputs with their targets, and read them; then count dead units (ActivationStatistics), and "
            "look at the gradients of the first layers",
        )
    return None


def slow(c: Curves) -> Diagnosis | None:
    """A loss that falls in a nearly straight line, and little, under a gradient as large as at the beginning."""
    if len(c.loss) < 3 * FEW:
        return None
    third = len(c.loss) // 3
    parts = [float(c.loss[i * third : (i + 1) * third].mean()) for i in range(3)]
    error = c.noise * math.sqrt(2 / third)
    first, second = parts[0] - parts[1], parts[1] - parts[2]
    if not (c.fall < 0.15 * c.loss[0] and second > 0.5 * first and second > 4 * error):
        return None
    if len(c.norm) and float(np.median(last_part(c.norm, 3))) < 0.7 * float(np.median(c.norm[: len(c.norm) // 10 + 1])):
        return None
    norm = (
        f", and the gradient is as large as at the beginning ({np.median(last_part(c.norm, 3)):.3g})"
        if len(c.norm)
        else ""
    )
    return Diagnosis(
        "slow",
        "train_loss",
        f"train_loss fell by {c.fall:.3g}, from {c.loss[0]:.4g}, in a nearly straight line{norm}",
        "the learning rate is too low, or the run too short: there is everything to gain yet",
        "triple the rate until the start gets unruly, then go back a step (find_learning_rate helps), or train on",
    )


def plateau(c: Curves) -> Diagnosis | None:
    """A loss that no longer falls, before the rate has come down."""
    if len(c.loss) < 2 * FEW or _rate_fell(c):
        return None
    values, name = (c.val, "val_loss") if len(c.val) >= 9 else (c.loss, "train_loss")
    late, gain, error = _last_thirds(values)
    gained = max(c.fall, 0.002 * abs(late))
    still = _last_thirds(c.loss)[1] < 0.03 * gained + 2 * c.noise * math.sqrt(6 / len(c.loss))
    stands = gain < 0.01 * gained and gain + 2 * error < 0.02 * gained and still
    never = c.fall < max(0.01 * abs(late), 3 * error) and gain < 2 * error
    settled = _settled(c)
    floor = c.levels.floor
    at_floor = floor is not None and late < 1.2 * floor  # there is nothing more to learn
    if at_floor or not (stands or never or settled):
        return None
    share = ""
    if c.levels.guess:
        share = (
            f"; that is {late / c.levels.guess:.2f} of the loss of guessing, as if that share of the targets were open"
        )
    if settled:
        share += f"; the gradient's norm fell to {np.median(c.norm[-3:]):.2g} from {c.norm.max():.2g}"
    return Diagnosis(
        "plateau",
        name,
        f"{name} hardly moved in the last third of the records and stands at {late:.4g}{share}",
        "it may be done; or it is stuck in a valley, by an unlucky seed or for lack of units; or this is the loss of "
        "the frequencies of the targets, and the input is not used",
        "try another seed and a larger model or rate; compare with LossLevels.of(targets, classes)",
    )


def _settled(c: Curves) -> bool:
    """Whether a loss without noise, still large, has come to a place without a slope."""
    if len(c.norm) < 2 * FEW or c.noise > 0.002 * abs(float(c.loss[-1])):
        return False
    return bool(c.loss[-1] > 0.1 * c.loss[0] and np.median(c.norm[-3:]) < 0.1 * c.norm.max())


def _last_thirds(values: Values) -> tuple[float, float, float]:
    """The mean of the last third, how much lower it is than the third before, and the standard error of that."""
    third = max(1, len(values) // 3)
    before, after = values[-2 * third : -third], values[-third:]
    error = noise_of(values[-2 * third :]) * math.sqrt(2 / third)
    return float(after.mean()), float(before.mean() - after.mean()), error


def _rates(c: Curves) -> Values:
    return finite(c.history.get("lr", ()))


def _rate_fell(c: Curves) -> bool:
    """Whether the schedule has brought the rate down, so that a flat end is what it is for."""
    rates = _rates(c)
    return len(rates) > 0 and bool(rates[-1] < 0.2 * rates.max())


def _rate_rose(c: Curves) -> bool:
    """Whether the rate rose since the loss was lowest, as in a schedule with restarts."""
    rates = _rates(c)
    return len(rates) == len(c.loss) and bool(rates[-1] > 1.5 * rates[int(c.smooth.argmin())] > 0)
