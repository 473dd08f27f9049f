"""Cases of layers and operations on images."""

from __future__ import annotations

import numpy as np

from ...nn.patch_embedding import PatchEmbedding
from .layer import layer_case


def images(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Two images x (B, C, H, W) = (2, 3, 4, 6)."""
    return (rng.standard_normal((2, 3, 4, 6)),)


layer_case("patch embedding", lambda rng: PatchEmbedding(3, 2, 5, rng), images)
layer_case("patch embedding without bias", lambda rng: PatchEmbedding(3, 1, 5, rng, bias=False), images)
