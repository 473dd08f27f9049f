"""Cases of the mixture of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.layers.feed_forward import FeedForward
from ...nn.layers.gated_feed_forward import GatedFeedForward
from ...nn.layers.moe import MixtureOfExperts
from .. import strategies as mt
from .base import Call, Extent, case, draw_lead, each, normal
from .layer import Generator, layer_case


@case()
def top_k_routing(draw: Any, extent: Extent) -> Call:
    """With logits of a row that keep apart: finite differences must not change who is chosen."""
    lead, E = draw_lead(draw, extent, extent.width)
    rng = np.random.default_rng(draw(mt.seeds()))
    logits = rng.permuted(np.broadcast_to(np.linspace(-2, 2, E), (*lead, E)), axis=-1)
    logits = logits + 1 / E * rng.random((*lead, E))
    return Call((logits,), {"k": draw(st.integers(1, min(E, 4))), "normalize": draw(st.booleans())})


@case()
def load_balancing(draw: Any, extent: Extent) -> Call:
    lead, E = draw_lead(draw, extent, extent.width)
    probs = np.exp(normal(draw, *lead, E))
    experts = draw(mt.integer_arrays((*lead, draw(st.integers(1, 3))), E, draw(st.sampled_from([np.int64, np.int32]))))
    return Call((probs / probs.sum(axis=-1, keepdims=True), experts), each(draw))


@case()
def router_z_loss(draw: Any, extent: Extent) -> Call:
    lead, E = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, E),), each(draw))


def mixture(rng: Generator, gated: bool = False, **options: Any) -> MixtureOfExperts:
    experts = [(GatedFeedForward if gated else FeedForward)(8, 3, rng) for _ in range(3)]
    return MixtureOfExperts(8, experts, rng, **options)


layer_case("mixture of experts", lambda rng: mixture(rng, balance_weight=0.5, z_weight=0.1))
layer_case("mixture of gated experts, one each", lambda rng: mixture(rng, gated=True, k=1, normalize=False))
