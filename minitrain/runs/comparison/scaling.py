"""A scaling law from the losses of some runs: how the loss falls with parameters and tokens.

The law is ``L(N, D) = E + A / N^alpha + B / D^beta`` (Hoffmann et al., 2022, arXiv:2203.15556, approach 3), or
``L(x) = E + A / x^alpha`` where only one of the two varies. It is fitted as there: the logarithm of the loss, under
Huber's loss, which gives a run that went wrong little weight, from many starts. The intervals are of a bootstrap over
the runs. They do not know that a learning rate was badly chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key, random_bits

Numbers = NDArray[np.float64]

HUBER = 1e-3
"""Where Huber's loss of a logarithm becomes linear: at a thousandth, as in the paper."""
LEVEL = 0.9
NAMES = {"parameters": ("A", "alpha"), "tokens": ("B", "beta")}
"""The coefficient and the exponent of each variable."""
WIDE, FEW = 8.0, 3
"""A variable should span this factor; points more than the law has numbers."""


@dataclass(frozen=True)
class ScalingFit:
    """A fitted law.

    Attributes:
        points: the variables by name, ``parameters`` and ``tokens`` or one of them, one number for each run.
        losses: the losses of the runs.
        values: ``E``, and ``A`` and ``alpha``, ``B`` and ``beta``, or those of one variable.
        intervals: of each of them, in which ``LEVEL`` of the bootstrap fits lie.
        warnings: what makes the fit doubtful.
    """

    points: Mapping[str, Numbers]
    losses: Numbers
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    warnings: tuple[str, ...]

    def predict(self, **at: float | Numbers) -> Numbers:
        """The loss at some numbers of ``parameters`` and ``tokens``.

        Raises:
            ConfigError: if another variable is given, or one is missing.
        """
        if set(at) != set(self.points):
            raise ConfigError(f"predict: give {' and '.join(self.points)}, got {', '.join(at) or 'nothing'}")
        terms = [self.values[a] / np.asarray(at[name]) ** self.values[b] for name, (a, b) in _terms(self.points)]
        law: Numbers = self.values["E"] + np.sum(np.broadcast_arrays(*terms), axis=0)
        return law

    def describe(self) -> str:
        """The law, its intervals and warnings, for the screen."""
        law = "L = E" + "".join(f" + {a} / {name}^{b}" for name, (a, b) in _terms(self.points))
        lines = [f"{law}, from {len(self.losses)} runs"]
        for name, value in self.values.items():
            low, high = self.intervals[name]
            lines.append(f"  {name:<6}{value:>12.4g}   {100 * LEVEL:.0f} % interval {low:.4g} to {high:.4g}")
        if len(self.points) == len(NAMES):
            alpha, beta = self.values["alpha"], self.values["beta"]
            lines.append(f"  best parameters for some compute grow with compute^{beta / (alpha + beta):.2f}")
        return "\n".join([*lines, *(f"  careful: {warning}" for warning in self.warnings)])

    def plot(self, path: str | Path = "scaling.png") -> Path:
        """Draw the losses of the runs and the law; returns the PNG file.

        Raises:
            FileError: if the file cannot be written.
        """
        from ...plotting.style import GUESS, TRAIN, VALIDATION, new_figures, save_figure

        figure, plots = new_figures([(f"loss over {name}", "loss") for name in self.points])
        fitted = self.predict(**self.points)
        for axes, (name, x) in zip(plots, self.points.items(), strict=True):
            axes.set_xlabel(name)
            axes.plot(x, self.losses, "o", color=TRAIN, label="runs")
            if len(self.points) == 1:
                line = np.geomspace(x.min(), x.max(), 100)
                axes.plot(line, self.predict(**{name: line}), color=VALIDATION, label="law")
            else:
                axes.plot(x, fitted, "x", color=VALIDATION, label="law")
            axes.axhline(self.values["E"], color=GUESS, linestyle="--", label=f"E = {self.values['E']:.3f}")
            axes.set_xscale("log")
            axes.legend(framealpha=0.9, edgecolor="none")
        save_figure(figure, path)
        return Path(path)


