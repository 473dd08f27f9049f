"""All rules in their order, which of them explains which, and what no rule can see."""

from __future__ import annotations

from collections.abc import Callable

from . import gradients, losses, shapes
from .curves import Curves, Diagnosis, History, LossLevels

Rule = Callable[[Curves], Diagnosis | None]

RULES: tuple[Rule, ...] = (
    losses.not_finite,
    gradients.add_up,
    losses.unstable,
    losses.exploding,
    gradients.exploding,
    losses.too_good,
    gradients.dead_units,
    losses.died_in_a_spike,
    gradients.vanishing,
    losses.wrong_start,
    shapes.turned_back,
    shapes.overfitting,
    losses.rough_start,
    shapes.ignores_its_input,
    losses.spike,
    shapes.slow,
    shapes.plateau,
)
"""The rules, worst trouble first."""

SHAPES = ("turned back", "overfitting", "ignores its input", "rough start", "spike", "slow", "plateau")
EXPLAINED = {
    "not finite": ("exploding", "unstable", *SHAPES),
    "gradients add up": ("exploding", "unstable", *SHAPES),
    "exploding": ("exploding", *SHAPES),
    "unstable": ("exploding", "wrong start", *SHAPES),
    "too good": ("overfitting", "slow", "plateau"),
    "dead units": ("dead units", "vanishing gradients", "wrong start", *SHAPES),
    "rough start": ("spike",),
    "vanishing gradients": ("ignores its input", "plateau"),
    "turned back": SHAPES,
    "overfitting": ("plateau",),
    "ignores its input": ("slow", "plateau"),
    "slow": ("plateau",),
}
"""For each trouble, the later ones that follow from it and are not listed beside it."""


def diagnose(history: History, levels: LossLevels | None = None) -> list[Diagnosis]:
    """The troubles that a history shows, worst first; empty if it shows none, or is too short to tell.

    The rules know the curves and no code. Healthy runs raise no alarm, so some troubles stay unseen: `blind_spots`
    says which, and how to look for them.

    Args:
        history: values by name: ``train_loss``, ``val_loss``, ``grad_norm``, ``lr``, and if they are logged
            ``grad_norm.<parameter>`` and ``dead.<layer>``, the share of units that are always zero.
        levels: losses known beforehand. With them, more can be seen.
    """
    curves = Curves.of(history, levels or LossLevels())
    found: list[Diagnosis] = []
    for rule in RULES:
        one = rule(curves)
        if one is not None and not any(one.kind in EXPLAINED.get(worse.kind, ()) for worse in found):
            found.append(one)
    return found


def blind_spots(levels: LossLevels | None = None) -> list[str]:
    """The problems that `diagnose` cannot see in curves, and where to look; fewer if the levels of the loss are known.

    Args:
        levels: the levels given to ``diagnose``.
    """
    known = levels or LossLevels()
    spots = [
        "a rate that is somewhat too low or too high looks like a slower run: compare rates (find_learning_rate)",
        "an unlucky seed looks like a task that is harder: train with another seed",
    ]
    if known.guess is None:
        spots.append("whether the first loss is right: give LossLevels(guess=ln V)")
    if known.blind is None:
        spots.append("whether the model uses its input: give LossLevels.of(targets, classes), and print some pairs")
    if known.floor is None:
        spots.append(
            "an answer that leaks into the input, or validation data that was trained on, looks like a good run: try "
            "future_leak(model, tokens) and shared_samples(train, held_out), or give LossLevels(floor=...)"
        )
    return spots
