"""The losses of a history as a picture for notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..display.lines import DOTS, Line, line_plot
from ..display.markup import BLUE, GREEN, GREY, RED, YELLOW, Html
from ..plotting.curves import smooth

TRAIN, VALIDATION = "train_loss", "val_loss"
NAMES = {TRAIN: "training", VALIDATION: "validation"}
COLORS = {TRAIN: BLUE, VALIDATION: RED}
OTHERS = (GREEN, YELLOW, GREY)


def loss_curves(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Html:
    """Draw the losses of training and validation with their last values; of others if there is neither.

    Args:
        curves: steps and values by name; what is no loss is left out.

    Returns:
        An SVG, or nothing if there is no loss yet.
    """
    names = [name for name in (TRAIN, VALIDATION) if name in curves]
    names = names or [name for name in curves if "loss" in name][: len(OTHERS)]
    lines = []
    for number, name in enumerate(names):
        steps, values = curves[name]
        color, latest = (
            COLORS.get(name, OTHERS[number % 3]),
            next((v for v in reversed(values) if math.isfinite(v)), None),
        )
        if latest is None:
            continue
        title = f"{NAMES.get(name, name)} {latest:.4g}"
        if name == TRAIN and len(values) > DOTS:  # faint as it was logged, and smoothed
            lines.append(Line("", steps, values, color, opacity=0.35))
            lines.append(Line(title, steps, smooth(np.array(values, np.float64)), color))
        else:
            lines.append(Line(title, steps, values, color, dots=True))
    return line_plot(lines, ylabel="loss", log=True) if lines else Html()