def fit_scaling(
    losses: Sequence[float] | Numbers,
    *,
    parameters: Sequence[float] | Numbers | None = None,
    tokens: Sequence[float] | Numbers | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> ScalingFit:
    """Fit a scaling law to the losses of some runs.

    Args:
        losses: of each run, above 0.
        parameters: the number N of each run; ``None`` if it is the same for all.
        tokens: the number D that each run was trained on; ``None`` if it is the same for all.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: if neither varies.
        DataError: if a number is not above 0, or there are fewer runs than numbers in the law.
    """
    y = np.asarray(losses, np.float64)
    given = {"parameters": parameters, "tokens": tokens}
    points = {name: np.asarray(x, np.float64) for name, x in given.items() if x is not None}
    for name, x in {"losses": y, **points}.items():
        if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and (x > 0).all()):
            raise DataError(f"fit_scaling: {name} must be one finite number above 0 for each run")
    points = {name: x for name, x in points.items() if len(set(x.tolist())) > 1}
    if not points:
        raise ConfigError("fit_scaling: the runs have the same numbers of parameters and of tokens: vary one of them")
    count = 1 + 2 * len(points)
    if len(y) < count:
        raise DataError(f"a law of {count} numbers needs {count} runs or more, better {3 * count}; there are {len(y)}")
    logs = np.stack([np.log(x) for x in points.values()])  # (variables, runs)
    best = _fit(logs, y, _starts(logs, y))
    bits = random_bits(Key.from_seed(seed).fold("scaling"), (resamples, len(y)))
    found = []
    for row in (bits.astype(np.uint64) * len(y) >> np.uint64(32)).astype(int):
        if all(len(set(x[row].tolist())) > 1 for x in logs) and len(set(row.tolist())) >= count:
            found.append(_fit(logs[:, row], y[row], [best]))
    every = np.exp(_log_values(np.array(found or [best])))  # (fits, numbers)
    names = ["E", *itertools.chain.from_iterable(pair for _, pair in _terms(points))]
    low, high = np.quantile(every, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    values = dict(zip(names, np.exp(_log_values(best[None]))[0].tolist(), strict=True))
    intervals = {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    warnings = _warnings(points, y, values, intervals, fits=len(found))
    return ScalingFit(points, y, values, intervals, warnings)


def _terms(points: Mapping[str, Numbers]) -> list[tuple[str, tuple[str, str]]]:
    return [(name, NAMES[name]) for name in NAMES if name in points]


def _log_values(found: Numbers) -> Numbers:
    """Logarithms of E, A, alpha, ... from what is fitted: log E, log A at the centre, alpha; see `_fit`."""
    values = found.copy()
    values[:, 2::2] = np.log(found[:, 2::2])  # above 0 by the bounds of the search
    return values


def _starts(logs: Numbers, y: Numbers) -> list[Numbers]:
    """Points to begin the search at: shares of the lowest loss for E, and some exponents for each variable."""
    starts = []
    for share in (0.1, 0.5, 0.9):
        floor = share * y.min()
        for exponents in itertools.product((0.1, 0.3, 0.6, 1.0), repeat=len(logs)):
            start = [np.log(floor)]
            for x, exponent in zip(logs, exponents, strict=True):
                start += [np.log((np.median(y) - floor) / len(logs)) + exponent * np.median(x), exponent]
            starts.append(np.array(start))
    return starts


def _fit(logs: Numbers, y: Numbers, starts: Sequence[Numbers]) -> Numbers:
    """The numbers ``log E, log A, alpha, ...`` with the smallest Huber loss of the logarithms."""
    from scipy.optimize import minimize

    target, centre = np.log(y), logs.mean(axis=1)

    def loss(numbers: Numbers) -> tuple[float, Numbers]:
        terms = np.stack(
            [
                np.full(len(y), numbers[0]),
                *(numbers[1 + 2 * i] - numbers[2 + 2 * i] * (x - centre[i]) for i, x in enumerate(logs)),
            ]
        )  # (1 + variables, runs): logarithms of the terms
        top = terms.max(axis=0)
        shares = np.exp(terms - top)
        total = shares.sum(axis=0)
        shares /= total
        error = top + np.log(total) - target
        near = np.abs(error) <= HUBER
        value = np.where(near, error**2 / 2, HUBER * (np.abs(error) - HUBER / 2)).sum() / HUBER**2
        slope = np.clip(error, -HUBER, HUBER) / HUBER**2
        grad = [slope @ shares[0]]
        for i, x in enumerate(logs):
            grad += [slope @ shares[1 + i], -(slope * shares[1 + i]) @ (x - centre[i])]
        return float(value), np.array(grad)

    bounds = [(None, float(target.min()))] + [(None, None), (1e-3, 5.0)] * len(logs)
    results = []
    for start in starts:
        moved = start.copy()  # A at the centre of the points is far better determined than A at 1
        moved[1::2] -= moved[2::2] * centre
        results.append(minimize(loss, moved, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000}))
    numbers: Numbers = min(results, key=lambda result: float(result.fun)).x.copy()
    numbers[1::2] += numbers[2::2] * centre
    return numbers


def _warnings(
    points: Mapping[str, Numbers],
    y: Numbers,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    *,
    fits: int,
) -> tuple[str, ...]:
    found = []
    if len(y) < len(values) + FEW:
        found.append(f"{len(y)} runs for {len(values)} numbers leave little to tell whether the law holds")
    for name, x in points.items():
        if x.max() / x.min() < WIDE:
            found.append(f"{name} differ by a factor of {x.max() / x.min():.1f} only; {WIDE:.0f} or more tell a law")
    if fits < 50:
        found.append(f"only {fits} samples of the bootstrap had enough different runs: the intervals are too narrow")
    for name, (low, high) in intervals.items():
        if high > 3 * low:
            found.append(f"{name} is hardly determined: {low:.3g} to {high:.3g}")
    if values["E"] < 0.01 * y.min():
        found.append("no floor E is seen: the runs are too small to tell where the loss ends")
    return tuple(found)
