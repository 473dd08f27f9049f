"""Reading and replacing the values of a forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, ShapeError
from ..nn.core.module import Module
from .sites import Site, chosen
from .watch import unwatch, watch

Replacement = Array | float | Callable[[Array], Any]


class Captured(dict[str, Array]):
    """The captured arrays: copies by name, in order of computation."""

    def __missing__(self, name: str) -> Array:
        raise ConfigError(
            f"{name!r} was not seen: it is none of the names given to capture, or nothing has computed it within the "
            "block (a gradient needs a backward, logits need a forward without loss_chunk)"
        )


class _Reader:
    replaces = False

    def __init__(self, wanted: set[str]) -> None:
        self.wanted, self.seen = wanted, Captured()

    def see(self, name: str, value: Array) -> Array:
        self.seen[name] = value.copy()  # the backward reuses memory
        return value


class _Patcher:
    replaces = True

    def __init__(self, wanted: dict[str, Replacement]) -> None:
        self.replacements, self.wanted, self.used = wanted, set(wanted), set[str]()

    def see(self, name: str, value: Array) -> Array:
        self.used.add(name)
        new = self.replacements[name]
        new = new(value.copy()) if callable(new) else new
        if new is None:
            raise ConfigError(f"patch {name!r}: the function returns None; it must return the value to go on with")
        xp = array_module(value)
        new = xp.asarray(new, value.dtype)
        try:
            return xp.array(xp.broadcast_to(new, value.shape))  # type: ignore[no-any-return]
        except ValueError:
            raise ShapeError(
                f"patch {name!r}: a value of shape {new.shape} cannot take the place of one of {value.shape}"
            ) from None


@contextmanager
def capture(model: Module, names: str | Sequence[str]) -> Iterator[Captured]:
    """Keep copies of values that the model computes within the block.

    Nothing of the model's results changes. A value that is computed several times is kept from the last time. Within
    the block, generation runs the model's layers, which is slower than its kernels.

    Args:
        model: the model; not one that another thread runs.
        names: names or patterns, such as ``"blocks.*.out"``; see `minitrain.inside.names`.

    Yields:
        The values by name; those of a forward are there when it returns.

    Raises:
        ConfigError: if a pattern matches nothing; the message has the nearest name.

    Example:
        >>> with capture(model, ["blocks.*.attention.weights", "blocks.0.out.grad"]) as seen:
        ...     loss, cache = model.loss(batch)
        ...     model.loss_backward(cache)
        >>> seen["blocks.0.attention.weights"]  # (B, H, T, T)
    """
    sites = chosen(model, [names] if isinstance(names, str) else names)
    reader = _Reader(set(sites))
    layers = watch(sites, reader)
    try:
        yield reader.seen
    finally:
        unwatch(layers, reader)


@contextmanager
def patch(model: Module, values: Mapping[str, Replacement]) -> Iterator[None]:
    """Replace values in every forward of the model within the block; whatever follows is computed from them.

    A forward with replaced values has no backward. Of several blocks inside each other the outer one acts first, so a
    ``capture`` inside a ``patch`` sees what was put in.

    Args:
        model: the model; not one that another thread runs.
        values: by name or pattern, what takes the place of the value: an array or a number that broadcasts to its
            shape, or a function that gets a copy of it and returns another. Of two that match, the later acts.

    Raises:
        ConfigError: if a pattern matches nothing (the message has the nearest name), matches a gradient, a function
            returns ``None``, or nothing within the block computed the value, so that nothing was replaced.
        ShapeError: in the forward, if a value does not fit.

    Example:
        >>> with patch(model, {"blocks.1.feed_forward.out": 0.0}):  # what if this layer did nothing?
        ...     logits, _ = model.forward(tokens)
    """
    sites: dict[str, Site] = {}
    replacements: dict[str, Replacement] = {}
    matches: dict[str, set[str]] = {}
    for pattern, value in values.items():
        found = chosen(model, [pattern])
        if all(name.endswith(".grad") for name in found):
            raise ConfigError(f"patch: {pattern!r} is a gradient; gradients are captured, values are patched")
        found = {name: site for name, site in found.items() if not name.endswith(".grad")}
        matches[pattern] = set(found)
        sites |= found
        replacements |= dict.fromkeys(found, value)
    patcher = _Patcher(replacements)
    layers = watch(sites | {"": Site(model, "")}, patcher)  # and the model, whose cache no backward may use
    try:
        yield
    finally:
        unwatch(layers, patcher)
    for pattern, found_names in matches.items():
        if not found_names & patcher.used:
            raise ConfigError(
                f"patch: nothing computed {pattern!r} within the block, so nothing was replaced. Generation, "
                "evaluation and a loss with loss_chunk take logits from the last hidden state: patch 'norm.out' there"
            )
