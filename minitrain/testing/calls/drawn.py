"""Check a backward over many drawn shapes, and report the smallest call that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from ...errors import ConfigError
from ..gradients import check_gradients
from ..report import GradientReport
from ..settings import DEFAULT, CheckSettings
from ..strategies import seeds

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9)
EDGES = (15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around the tiles and vector registers of kernels."""
LARGEST = 4096  # elements of an array


def check_drawn(
    subject: Any,
    inputs: str | st.SearchStrategy[tuple[Any, ...]],
    *,
    examples: int = 50,
    seed: int = 0,
    settings: CheckSettings = DEFAULT,
    check: Callable[..., GradientReport] = check_gradients,
    **options: Any,
) -> GradientReport:
    """Check the gradients at many drawn shapes. A wrong one shrinks to the smallest call that shows it.

    Some mistakes show at some shapes only: where a length is no multiple of a tile, where two axes differ, at a batch
    of one.

    Args:
        subject: what ``check_gradients`` takes.
        inputs: shapes in letters, such as ``"x: B T C; weight: C"``: each letter is one size, from 1 to 9 or around 16,
            32 and 64, and the arrays are standard normal. Or a Hypothesis strategy for tuples of inputs.
        examples: how many calls to draw.
        seed: the same seed draws the same calls.
        settings: how closely to check each.
        check: what checks one call.
        options: keyword arguments of the forward.

    Returns:
        The worst relative error of each argument over all calls. The shapes in it are those of the first call.

    Raises:
        GradientMismatch: if a gradient is wrong at one of the shapes. Its note has the call.
        GradientCheckError: if a call cannot be checked.
        ConfigError: if the letters cannot be read.

    Example:
        >>> def double(x): return x + x, None
        >>> def double_backward(dout, cache): return 2 * dout
        >>> check_drawn((double, double_backward), "x: B T", examples=5).worst < 1e-8
        True
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    strategy = shaped(inputs) if isinstance(inputs, str) else inputs
    reports: list[GradientReport] = []

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        print_blob=False,
    )
    @hypothesis.seed(seed)
    @hypothesis.given(strategy)
    def run(drawn: tuple[Any, ...]) -> None:
        __tracebackhide__ = True
        try:
            reports.append(check(subject, *drawn, settings=settings, **options))
        except Exception as error:
            if not hasattr(error, "call"):
                error.call = drawn  # type: ignore[attr-defined]  # for the script that repeats it
                error.note = f"drawn call: {', '.join(map(_short, drawn))}"  # type: ignore[attr-defined]
            raise

    try:
        run()
    except Exception as error:
        if hasattr(error, "note"):  # in place of Hypothesis's words about a function that the user does not know
            error.__notes__ = [error.note]
        raise
    return GradientReport.merged(reports)


def shaped(letters: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Tuples of float64 arrays whose shapes are written in letters.

    Args:
        letters: such as ``"x: B T C; weight: C"``; a number is a size of its own, and nothing after the colon is a
            0-d array.

    Raises:
        ConfigError: if it cannot be read.
    """
    shapes: list[list[str]] = []
    for part in letters.split(";"):
        name, colon, axes = part.partition(":")
        wrong = [axis for axis in axes.split() if not (axis.isidentifier() or axis.isdigit())]
        if not colon or not name.strip().isidentifier() or wrong:
            raise ConfigError(f"{letters!r}: write each input as 'name: A B C', several with ';' between them")
        shapes.append(axes.split())
    names = list(dict.fromkeys(axis for shape in shapes for axis in shape if not axis.isdigit()))
    return _shaped(tuple(names), tuple(map(tuple, shapes)))


@st.composite
def _shaped(
    draw: st.DrawFn, names: tuple[str, ...], shapes: tuple[tuple[str, ...], ...]
) -> tuple[Any, ...]:  # fmt: skip
    sizes: dict[str, int] = {}
    count = max(1, len(names))
    edge = draw(st.integers(0, 3 * count - 1)) - 2 * count  # which axis is long; none, in two calls of three
    alike = draw(st.integers(0, 4)) == 4  # equal sizes are rare: mostly, no axis should pass for another
    for i, name in enumerate(names):
        pool = EDGES if i == edge else SIZES[1:5] if alike else SIZES
        sizes[name] = draw(st.sampled_from([n for n in pool if alike or n == 1 or n not in sizes.values()]))
    rng = np.random.default_rng(draw(seeds()))
    found = [_shape(shape, sizes) for shape in shapes]
    hypothesis.assume(all(np.prod(shape) <= LARGEST for shape in found))
    return tuple(rng.standard_normal(shape) for shape in found)


def _shape(axes: tuple[str, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in axes)


def _short(x: Any) -> str:
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    return repr(x) if shape is None else f"{dtype} {tuple(shape)}"
