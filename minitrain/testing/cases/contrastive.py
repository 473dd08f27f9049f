"""Cases of losses that compare all samples of a batch with each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...backend.arrays import Array
from ...nn.layers.contrastive import ClipLoss, SiglipLoss
from .. import strategies as mt
from .base import Call, Extent, away_from, away_from_zero, case, draw_sizes, each, normal
from .layer import Generator, layer_case


def draw_features(draw: Any, extent: Extent, sets: int) -> tuple[Array, ...]:
    """Sets of features (N, C), none of them short: only their directions count."""
    B, T, C = draw_sizes(draw, extent.batch, extent.length, extent.width)
    return tuple(away_from_zero(draw, B * T, C) for _ in range(sets))


def draw_groups(draw: Any, features: Array) -> Array:
    """Numbers (N,): one for all, a few, nearly one for each."""
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint8]))
    return draw(mt.integer_arrays(features.shape[:1], draw(st.sampled_from([1, 3, 100])), dtype))  # type: ignore[no-any-return]


@case()
def info_nce(draw: Any, extent: Extent) -> Call:
    limit = draw(st.sampled_from([100.0, 2.0]))
    log_scale = away_from(normal(draw), math.log(limit))
    image, text = draw_features(draw, extent, 2)
    return Call((image, text, log_scale, draw_groups(draw, image)), {"limit": limit} | each(draw))


@case()
def siglip(draw: Any, extent: Extent) -> Call:
    image, text = draw_features(draw, extent, 2)
    return Call((image, text, normal(draw), normal(draw), draw_groups(draw, image)), each(draw))


@case()
def supervised_contrastive(draw: Any, extent: Extent) -> Call:
    (features,) = draw_features(draw, extent, 1)
    labels = draw_groups(draw, features)
    return Call((features, labels), {"temperature": draw(st.sampled_from([1.0, 0.3]))} | each(draw))


def pairs(rng: Generator) -> tuple[Any, ...]:
    """Features of images and of texts (N, C) = (4, 6)."""
    return rng.standard_normal((4, 6)), rng.standard_normal((4, 6))


layer_case("CLIP's loss", lambda rng: ClipLoss(), pairs)
layer_case("SigLIP's loss", lambda rng: SiglipLoss(), pairs)
