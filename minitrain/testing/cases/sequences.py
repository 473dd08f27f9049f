"""Cases of joining, cutting and averaging sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .. import strategies as mt
from .base import Call, Extent, case, draw_sizes, normal


@case()
def concat(draw: Any, extent: Extent) -> Call:
    sizes = extent.batch, extent.length, extent.width
    shape = draw_sizes(draw, *sizes)
    axis = draw(st.integers(-3, 2))
    other = list(shape)
    other[axis] = draw(sizes[axis])
    return Call((normal(draw, *shape), normal(draw, *other)), {"axis": axis})


@case()
def split(draw: Any, extent: Extent) -> Call:
    shape = draw_sizes(draw, extent.batch, extent.length, extent.width)
    axis = draw(st.integers(-3, 2))
    return Call((normal(draw, *shape),), {"at": draw(st.integers(0, shape[axis])), "axis": axis})


@case()
def mean_pool(draw: Any, extent: Extent) -> Call:
    B, T, C = draw_sizes(draw, extent.batch, extent.length, extent.width)
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["mask"] = draw(mt.masks((B, T), keep_one=draw(st.booleans())))
    if draw(st.booleans()):
        lengths = np.random.default_rng(draw(mt.seeds())).integers(0, T + 1, B)
        options["key_lengths"] = lengths.astype(draw(st.sampled_from([np.int64, np.int32])))
    return Call((normal(draw, B, T, C),), options)
