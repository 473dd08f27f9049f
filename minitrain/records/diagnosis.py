"""What the history of a training looks like: troubles by name, and what to try, in words.

Each rule is a function of the history alone that returns a `Diagnosis` or ``None``. The thresholds are rules of thumb:
wide enough that ordinary noise raises no alarm, which the tests hold on simulated curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEW = 10
"""With fewer records than this nothing is said about a curve."""


class Diagnosis(NamedTuple):
    """A trouble that a history shows.

    Attributes:
        kind: ``"not finite"``, ``"exploding"``, ``"plateau"``, ``"unstable"``, ``"overfitting"``,
            ``"vanishing gradients"`` or ``"dead units"``.
        metric: the metric that shows it.
        message: what was seen, and what to try.
    """

    kind: str
    metric: str
    message: str


History = Mapping[str, Sequence[float]]


def diagnose(history: History) -> list[Diagnosis]:
    """The troubles that a history shows, worst first; empty if it shows none, or is too short to tell.

    Args:
        history: values by name: ``train_loss``, ``val_loss``, ``grad_norm``, and if they are logged
            ``grad_norm.<parameter>`` and ``dead.<layer>``, the share of units that are always zero.
    """
    return [found for rule in RULES if (found := rule(history)) is not None]


def not_finite(history: History) -> Diagnosis | None:
    """A loss that is NaN or infinite."""
    for name in ("train_loss", "val_loss"):
        values = history.get(name, ())
        if values and not math.isfinite(values[-1]):
            return Diagnosis(
                "not finite",
                name,
                f"{name} is {values[-1]}: lower the learning rate, clip gradients to norm 1, look for bad samples; "
                "NaNGuard can skip them",
            )
    return None


def exploding(history: History) -> Diagnosis | None:
    """A loss far above its best and still rising, or gradients far above what was usual."""
    loss = _finite(history, "train_loss")
    if len(loss) >= FEW:
        smooth = _smooth(loss)
        best, last = float(smooth.min()), float(smooth[-1])
        if last > 1.5 * best + 0.1 and smooth[-1] > smooth[-max(2, len(smooth) // 5)]:
            return Diagnosis(
                "exploding",
                "train_loss",
                f"train_loss rose from {best:.3g} to {last:.3g}: lower the learning rate, warm up longer, or clip "
                "gradients to a smaller norm; SpikeGuard can skip or roll back",
            )
    norm = _finite(history, "grad_norm")
    if len(norm) >= FEW:
        usual, last = float(np.median(norm[:-3])), float(np.median(norm[-3:]))
        if last > 10 * usual + 1e-12:
            return Diagnosis(
                "exploding",
                "grad_norm",
                f"the gradient's norm went from about {usual:.3g} to {last:.3g}: "
                "lower the learning rate, or clip harder",
            )
    return None


def unstable(history: History) -> Diagnosis | None:
    """A loss that jumps up and down by much more than it falls."""
    loss = _finite(history, "train_loss")
    if len(loss) < FEW:
        return None
    late = loss[len(loss) // 2 :]
    jump = float(np.abs(np.diff(late)).mean())
    if jump > 0.25 * abs(float(np.mean(late))):
        return Diagnosis(
            "unstable",
            "train_loss",
            f"train_loss jumps by {jump:.3g} from record to record, around {np.mean(late):.3g}: lower the "
            "learning rate, or take larger batches (gradient_accumulation_steps)",
        )
    return None


def overfitting(history: History) -> Diagnosis | None:
    """A validation loss that rises while the training loss falls."""
    loss, val = _finite(history, "train_loss"), _finite(history, "val_loss")
    if len(val) < 4 or len(loss) < 4:
        return None
    best = int(np.argmin(val))
    since, rise = len(val) - 1 - best, float(val[-1] - val[best])
    if since >= 2 and rise > 0.02 * abs(float(val[best])) and _smooth(loss)[-1] < _smooth(loss)[len(loss) // 2]:
        return Diagnosis(
            "overfitting",
            "val_loss",
            f"val_loss rose from {val[best]:.4g} to {val[-1]:.4g} in {since} evaluations while train_loss fell: "
            "stop at the best checkpoint (EarlyStopping), or take more data, dropout, weight decay, or a smaller model",
        )
    return None


def plateau(history: History) -> Diagnosis | None:
    """A loss that no longer falls by more than its noise."""
    loss = _finite(history, "train_loss")
    if len(loss) < 2 * FEW:
        return None
    third = len(loss) // 3
    before, after = loss[-2 * third : -third], loss[-third:]
    gain = float(before.mean() - after.mean())
    noise = math.sqrt((before.var() + after.var()) / third)
    if gain < max(0.002 * abs(float(before.mean())), noise):
        return Diagnosis(
            "plateau",
            "train_loss",
            f"train_loss hardly moved in the last third of the records ({before.mean():.4g} to {after.mean():.4g}): "
            "it may be done; if not, try another learning rate, a schedule that decays, or a larger model",
        )
    return None


def vanishing_gradients(history: History) -> Diagnosis | None:
    """Gradients of almost nothing, altogether or in some parameters."""
    norm = _finite(history, "grad_norm")
    if len(norm) >= 3 and float(np.median(norm[-3:])) < 1e-7:
        return Diagnosis(
            "vanishing gradients",
            "grad_norm",
            f"the gradient's norm is {np.median(norm[-3:]):.1e}: look for a saturated activation, a loss that ignores "
            "all targets, or frozen parameters",
        )
    latest = {name: values[-1] for name, values in history.items() if name.startswith("grad_norm.") and values}
    if len(latest) >= 2 and (highest := max(latest.values())) > 0:
        faint = sorted(name for name, value in latest.items() if value < 1e-6 * highest)
        if faint:
            some = ", ".join(name.removeprefix("grad_norm.") for name in faint[:3])
            more = f" and {len(faint) - 3} more" if len(faint) > 3 else ""
            return Diagnosis(
                "vanishing gradients",
                faint[0],
                f"the gradients of {some}{more} are less than a millionth of the largest one: look at their initial "
                "weights, at norms and residual connections on their path, or whether they are used at all",
            )
    return None


def dead_units(history: History) -> Diagnosis | None:
    """Units that are zero whatever the input."""
    dead = {name: values[-1] for name, values in history.items() if name.startswith("dead.") and values}
    worst = max(dead, key=lambda name: dead[name], default=None)
    if worst is None or not dead[worst] > 0.5:
        return None
    return Diagnosis(
        "dead units",
        worst,
        f"{dead[worst]:.0%} of the units of {worst.removeprefix('dead.')} are zero for every input: lower the learning "
        "rate, or take an activation that does not die (GELU, SiLU)",
    )


RULES: tuple[Callable[[History], Diagnosis | None], ...] = (
    not_finite,
    exploding,
    unstable,
    overfitting,
    vanishing_gradients,
    dead_units,
    plateau,
)


def _finite(history: History, name: str) -> NDArray[np.float64]:
    """The values of a metric that are numbers."""
    values = np.asarray(history.get(name, ()), np.float64)
    return values[np.isfinite(values)]


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running mean over a tenth of the values."""
    width = max(1, len(values) // 10)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    smooth: NDArray[np.float64] = (sums[width:] - sums[:-width]) / width
    return smooth
