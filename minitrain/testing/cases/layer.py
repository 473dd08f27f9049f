"""Cases of layers: how to build each, and what to feed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...nn.core.module import Module

Generator = np.random.Generator


def features(rng: Generator) -> tuple[Any, ...]:
    """The input of most layers: x (B, T, C) = (2, 4, 8)."""
    return (rng.standard_normal((2, 4, 8)),)


class LayerCase(NamedTuple):
    """How to build a layer and what to feed it."""

    build: Callable[[Generator], Module]
    inputs: Callable[[Generator], tuple[Any, ...]]
    options: dict[str, Any]  # of its forward

    @property
    def family(self) -> str:
        """The file that the case stands in, such as ``"norms"``."""
        return self.build.__module__.rpartition(".")[2]

    def module(self, seed: int) -> Module:
        """The layer with weights of ordinary size: at small initial ones some gradients all but vanish."""
        rng = np.random.default_rng(seed)
        module = self.build(rng)
        for parameter in module.parameters():
            parameter.data[...] = 0.5 * rng.standard_normal(parameter.data.shape) + (parameter.data.ndim == 1)
        return module

    def arguments(self, seed: int) -> tuple[Any, ...]:
        """Inputs of its forward."""
        return self.inputs(np.random.default_rng([seed, 1]))


LAYERS: dict[str, LayerCase] = {}


def layer_case(
    name: str,
    build: Callable[[Generator], Module],
    inputs: Callable[[Generator], tuple[Any, ...]] = features,
    **options: Any,
) -> None:
    """Register a case of a layer.

    Args:
        name: what it is called in tables, such as ``"attention, grouped queries"``.
        build: makes the layer; initial weights come from the generator that it is given.
        inputs: draws the arguments of its forward; by default one array x (2, 4, 8).
        options: keyword arguments of its forward.
    """
    LAYERS[name] = LayerCase(build, inputs, options)
