"""Floating-point operations of operations with matrix products, counted for one call.

A product of (R, K) by (K, N) takes ``2 R N K`` operations; a backward takes one such product for each gradient that it
computes. Only the products of an operation are counted: bias, activation and softmax are left out, and so are the
scores that the backward of attention recomputes. `minitrain.models.flops` counts a model in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module
from ..ops.attention.attention import AttentionCache
from ..ops.attention.attention_scores import allowed
from ..ops.contract.op import SKIP


class Call(NamedTuple):
    """One call of an operation or update, and its result."""

    name: str  # of the function, such as "linear_forward"
    args: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    @property
    def cache(self) -> Any:
        """The cache: the last result of a forward, or the last argument of a backward."""
        return self.args[-1] if self.name.endswith("_backward") else self.result[-1]

    def wanted(self, gradient: int) -> bool:
        """Whether a backward had to compute a gradient, given by its index among the results."""
        into = self.options.get("into")
        return into is None or into[gradient] is not SKIP


def product(x: Array, weight: Array) -> int:
    """Operations of x (..., K) by weight (N, K)."""
    return 2 * x.size * len(weight)


def _linear(call: Call) -> int:
    return product(*call.args[:2])


def _linear_backward(call: Call) -> int:
    return product(*call.cache[:2]) * (call.wanted(0) + call.wanted(1))


def _linear_cross_entropy(call: Call) -> int:
    return product(*call.cache[:2]) * (1 if call.cache.gradients is None else 3)  # it computes both gradients too


def _linear_cross_entropy_backward(call: Call) -> int:
    return product(*call.cache[:2]) * (3 if call.cache.gradients is None else 0)  # recomputed logits and two gradients


def _low_rank(call: Call) -> int:
    x, a, b, h = call.cache[:4]
    return product(x, a) + product(h, b)


def _low_rank_backward(call: Call) -> int:
    x, a, b, h = call.cache[:4]
    down, up = product(x, a), product(h, b)
    return up + down * (call.wanted(0) + call.wanted(1)) + up * call.wanted(2)


def _conv2d(call: Call) -> int:
    return product(call.args[1][0], call.result[0].reshape(-1))  # each output is a window by a kernel (C/G, kh, kw)


def _conv2d_backward(call: Call) -> int:
    return product(call.cache.weight[0], call.args[0].reshape(-1)) * (call.wanted(0) + call.wanted(1))


def _attention(call: Call) -> int:
    return 4 * head_width(call) * visible_pairs(call.cache)


def _attention_backward(call: Call) -> int:
    return 8 * head_width(call) * visible_pairs(call.cache)


def _pointer(call: Call) -> int:
    q, k = call.cache.q, call.cache.k
    return 2 * int(q.size) * int(k.shape[1])


def _pointer_backward(call: Call) -> int:
    return _pointer(call) * (call.wanted(1) + call.wanted(2))


def _cosines(call: Call) -> int:
    left, right = call.cache.cosines
    return product(left.out, right.out)


def _cosines_backward(call: Call) -> int:
    return 2 * _cosines(call)


def _muon(call: Call) -> int:
    S, L = sorted(call.args[0].shape)  # per iteration: the Gram matrix, its square, and their product with the matrix
    return call.options["ns_steps"] * 2 * (S * S * L + S * S * S + S * S * L)  # type: ignore[no-any-return]


def head_width(call: Call) -> int:
    """Width D of the heads of an attention."""
    D: int = call.cache.q.shape[-1]
    return D


def visible_pairs(cache: AttentionCache) -> int:
    """The number of pairs of a query and a key that it attends to, over all samples and heads."""
    (B, T, H, _), S = cache.q.shape, cache.k.shape[1]
    may = allowed(array_module(cache.q), T, S, cache.causal, cache.window, cache.key_lengths, cache.mask)
    pairs: int = B * H * T * S
    return pairs if may is None else int(may.sum()) * (pairs // max(may.size, 1))


PRODUCTS: dict[str, Callable[[Call], int]] = {
    "attention_backward": _attention_backward,
    "attention_forward": _attention,
    "conv2d_backward": _conv2d_backward,
    "conv2d_forward": _conv2d,
    "float8_linear_backward": _linear_backward,
    "float8_linear_forward": _linear,
    "gelu_linear_backward": _linear_backward,
    "gelu_linear_forward": _linear,
    "info_nce_backward": _cosines_backward,
    "info_nce_forward": _cosines,
    "linear_backward": _linear_backward,
    "linear_cross_entropy_backward": _linear_cross_entropy_backward,
    "linear_cross_entropy_forward": _linear_cross_entropy,
    "linear_forward": _linear,
    "low_rank_backward": _low_rank_backward,
    "low_rank_forward": _low_rank,
    "muon_update": _muon,
    "pointer_backward": _pointer_backward,
    "pointer_forward": _pointer,
    "siglip_backward": _cosines_backward,
    "siglip_forward": _cosines,
    "supervised_contrastive_backward": _cosines_backward,
    "supervised_contrastive_forward": _cosines,
}
"""Operations of a call, by the name of the function."""
