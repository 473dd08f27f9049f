"""The linear layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...backend.precision import current_precision, is_half
from ...ops.contract.op import Target
from ...ops.linear.float8_linear import Float8LinearCache, float8_linear_backward, float8_linear_forward
from ...ops.linear.gelu_linear import gelu_linear_backward, gelu_linear_forward
from ...ops.linear.linear import linear_backward, linear_forward
from ...ops.linear.operands import as_operand
from ...random import Key
from ..core.checks import check_sizes
from ..core.init import normal
from ..core.module import Module
from ..core.parameter import Parameter, into


class Forgotten(NamedTuple):
    """The cache that ``forget_input`` leaves."""

    cache: Any  # without x
    half: str | None  # the dtype of x if it had 16 bits, for the backward follows it


class Linear(Module):
    """``out = x @ weight.T + bias``.

    Args:
        in_features: width K of the input.
        out_features: width N of the output.
        init_rng: source of the initial weights.
        bias: whether to add a bias, which starts at 0.
        std: standard deviation of the initial weights (0.02 is GPT-2's).
        dtype: dtype of the weights.

    Attributes:
        weight: (N, K).
        bias: (N,) or ``None``.
        feeds_forward: whether it is a part of a feed-forward layer, whose products have 8 bits under the precision
            ``float8``.

    Raises:
        ConfigError: if a width is not a whole number of at least 1, or ``init_rng`` is not a generator.
    """

    feeds_forward = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        init_rng: np.random.Generator,
        *,
        bias: bool = True,
        std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.weight = Parameter(normal(init_rng, (out_features, in_features), std, dtype))
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None

    @property
    def out_features(self) -> int:
        """Width N of the output."""
        return len(self.weight.data)

    def forward(self, x: Array, *, key: Key | None = None) -> tuple[Array, Any]:
        """Map x (..., K) to out (..., N). The key is not used here, but by an adapter that replaces this layer.

        The cache is a ``LinearCache``, or a ``Float8LinearCache`` in a feed-forward layer under ``float8``.
        """
        bias = self.bias.data if self.bias else None
        if self._in_float8():
            return float8_linear_forward(x, self.weight.data, bias)
        return linear_forward(x, self.weight.data, bias)

    def backward(self, dout: Array, cache: Any, *, dx: Target = None) -> Array:
        """Map dout (..., N) to dx (..., K), which goes where the target ``dx`` says."""
        targets = dx, into(self.weight), into(self.bias)
        if isinstance(cache, Float8LinearCache):
            return float8_linear_backward(dout, cache, into=targets)[0]
        return linear_backward(dout, cache, into=targets)[0]

    def forget_input(self, cache: Any) -> Forgotten:
        """The part of ``cache`` to keep if x will be recomputed; ``recall_input`` restores the rest."""
        return Forgotten(cache._replace(x=None), cache.x.dtype.name if is_half(cache.x) else None)

    def recall_input(self, kept: Forgotten, x: Array) -> Any:
        """The cache that ``backward`` takes, from what ``forget_input`` kept and x."""
        return kept.cache._replace(x=x if kept.half is None else as_operand(x, name=kept.half))

    def forward_after_gelu(self, hidden: Array, *, approximate: str, key: Key | None = None) -> tuple[Array, Any]:
        """Map hidden (..., K) to out (..., N) of gelu(hidden), in one operation that does not keep gelu(hidden)."""
        bias = self.bias.data if self.bias else None
        if self._in_float8():
            return float8_linear_forward(hidden, self.weight.data, bias, gelu=approximate)
        return gelu_linear_forward(hidden, self.weight.data, bias, approximate=approximate)

    def backward_after_gelu(self, dout: Array, cache: Any) -> Array:
        """Map dout (..., N) of ``forward_after_gelu`` to dhidden (..., K)."""
        if isinstance(cache, Float8LinearCache):
            return float8_linear_backward(dout, cache, into=(None, into(self.weight), into(self.bias)))[0]
        return gelu_linear_backward(dout, cache, into=(None, into(self.weight), into(self.bias)))[0]

    def _in_float8(self) -> bool:
        return self.feeds_forward and current_precision() == "float8"
