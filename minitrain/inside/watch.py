"""Watched layers: their methods are wrapped while somebody looks, and are their own again afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from ..backend.arrays import Array, array_module
from ..errors import MinitrainError
from ..models.common.cross_entropy import CrossEntropyModel
from ..nn.attention.cross_attention import CrossAttention
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.core.module import Module
from ..nn.layers.feed_forward import FeedForward
from ..nn.layers.gated_feed_forward import GatedFeedForward
from .layers import inside_attention, inside_feed_forward
from .sites import Site

METHODS = ("forward", "forward_hidden", "forward_residual", "backward", "backward_residual")


class Visitor(Protocol):
    """Somebody who looks at some values by name."""

    wanted: set[str]
    replaces: bool

    def see(self, name: str, value: Array) -> Array:
        """Look at a value; returns it, or what replaces it."""


class NoBackward:
    """In place of the cache of a model that ran with replaced values: it is of no use to a backward."""

    def __init__(self) -> None:
        self.norm_and_head: list[Any] = []  # a decoder's forward adds the cache of its head here

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MinitrainError(
            "this forward ran within patch(...), and there is no backward of a patched model; run the backward of an "
            "unpatched forward, or take gradients with capture(model, '….grad')"
        )


class Watched:
    """Stands in for the methods of a layer and shows their values to visitors, the earliest first."""

    def __init__(self, layer: Module) -> None:
        self.layer, self.visitors, self.names = layer, list[Visitor](), dict[str, str]()
        self.own = {name: getattr(layer, name) for name in METHODS if hasattr(layer, name)}

    def __call__(self, kind: str, value: Array) -> Array:
        """See `Visit`."""
        name = self.names.get(kind, "")
        for visitor in self.visitors:
            if name in visitor.wanted:
                value = visitor.see(name, value)
        return value

    def wanted(self, kind: str) -> bool:
        """See `Visit`."""
        return any(self.names.get(kind) in visitor.wanted for visitor in self.visitors)

    def forward(self, x: Array, *inputs: Any, **options: Any) -> Any:
        """The layer's forward."""
        x, layer = self("in", x), self.layer
        out, cache = self.own["forward"](x, *inputs, **options)
        if isinstance(layer, MultiHeadAttention | CrossAttention):
            out = inside_attention(layer, out, cache, self)
        elif isinstance(layer, FeedForward | GatedFeedForward):
            out = inside_feed_forward(layer, x, out, self)
        return self("logits", self("out", out)), self._cache(cache)

    def forward_hidden(self, tokens: Array, **options: Any) -> Any:
        """A decoder's forward without its head."""
        hidden, cache = self.own["forward_hidden"](tokens, **options)
        return hidden, self._cache(cache)

    def forward_residual(self, x: Array, branch: Array) -> Any:
        """The forward of a norm that adds a branch to the stream first."""
        total, out, cache = self.own["forward_residual"](x, branch)
        replaced = self("mid", total)
        if replaced is not total:
            total, out, cache = self.own["forward_residual"](replaced, array_module(x).zeros_like(replaced))
        return total, self("out", out), cache

    def backward(self, dout: Array, *inputs: Any, **options: Any) -> Any:
        """The layer's backward."""
        self("out.grad", dout)
        self("logits.grad", dout)
        dx = self.own["backward"](dout, *inputs, **options)
        self("in.grad", dx[0] if isinstance(dx, tuple) else dx)
        return dx

    def backward_residual(self, dtotal: Array | None, dout: Array, cache: Any) -> Array:
        """The backward of ``forward_residual``."""
        self("out.grad", dout)
        dx: Array = self.own["backward_residual"](dtotal, dout, cache)
        self("mid.grad", dx)
        return dx

    def _cache(self, cache: Any) -> Any:
        patched = isinstance(self.layer, CrossEntropyModel) and any(visitor.replaces for visitor in self.visitors)
        return NoBackward() if patched else cache


def watch(sites: Mapping[str, Site], visitor: Visitor) -> list[Watched]:
    """Let a visitor look at the sites, by name; returns the watched layers, for `unwatch`."""
    found: dict[int, Watched] = {}
    for name, site in sites.items():
        layer = site.layer
        watched = getattr(vars(layer).get("forward"), "__self__", None)
        if not isinstance(watched, Watched):
            watched = Watched(layer)
            vars(layer).update({method: getattr(watched, method) for method in watched.own})
        gradient = ".grad" if name.endswith(".grad") else ""
        watched.names[site.kind + gradient] = name
        found[id(layer)] = watched
    for watched in found.values():
        watched.visitors.append(visitor)
    return list(found.values())


def unwatch(layers: list[Watched], visitor: Visitor) -> None:
    """Undo `watch`: a layer that nobody looks at has its own methods again."""
    for watched in layers:
        watched.visitors.remove(visitor)
        if not watched.visitors:
            for method in watched.own:
                del vars(watched.layer)[method]
