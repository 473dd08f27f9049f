"""Troubles that values of the loss show: NaN, explosions, noise, spikes, a wrong start, a loss that is too good."""

from __future__ import annotations

import math

import numpy as np

from .curves import FEW, Curves, Diagnosis, last_part, noise_of


def not_finite(c: Curves) -> Diagnosis | None:
    """A loss or a gradient that is NaN or infinite: after a climb it is the rate, without one it is the data."""
    for name in ("train_loss", "val_loss", "grad_norm"):
        values = c.history.get(name, ())
        # A norm that is infinite is no trouble: float16 lowers the scale of its loss then.
        if values and (math.isnan(values[-1]) if name == "grad_norm" else not math.isfinite(values[-1])):
            break
    else:
        return None
    loss, norm = c.loss, c.norm
    if name == "val_loss" and len(loss) == len(c.history.get("train_loss", ())) and not _climbed(c):
        return Diagnosis(
            "not finite",
            name,
            f"val_loss is {values[-1]}, and train_loss is finite",
            "a sample of the validation data is not finite, or something that only an evaluation does divides by zero",
            "look for the sample: np.isfinite(inputs).all() for each batch",
        )
    if _climbed(c):
        gradient = ""
        if len(norm) > 1:
            gradient = f", the gradient's norm from {np.median(norm[: len(norm) // 2 + 1]):.3g} to {norm[-1]:.3g}"
        return Diagnosis(
            "not finite",
            name,
            f"{name} is {values[-1]} after a climb: train_loss went from {loss.min():.3g} to {loss[-1]:.3g}{gradient}",
            "the learning rate is too high: each step overshoots by more than the last one",
            "lower the learning rate (divide it by 3 until it holds), warm up longer, or clip gradients to norm 1",
        )
    quiet = (
        "in the first record"
        if not len(loss)
        else f"after {len(loss)} records, without a climb: train_loss was {loss[-1]:.3g}"
    )
    if len(norm) and len(loss):
        quiet += f" and the gradient's norm {norm[-1]:.3g}, as usual"
    return Diagnosis(
        "not finite",
        name,
        f"{name} is {values[-1]} {quiet}",
        "a sample is not finite, or it made the forward divide by zero or take log(0); the learning rate did not do it",
        "look for bad samples in that batch: np.isfinite(inputs).all(); NaNGuard skips such batches, and a Trainer "
        "names the first bad array",
    )


def _climbed(c: Curves) -> bool:
    """Whether the loss or the norm was far above its usual size in the last records before it was not finite."""
    loss, norm = c.loss, c.norm
    if len(loss) >= 2 and loss[-3:].max() > 1.5 * min(loss[0], np.median(loss)) + 3 * noise_of(loss):
        return True
    return len(norm) >= 4 and bool(norm[-3:].max() > 10 * np.median(norm[:-3]))


