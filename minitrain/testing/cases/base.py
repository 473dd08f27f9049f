"""Cases: each draws valid calls of one operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ...backend import is_array, to_device
from ...backend.arrays import Array
from ...ops import Pair, registry
from ...random import Key
from .. import strategies as mt
from ..layouts import with_layout
from ..pairs import argument_names, cotangent_count


class Extent(NamedTuple):
    """How large calls are drawn."""

    batch: st.SearchStrategy[int]
    length: st.SearchStrategy[int]
    width: st.SearchStrategy[int]


# Small enough for finite differences, with sizes that differ from each other (see ``draw_sizes``).
SMALL = Extent(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6))
# On both sides of the kernels' tiles and vector registers: 64 queries, 192 rows, 1024 elements, 16 columns.
TILES = Extent(
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 7, 63, 64, 65, 130, 193]),
    st.sampled_from([1, 2, 5, 15, 16, 17, 33, 64, 65]),
)
EMPTY = Extent(st.just(0), st.integers(2, 4), st.integers(1, 5))


@dataclass(frozen=True)
class Call:
    """Arguments of one forward."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]

    def astype(self, dtype: Any) -> Call:
        """The call with its floating-point inputs in another dtype."""
        return self._map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x)

    def laid_out(self, layout: str) -> Call:
        """The call with all its arrays, those in the options too, in another memory layout."""
        return self._map(lambda x: with_layout(x, layout), options=True)

    def to(self, device: str) -> Call:
        """The call with all its arrays on another device."""
        return self._map(lambda x: to_device(x, device), options=True)

    def arrays(self) -> list[Any]:
        """All arrays of the call."""
        return [x for x in (*self.inputs, *self.options.values()) if is_array(x)]

    def _map(self, change: Callable[[Any], Any], options: bool = False) -> Call:
        def each(x: Any) -> Any:
            return change(x) if is_array(x) else x

        changed = {k: each(v) for k, v in self.options.items()} if options else self.options
        return replace(self, inputs=tuple(map(each, self.inputs)), options=changed)


@dataclass(frozen=True)
class Case:
    """How to call an operation."""

    name: str
    draw: Callable[..., Call]
    no_gradient: tuple[str, ...]
    """floating-point arguments without a gradient, such as class weights"""
    left_to_reference: Callable[[Call], bool]
    """calls that a kernel twin may decline"""

    @property
    def family(self) -> str:
        """The file that the case stands in, such as ``"activations"``."""
        return self.draw.__module__.rpartition(".")[2]

    @property
    def pair(self) -> Pair:
        """The operation."""
        return registry()[self.name]

    @property
    def arguments(self) -> list[str]:
        """Names of its array arguments."""
        return argument_names(self.pair.forward, len(self.gradients()))

    def gradients(self) -> list[bool]:
        """Whether each array argument has a gradient, judged by what the backward says it returns."""
        returned = self.pair.backward.reference.__annotations__["return"].removeprefix("tuple[").removesuffix("]")  # type: ignore[attr-defined]
        return [part.strip() != "None" for part in returned.split(",")]

    def outputs(self, result: tuple[Any, ...]) -> list[Any]:
        """The differentiable outputs in what the forward returns."""
        *outputs, _ = result
        if len(outputs) == 1 and isinstance(outputs[0], tuple):
            outputs = list(outputs[0])
        return outputs[: cotangent_count(self.pair.backward)]

    def calls(self, extent: Extent) -> st.SearchStrategy[Call]:
        """Calls of a certain size."""
        return self._strategy(extent)

    @cached_property
    def _strategy(self) -> Callable[[Extent], st.SearchStrategy[Call]]:
        # Made once: each time Hypothesis reads the source of ``draw``, which takes longer than a small call.
        return st.composite(self.draw)


CASES: dict[str, Case] = {}


def case(
    *,
    name: str | None = None,
    no_gradient: tuple[str, ...] = (),
    left_to_reference: Callable[[Call], bool] = lambda call: False,
) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Register the decorated function, named like the operation, as its case.

    Args:
        name: the operation, if the function has another name.
        no_gradient: names of floating-point arguments that have no gradient.
        left_to_reference: tells the calls that a kernel twin may decline; it must take all others.
    """

    def register(draw: Callable[..., Call]) -> Callable[..., Call]:
        operation = name or draw.__name__
        CASES[operation] = Case(operation, draw, no_gradient, left_to_reference)
        return draw

    return register


def draw_sizes(draw: Any, *sizes: st.SearchStrategy[int]) -> tuple[int, ...]:
    """Sizes that are all different if they can be: then no axis passes for another."""
    drawn: list[int] = []
    for size in sizes:
        # No lambda: Hypothesis would look up its source in every draw.
        drawn.append(draw(size.filter(partial(_is_new, drawn))))
    return tuple(drawn)


def _is_new(drawn: list[int], size: int) -> bool:
    return size not in drawn or size in (0, 1)


def draw_lead(draw: Any, extent: Extent, *others: st.SearchStrategy[int], scalar: bool = True) -> tuple[Any, ...]:
    """Leading dimensions, and the sizes of ``others``, all different."""
    B, T, *rest = draw_sizes(draw, extent.batch, extent.length, *others)
    leads = [(B, T), (B,), (B, T, 2)] + ([()] if scalar and extent is not EMPTY else [])
    return draw(st.sampled_from(leads)), *rest


def normal(draw: Any, *shape: int) -> Array:
    """Standard normal numbers."""
    return draw(mt.arrays(shape))  # type: ignore[no-any-return]


def away_from_zero(draw: Any, *shape: int) -> Array:
    """No element within 0.1 of 0, for functions with a kink there: a finite difference must not cross it."""
    x = normal(draw, *shape)
    return x + np.copysign(0.1, x)


def maybe(draw: Any, make: Callable[[], Any]) -> Any:
    """The result of ``make``, or ``None``."""
    return make() if draw(st.booleans()) else None


def key(draw: Any) -> Key:
    """A random key, of a sample early or late in a batch."""
    return Key.from_seed(draw(mt.seeds())).at_sample(draw(st.sampled_from([0, 5, 2**33])))


def each(draw: Any) -> dict[str, Any]:
    """Rarely, the losses one by one."""
    return {"each": True} if draw(st.integers(0, 3)) == 3 else {}


def away_from(x: Array, *kinks: float, gap: float = 0.05) -> Array:
    """``x`` moved off the points where a function has a kink: finite differences must not reach across one."""
    for kink in kinks:
        x = np.where(abs(x - kink) < gap, kink + np.where(x < kink, -gap, gap), x)
    return x
