"""How to call every operation and layer. The property tests, the peers and ``minitrain gradcheck`` use these cases.

A case of an operation is a function that draws its inputs and options for a given ``Extent``, registered with ``@case``
in the file of its family. Inputs are drawn in float64; tests cast them. A case of a layer, registered with
``layer_case``, says how to build it and what to feed it. Needs Hypothesis.
"""

from . import (
    activations,
    attention,
    classification,
    contrastive,
    images,
    linear,
    models,
    norms,
    regression,
    routing,
    sequences,
)
from .base import CASES, EMPTY, SMALL, TILES, Call, Case, Extent, case
from .layer import LAYERS, LayerCase, layer_case

__all__ = [
    "CASES",
    "EMPTY",
    "LAYERS",
    "SMALL",
    "TILES",
    "Call",
    "Case",
    "Extent",
    "LayerCase",
    "activations",
    "attention",
    "case",
    "classification",
    "contrastive",
    "images",
    "layer_case",
    "linear",
    "models",
    "norms",
    "regression",
    "routing",
    "sequences",
]