def exploding(c: Curves) -> Diagnosis | None:
    """A loss far above its best and still rising."""
    if len(c.loss) < FEW:
        return None
    best, last = float(c.smooth.min()), float(c.smooth[-1])
    rising = c.smooth[-1] > c.smooth[-max(2, len(c.smooth) // 5)]
    noise = 5 * c.noise / math.sqrt(max(1, len(c.loss) // 10))
    if not (rising and last > 1.5 * best + 0.1 and last - best > max(0.2 * (c.loss[0] - best), noise)):
        return None
    return Diagnosis(
        "exploding",
        "train_loss",
        f"train_loss rose from {best:.3g} to {last:.3g}, and still rises",
        "the learning rate is too high",
        "lower the learning rate, warm up longer, or clip to a smaller norm; SpikeGuard can skip or roll back",
    )


def unstable(c: Curves) -> Diagnosis | None:
    """A loss that jumps up and down by much of its size, and of all that it fell, and gets nowhere."""
    if len(c.loss) < FEW:
        return None
    late = c.loss[len(c.loss) // 2 :]
    jump, around = float(np.abs(np.diff(late)).mean()), float(late.mean())
    one_way = abs(late[-1] - late[0]) > 0.25 * np.abs(np.diff(late)).sum()
    if one_way or not (jump > 0.2 * abs(around) and jump > 0.25 * c.fall):
        return None
    return Diagnosis(
        "unstable",
        "train_loss",
        f"train_loss jumps by {jump:.3g} from record to record, around {around:.3g}, and fell by {c.fall:.3g} in all",
        "the batches are too small for the learning rate: each step follows the noise of its batch",
        "take larger batches (gradient_accumulation_steps), or lower the learning rate",
    )


def too_good(c: Curves) -> Diagnosis | None:
    """A loss below what is possible."""
    floor = c.levels.floor
    values, name = (c.val, "val_loss") if len(c.val) else (c.loss, "train_loss")
    if floor is None or not len(values):
        return None
    late = float(last_part(values, 5).mean())
    if not late < 0.9 * floor - 3 * noise_of(values) / math.sqrt(max(1, len(values) // 5)):
        return None
    return Diagnosis(
        "too good",
        name,
        f"{name} is {late:.3g}, and no honest model gets below {floor:.3g}",
        "the answer leaks into the input (no causal mask, a column that tells the label), or samples of the validation "
        "data are part of the training data",
        "try future_leak(model, tokens) and shared_samples(train, held_out)",
    )


def wrong_start(c: Curves) -> Diagnosis | None:
    """A first loss above that of guessing."""
    guess = c.levels.guess
    noise = 4 * c.noise / max(float(c.smooth[-1]), 1e-12) if len(c.loss) else 0.0
    if guess is None or not len(c.loss) or not c.loss[0] > guess * (1.1 + min(noise, 0.2)):
        return None
    return Diagnosis(
        "wrong start",
        "train_loss",
        f"train_loss begins at {c.loss[0]:.3g}, and guessing evenly costs {guess:.3g}",
        "the first outputs are too large: inputs that were not scaled, or initial weights that are too large",
        "scale the inputs to about 1, and look at the standard deviation of the last layer's weights",
    )


def rough_start(c: Curves) -> Diagnosis | None:
    """A loss that jumps above where it began in the first records, and comes down again."""
    if len(c.loss) < 2 * FEW:
        return None
    early = c.loss[: max(FEW, len(c.loss) // 10)]
    began, late = max(float(c.loss[0]), float(np.median(c.loss[:3]))), float(c.smooth[-1])
    at = int(early.argmax())
    noise = c.noise / max(late, 1e-12)  # relative: noise is larger where the loss is
    if not (early[at] > began * (1 + max(0.05, 5 * noise)) and late < began):
        return None
    return Diagnosis(
        "rough start",
        "train_loss",
        f"train_loss began at {c.loss[0]:.3g} and jumped above that, to {early[at]:.3g} at record {at}",
        "the first steps were too large, and threw the model to a bad place",
        "warm up, or longer (WarmupCosine), or lower the learning rate",
    )


def spike(c: Curves) -> Diagnosis | None:
    """A loss that jumps far above the median of the records just before, and comes back."""
    if len(c.loss) < 2 * FEW or c.loss.min() <= 0:
        return None
    usual = np.median(np.lib.stride_tricks.sliding_window_view(c.loss[:-1], FEW), axis=1)  # (N - FEW,)
    excess = c.loss[FEW:] / usual - 1
    worst = int(excess.argmax())
    before, top = float(usual[worst]), float(c.loss[FEW + worst])
    often = float(np.quantile(np.abs(excess[len(excess) // 2 :]), 0.9))
    came_back = c.smooth[-1] < 0.5 * (top + before)
    if not (excess[worst] > max(0.25, 4 * often) and came_back):
        return None
    return Diagnosis(
        "spike",
        "train_loss",
        f"train_loss jumped from about {before:.3g} to {top:.3g} at record {FEW + worst} of {len(c.loss)}",
        "a step was too large, or a batch is unlike all others",
        "look at that batch; clip gradients to a smaller norm; SpikeGuard can skip or roll back",
    )


def died_in_a_spike(c: Curves) -> Diagnosis | None:
    """A loss that shot up at the beginning, and from then on a flat line near where it began, with a small gradient."""
    if len(c.loss) < 2 * FEW or len(c.norm) < len(c.loss):
        return None
    at, half = int(c.loss.argmax()), len(c.loss) // 2
    late, norm = c.loss[half:], float(np.median(c.norm[half:]))
    before = float(c.norm[: at + 1].max())
    flat = abs(late[: len(late) // 2].mean() - late[len(late) // 2 :].mean()) < 0.01 * late.mean()
    if not (
        at < half and c.loss[at] > 3 * c.loss[0] and flat and late.mean() > 0.8 * c.loss[0] and norm < 0.05 * before
    ):
        return None
    return Diagnosis(
        "dead units",
        "train_loss",
        f"train_loss shot up to {c.loss[at]:.3g} at record {at} and then stood at {late.mean():.4g}; the gradient's "
        f"norm fell from {before:.3g} to {norm:.2g}",
        "the first steps threw units where no input reaches them (dead ReLUs), and no gradient brings them back",
        "count them with ActivationStatistics; scale the inputs to about 1, lower the learning rate or warm up, or "
        "take an activation that does not die (GELU, SiLU)",
    )
