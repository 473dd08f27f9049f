"""The coordinate check: whether activations keep their size when a model gets wider (Yang et al., 2022, figure 5).

Models of some widths take a few steps on the same batches. In the standard parametrization their activations then grow
with the width, so a rate that suits a narrow model is too high for a wide one. With `minitrain.optim.use_mup`, they
change by about the same at every width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.arrays import to_numpy
from ..errors import ConfigError
from ..inside import capture
from ..optim import AdamW
from ..training.steps.plain import train_step

LOOKED_AT = ("tok_emb.out", "blocks.*.attention.out", "blocks.*.feed_forward.out", "norm.out", "logits")
"""The values that are measured; see `minitrain.inside.names`."""


@dataclass(frozen=True)
class CoordinateCheck:
    """How far the activations moved.

    Attributes:
        widths: the widths of the models.
        steps: the updates after which they were measured.
        sizes: by the name of a layer: the root mean square of the change of its output since the start, one row for
            each of ``steps`` and one column for each width.
    """

    widths: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: Mapping[str, np.ndarray[Any, Any]]

    def slopes(self) -> dict[str, float]:
        """After the last step, by layer: the power of the width with which the change grows. Near 0 is what mup is for.

        0.5 means that twice the width moves the activations 1.4 times as far.
        """
        x = np.log(self.widths)
        return {name: float(np.polyfit(x, np.log(rows[-1]), 1)[0]) for name, rows in self.sizes.items()}

    def describe(self) -> str:
        """The slopes, for the screen."""
        slopes = self.slopes()
        longest = max(map(len, slopes))
        return "\n".join(f"{name:<{longest}}  width^{slope:+.2f}" for name, slope in slopes.items())


def check_coordinates(
    make: Callable[[int], Any],
    widths: Sequence[int],
    batches: Sequence[Any],
    *,
    lr: float,
    make_optimizer: Callable[[Any], Any] = AdamW,
) -> CoordinateCheck:
    """Train models of some widths for a few steps, and measure how far their activations move.

    Args:
        make: makes the model of a width: a GPT or a Llama, with or without `use_mup`.
        widths: two or more.
        batches: one for each step, with ``inputs`` and ``targets``; the first one's inputs are looked at.
        lr: the rate of every step.
        make_optimizer: makes the optimizer of a model.

    Raises:
        ConfigError: if there are fewer than two widths, or no batch.
    """
    if len(set(widths)) < 2 or not batches:
        raise ConfigError("check_coordinates: give two widths or more, and one batch or more")
    moved: dict[str, list[list[float]]] = {}
    for width in widths:
        model = make(width)
        optimizer = make_optimizer(model)
        start = _activations(model, batches[0].inputs)
        changes: dict[str, list[float]] = {name: [] for name in start}
        for batch in batches:
            train_step(model, optimizer, [(0, batch)], lr=lr)
            for name, now in _activations(model, batches[0].inputs).items():
                changes[name].append(float(np.sqrt(np.mean((now - start[name]) ** 2))))
        for name, steps in changes.items():
            moved.setdefault(name, []).append(steps)
    sizes = {name: np.array(columns).T for name, columns in moved.items()}  # (widths, steps) -> (steps, widths)
    return CoordinateCheck(tuple(widths), tuple(range(1, len(batches) + 1)), sizes)


def plot_coordinates(checks: Mapping[str, CoordinateCheck], path: str | Path = "coordinates.png") -> Path:
    """Draw checks side by side, such as ``{"standard": ..., "mup": ...}``: the change over the width after each step.

    Raises:
        FileError: if the file cannot be written.
    """
    from ..plotting.style import COLORS, new_figures, save_figure

    figure, plots = new_figures([(name, "change of activations (RMS)") for name in checks], xlabel="width")
    low = min(float(rows.min()) for check in checks.values() for rows in check.sizes.values())
    high = max(float(rows.max()) for check in checks.values() for rows in check.sizes.values())
    for axes, check in zip(plots, checks.values(), strict=True):
        slopes = check.slopes()
        for color, (name, rows) in zip(COLORS, check.sizes.items(), strict=False):
            label = f"{name}, width^{slopes[name]:+.2f}"
            axes.plot(check.widths, rows[-1], "o-", color=color, linewidth=2, markersize=4, label=label)
            axes.plot(check.widths, rows[0], "--", color=color, linewidth=1, alpha=0.6)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
        axes.set_xticks(check.widths, [str(width) for width in check.widths])
        axes.legend(framealpha=0.9, edgecolor="none", fontsize=8, title=f"after step {check.steps[-1]}; dashed: step 1")
    save_figure(figure, path)
    return Path(path)


def _activations(model: Any, inputs: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of the layers in ``LOOKED_AT``, float64."""
    with capture(model, LOOKED_AT) as seen:
        model.forward(inputs)
    return {name: to_numpy(array).astype(np.float64) for name, array in seen.items()}
