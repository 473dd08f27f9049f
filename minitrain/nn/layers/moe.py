"""A mixture of experts: many feed-forward layers, of which each token uses a few.

The router, a linear map, scores the experts. Each token goes to the k best, and the gates weight their outputs
(Shazeer et al., 2017, arXiv:1701.06538). So a model has many weights and uses few of them for a token. No token is
dropped: a single device needs no capacity limit.

With no other loss, routers send everything to a few experts. Two losses prevent this: on the balance of the experts
(Fedus et al., 2021, arXiv:2101.03961) and on the size of the router's logits (Zoph et al., 2022, arXiv:2202.08906).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module, to_numpy
from ...errors import ConfigError
from ...ops.contract.op import Into
from ...ops.linear.linear import LinearCache
from ...ops.routing.load_balancing import LoadBalancingCache, load_balancing_backward, load_balancing_forward
from ...ops.routing.router_z_loss import RouterZLossCache, router_z_loss_backward, router_z_loss_forward
from ...ops.routing.top_k_routing import TopKRoutingCache, top_k_routing_backward, top_k_routing_forward
from ..core.module import Module
from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward
from .linear import Linear


class ExpertCache(NamedTuple):
    """The cache of one expert."""

    tokens: Array  # (n,) its tokens
    choice: Array  # (n,) which of their k choices it is
    out: Array  # (n, C) the expert's outputs
    cache: Any  # of the expert


class MixtureOfExpertsCache(NamedTuple):
    """Saved for the backward."""

    router: LinearCache
    routing: TopKRoutingCache
    balancing: LoadBalancingCache
    z_loss: RouterZLossCache
    caches: list[ExpertCache]  # one for each expert


class MixtureOfExperts(Module):
    """``sum_j gate[j] expert[j](x)`` over the k experts of a token.

    ``forward`` has a second output, the auxiliary loss, which the model adds to the total of its own loss. It is a sum
    over tokens too. After division by the number of tokens, ``balance_weight`` and ``z_weight`` mean the same as in the
    papers. The balance is counted over a batch: with ``balance_weight``, splitting a batch into micro-batches changes
    the gradient.

    Args:
        width: model width C.
        experts: the E experts, layers that map (n, C) to (n, C).
        init_rng: source of the router's initial weights.
        k: experts for each token.
        normalize: whether the k gates of a token are scaled to sum to 1; see ``top_k_routing_forward``.
        balance_weight: factor of the balancing loss.
        z_weight: factor of the router's z-loss.
        dtype: dtype of the router's weights.

    Attributes:
        router: Linear, C -> E.
        experts: the experts.

    Raises:
        ConfigError: if ``k`` is not from 1 to E.

    Example:
        ``MixtureOfExperts(64, [FeedForward(64, 256, init_rng) for _ in range(8)], init_rng)``
    """

    def __init__(
        self,
        width: int,
        experts: Sequence[FeedForward | GatedFeedForward],
        init_rng: np.random.Generator,
        *,
        k: int = 2,
        normalize: bool = True,
        balance_weight: float = 0.01,
        z_weight: float = 0.001,
        dtype: Any = np.float32,
    ) -> None:
        if not 1 <= k <= len(experts):
            raise ConfigError(f"MixtureOfExperts: k={k} must be from 1 to the number of experts, {len(experts)}")
        self.router = Linear(width, len(experts), init_rng, bias=False, dtype=dtype)
        self.experts = list(experts)
        self.k, self.normalize = k, normalize
        self.balance_weight, self.z_weight = balance_weight, z_weight

    def forward(self, x: Array) -> tuple[Array, Any, MixtureOfExpertsCache]:
        """Map x (..., C) to out (..., C) and the auxiliary loss (), a total over tokens."""
        rows = x.reshape(-1, x.shape[-1])  # (..., C) -> (N, C)
        logits, router = self.router.forward(rows)  # (N, E)
        gates, probs, experts, routing = top_k_routing_forward(logits, k=self.k, normalize=self.normalize)
        balance, balancing = load_balancing_forward(probs, experts)
        size, z_loss = router_z_loss_forward(logits)
        aux = self.balance_weight * balance.total + self.z_weight * size.total

        xp = array_module(x)
        out, caches = xp.zeros(rows.shape, rows.dtype), []
        for expert, places in zip(self.experts, self._places(experts), strict=True):
            tokens, choice = places // self.k, places % self.k
            y, cache = expert.forward(rows[tokens])  # (n, C)
            out[tokens] += gates[tokens, choice][:, None] * y  # an expert gets a token at most once
            caches.append(ExpertCache(tokens, choice, y, cache))
        return out.reshape(x.shape), aux, MixtureOfExpertsCache(router, routing, balancing, z_loss, caches)

    def _places(self, experts: Array) -> list[Array]:
        """For each expert, where it is among the choices (N, k) of all tokens, as indices of the N k choices in order.

        From a GPU the sizes come to the host, once in a call: they are the shapes of what follows.
        """
        xp, flat = array_module(experts), experts.reshape(-1).astype("int64")  # (N, k) -> (N k,)
        order = xp.argsort(flat, kind="stable")  # (N k,) by expert, and in order for each
        sizes = xp.zeros(len(self.experts), xp.int64)
        xp.add.at(sizes, flat, 1)
        ends = np.cumsum(to_numpy(sizes)).tolist()
        return [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def backward(self, dout: Array, daux: Any, cache: MixtureOfExpertsCache) -> Array:
        """Map dout (..., C) and daux (), ``None`` for zero, to dx (..., C)."""
        daux = 0.0 if daux is None else daux
        drows, gates = dout.reshape(-1, dout.shape[-1]), cache.routing.gates  # (N, C), (N, k)
        xp = array_module(dout)
        dx: Array = xp.zeros(drows.shape, drows.dtype)
        dgates = xp.zeros(gates.shape, gates.dtype)
        for expert, (tokens, choice, y, expert_cache) in zip(self.experts, cache.caches, strict=True):
            dgates[tokens, choice] = (drows[tokens] * y).sum(axis=-1)
            dx[tokens] += expert.backward(gates[tokens, choice][:, None] * drows[tokens], expert_cache)

        dprobs, _ = load_balancing_backward(self.balance_weight * daux, cache.balancing)
        dlogits = top_k_routing_backward(dgates, dprobs, cache.routing)
        router_z_loss_backward(self.z_weight * daux, cache.z_loss, into=(Into(dlogits, accumulate=True),))
        self.router.backward(dlogits, cache.router, dx=Into(dx, accumulate=True))
        return dx.reshape(dout.shape)
