"""Cases of losses of distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .base import Call, Extent, away_from, case, draw_lead, each, maybe, normal


def draw_errors(draw: Any, extent: Extent, *kinks: float) -> tuple[Any, ...]:
    """Outputs and targets whose differences keep off the kinks, and perhaps weights."""
    lead, C = draw_lead(draw, extent, extent.width)
    targets = normal(draw, *lead, C)
    outputs = targets + away_from(2 * normal(draw, *lead, C), *kinks)
    return outputs, targets, maybe(draw, lambda: abs(normal(draw, *lead, C)))


@case(no_gradient=("weight",))
def mean_squared_error(draw: Any, extent: Extent) -> Call:
    return Call(draw_errors(draw, extent), each(draw))


@case(no_gradient=("weight",))
def mean_absolute_error(draw: Any, extent: Extent) -> Call:
    return Call(draw_errors(draw, extent, 0), each(draw))


@case(no_gradient=("weight",))
def huber(draw: Any, extent: Extent) -> Call:
    delta = draw(st.sampled_from([1.0, 0.3, 2.5]))
    return Call(draw_errors(draw, extent, -delta, delta), {"delta": delta} | each(draw))


@case()
def triplet(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    margin = draw(st.sampled_from([1.0, 0.2, 3.0]))
    anchor = normal(draw, *lead, C)
    # Neither distance is near 0, and their difference keeps off the margin.
    near, far = (away_from(normal(draw, *lead, C), 0, gap=0.5) for _ in range(2))
    lengths = [np.sqrt((x * x).sum(axis=-1)) for x in (near, far)]
    close = abs(lengths[0] - lengths[1] + margin) < 0.05
    far = np.where(close[..., None], 1.2 * far, far)
    return Call((anchor, anchor - near, anchor - far), {"margin": margin} | each(draw))
