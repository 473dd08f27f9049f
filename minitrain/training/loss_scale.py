"""Dynamic loss scaling, for float16 (Micikevicius et al., Mixed Precision Training, 2018, arXiv:1710.03740).

float16 turns numbers below 6e-8 into zero, and many gradients are smaller. So the loss is multiplied by a scale before
the backward, and the gradients are divided by it before anybody reads them. A gradient that overflows then costs one
update: the update is skipped and the scale is halved. After ``growth_interval`` updates without an overflow the scale
doubles. Scales are powers of two, so scaling a float32 number rounds nothing.

Losses are sums over targets here, not means. So the first scale is smaller than elsewhere: the gradient of a target's
logit is up to 1, and 1 times 2**16 is already too large for float16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, ConfigError
from ..optim.groups import gradients
from ..states import Kind, Number, Whole, checked


@dataclass
class Arithmetic:
    """How precisely a training computes.

    Attributes:
        precision: of the products, see `minitrain.backend.precision`.
        scaler: scales the loss in float16; ``None`` otherwise.
    """

    precision: str = "float32"
    scaler: LossScale | None = None

    @classmethod
    def of(cls, precision: str) -> Arithmetic:
        """With a scaler where the precision needs one."""
        return cls(precision, LossScale() if precision == "float16" else None)


class LossScale:
    """The scale of the loss, and when it changes.

    Args:
        scale: the first scale, a power of two.
        growth_interval: updates without an overflow until the scale doubles.

    Attributes:
        scale: the present scale; at least 1.
        clean: updates since the last overflow or growth.

    Raises:
        ConfigError: if ``scale`` is not a power of two from 1 to 2**40, or ``growth_interval`` is below 1.
    """

    LARGEST = 2.0**40  # a loss of 1e5 times this is still far from float32's largest number

    def __init__(self, scale: float = 2.0**12, growth_interval: int = 2000) -> None:
        if not _is_scale(scale):
            raise ConfigError(f"LossScale: scale = {scale!r} must be a power of two from 1 to 2**40, such as 4096")
        if growth_interval < 1:
            raise ConfigError(f"LossScale: growth_interval = {growth_interval!r} must be 1 or more")
        self.scale, self.growth_interval, self.clean = float(scale), growth_interval, 0

    def unscale(self, model: Any) -> None:
        """Divide all gradients of ``model`` by the scale, in place."""
        for gradient in gradients(model):
            gradient *= 1 / self.scale

    def grow(self) -> None:
        """Count an update without an overflow."""
        self.clean += 1
        if self.clean >= self.growth_interval:
            self.scale, self.clean = min(2 * self.scale, self.LARGEST), 0

    def back_off(self) -> bool:
        """Halve the scale after an overflow; ``False`` if it is 1 already, so that scaling is not to blame."""
        if self.scale == 1:
            return False
        self.scale, self.clean = self.scale / 2, 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """The scale and the updates since it changed."""
        return {"scale": self.scale, "clean": self.clean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` gave.

        Raises:
            CheckpointError: if it is none.
        """
        state = checked("scaler", state, self.declared_state())
        if not _is_scale(state["scale"]):
            raise CheckpointError(f"the scaler's scale {state['scale']!r} is no power of two from 1 to 2**40")
        self.scale, self.clean = float(state["scale"]), state["clean"]

    def declared_state(self) -> dict[str, Kind]:
        """The values that a state may hold; see `minitrain.states`."""
        return {"scale": Number(), "clean": Whole()}


def _is_scale(scale: float) -> bool:
    return 1 <= scale <= LossScale.LARGEST and math.frexp(scale)[0] == 0.5
