"""Troubles that gradients and units show: sums that are never cleared, explosions, gradients and units that vanish."""

from __future__ import annotations

import numpy as np

from .curves import FEW, Curves, Diagnosis, growth, trend


def add_up(c: Curves) -> Diagnosis | None:
    """A norm that grows in every step, by little each time, while nothing is learned any more.

    The gradient of a batch jumps from batch to batch. A sum of all gradients so far does not.
    """
    if len(c.norm) < 2 * FEW or len(c.loss) < 2 * FEW or not (c.norm > 0).all():
        return None
    jump = float(np.quantile(np.abs(np.diff(np.log(c.norm[3:]))), 0.9))
    if growth(c.norm) < 5 or trend(c.norm) < 0.85 or jump > 0.35 or _still_learns(c):
        return None
    return Diagnosis(
        "gradients add up",
        "grad_norm",
        f"the gradient's norm grew steadily, from {c.norm[0]:.3g} to {c.norm[-1]:.3g}, while train_loss rose from "
        f"{c.smooth.min():.3g} to {c.smooth[-1]:.3g}; from record to record it never changed by much",
        "each step seems to follow the sum of all gradients since the beginning, which is never cleared",
        "call optimizer.zero_grad() before each backward; if that is done, lower the learning rate",
    )


def exploding(c: Curves) -> Diagnosis | None:
    """A norm far above what was usual, at once or little by little."""
    if len(c.norm) < FEW:
        return None
    usual, last = float(np.median(c.norm[:-3])), float(np.median(c.norm[-3:]))
    crept = growth(c.norm) > 10 and len(c.loss) >= FEW and not _still_learns(c)
    if not (last > 10 * usual + 1e-12 or crept):
        return None
    before = float(np.median(c.norm[: max(3, len(c.norm) // 10)])) if crept else usual
    return Diagnosis(
        "exploding",
        "grad_norm",
        f"the gradient's norm went from about {before:.3g} to {last:.3g}",
        "the steps are too large for where the weights are now",
        "lower the learning rate, or clip gradients to a smaller norm",
    )


def vanishing(c: Curves) -> Diagnosis | None:
    """Gradients of almost nothing, altogether or in some parameters."""
    if len(c.norm) >= 3 and float(np.median(c.norm[-3:])) < 1e-7:
        return Diagnosis(
            "vanishing gradients",
            "grad_norm",
            f"the gradient's norm is {np.median(c.norm[-3:]):.1e}",
            "no gradient arrives: a saturated activation, a loss that ignores all targets, or frozen parameters",
            "look at which parameters have gradients (GradientStatistics), and at the share of targets that count",
        )
    latest = {name: values[-1] for name, values in c.history.items() if name.startswith("grad_norm.") and values}
    highest = max(latest.values(), default=0.0)
    faint = sorted(name for name, value in latest.items() if value < 1e-6 * highest)
    if len(latest) < 2 or not faint:
        return None
    some = ", ".join(name.removeprefix("grad_norm.") for name in faint[:3])
    more = f" and {len(faint) - 3} more" if len(faint) > 3 else ""
    return Diagnosis(
        "vanishing gradients",
        faint[0],
        f"the gradients of {some}{more} are less than a millionth of the largest one, {highest:.2g}",
        "their signal is lost on the way, or they are not used at all",
        "look at their initial weights, and at norms and residual connections on their path",
    )


def dead_units(c: Curves) -> Diagnosis | None:
    """Units that are zero whatever the input, as ``ActivationStatistics`` counts them."""
    dead = {name: values[-1] for name, values in c.history.items() if name.startswith("dead.") and values}
    worst = max(dead, key=lambda name: dead[name], default=None)
    if worst is None or not dead[worst] > 0.5:
        return None
    return Diagnosis(
        "dead units",
        worst,
        f"{dead[worst]:.0%} of the units of {worst.removeprefix('dead.')} are zero for every input",
        "a step that was too large threw them where no input reaches them, and no gradient brings them back",
        "scale the inputs to about 1, lower the learning rate or warm up, or take an activation that does not die "
        "(GELU, SiLU)",
    )


def _still_learns(c: Curves) -> bool:
    """Whether the loss is near the lowest that it has been."""
    return float(c.smooth[-1] - c.smooth.min()) <= 0.1 * float(c.loss[0] - c.smooth.min()) + 1e-12
