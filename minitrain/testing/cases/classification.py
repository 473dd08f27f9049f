"""Cases of losses of choices."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .. import strategies as mt
from .base import Call, Extent, away_from, case, draw_lead, each, maybe, normal


def draw_classes(draw: Any, lead: tuple[int, ...], V: int) -> tuple[Any, dict[str, Any]]:
    """Targets of V classes, and perhaps the option that some are ignored."""
    targets = draw(mt.integer_arrays(lead, V, draw(st.sampled_from([np.int64, np.int32]))))
    if draw(st.booleans()):
        return targets, {}
    ignored = draw(st.sampled_from([-100, -1, 0]))  # -1 and -100 are no classes, 0 is one
    chosen = np.random.default_rng(draw(mt.seeds())).random(lead) < 0.4
    return np.where(chosen, ignored, targets).astype(targets.dtype), {"ignore_index": ignored}


def draw_entropy_options(draw: Any, V: int) -> dict[str, Any]:
    """Smoothing and z-loss."""
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["label_smoothing"] = draw(st.sampled_from([0.1, 1.0]))
        options["others_only"] = V > 2 and draw(st.integers(0, 3)) == 3
    if draw(st.booleans()):
        options["z_loss"] = draw(st.sampled_from([1e-4, 0.3]))
    return options


@case(
    no_gradient=("class_weight",),
    left_to_reference=lambda call: call.options.get("others_only", False),
)
def cross_entropy(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    targets, options = draw_classes(draw, lead, V)
    class_weight = maybe(draw, lambda: abs(normal(draw, V)))
    options |= draw_entropy_options(draw, V) | each(draw)
    return Call((2 * normal(draw, *lead, V), targets, class_weight), options)


@case(
    no_gradient=("class_weight",),
    left_to_reference=lambda call: not call.options["gradients"] or call.options.get("each", False),
)
def linear_cross_entropy(draw: Any, extent: Extent) -> Call:
    lead, C, V = draw_lead(draw, extent, extent.width, extent.width)
    targets, options = draw_classes(draw, lead, V)
    bias, class_weight = maybe(draw, lambda: normal(draw, V)), maybe(draw, lambda: abs(normal(draw, V)))
    options |= draw_entropy_options(draw, V) | each(draw)
    options |= {"chunk": draw(st.sampled_from([1, 2, 5, 64])), "gradients": draw(st.integers(0, 3)) < 3}
    return Call((normal(draw, *lead, C), normal(draw, V, C), targets, bias, class_weight), options)


@case(no_gradient=("alpha",))
def focal(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    targets, options = draw_classes(draw, lead, V)
    options |= draw(st.sampled_from([{}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 3.0}])) | each(draw)
    alpha = maybe(draw, lambda: abs(normal(draw, V)))
    return Call((2 * normal(draw, *lead, V), targets, alpha), options)


@case()
def unlikelihood(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    V = max(V, 2)  # beside the unwanted class there is another
    unwanted, options = draw_classes(draw, lead, V)
    return Call((2 * normal(draw, *lead, V), unwanted), options | each(draw))


@case(no_gradient=("targets", "pos_weight"))
def binary_cross_entropy(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    targets = np.random.default_rng(draw(mt.seeds())).random((*lead, C))
    if draw(st.booleans()):
        targets = targets.round()
    pos_weight = maybe(draw, lambda: abs(normal(draw, C)))
    return Call((2 * normal(draw, *lead, C), targets, pos_weight), each(draw))


@case()
def binary_focal(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    options = draw(st.sampled_from([{}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": None}, {"gamma": 3.0, "alpha": 0.8}]))
    targets = draw(mt.integer_arrays((*lead, C), 2, draw(st.sampled_from([np.int64, np.int32]))))
    return Call((2 * normal(draw, *lead, C), targets), options | each(draw))


@case()
def hinge(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    margin = draw(st.sampled_from([1.0, 0.5, 0.0]))
    targets = 2 * draw(mt.integer_arrays((*lead, C), 2, draw(st.sampled_from([np.int64, np.int8])))) - 1
    outputs = away_from(2 * normal(draw, *lead, C), -margin, margin)
    return Call((outputs, targets), {"margin": margin} | each(draw))


@case(no_gradient=("targets",))
def kl_divergence(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    rng = np.random.default_rng(draw(mt.seeds()))
    targets = np.exp(rng.standard_normal((*lead, V)))
    targets[rng.random(targets.shape) < draw(st.sampled_from([0, 0.3]))] = 0  # even a whole row
    targets = targets / np.maximum(targets.sum(axis=-1, keepdims=True), 1e-3)
    return Call((normal(draw, *lead, V) - 2, targets), each(draw))
