"""One case per operation: what valid calls look like. The properties in ``test_ops.py`` then apply to all of them.

To add an operation, write a function that draws its inputs and options for a given ``Extent`` and register it with
``@case``. Inputs are drawn in float64; tests cast them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from minitrain.backend import is_array, to_device
from minitrain.ops import Pair, registry
from minitrain.random import Key
from minitrain.testing import strategies as mt
from minitrain.testing import with_layout
from minitrain.testing.gradients import argument_names, cotangent_count


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
        returned = self.pair.backward.reference.__annotations__["return"].removeprefix("tuple[").removesuffix("]")
        return [part.strip() != "None" for part in returned.split(",")]

    def outputs(self, result: tuple[Any, ...]) -> list[Any]:
        """The differentiable outputs in what the forward returns."""
        *outputs, _ = result
        if len(outputs) == 1 and isinstance(outputs[0], tuple):
            outputs = list(outputs[0])
        return outputs[: cotangent_count(self.pair.backward)]

    def calls(self, extent: Extent) -> st.SearchStrategy[Call]:
        """Calls of a certain size."""
        return st.composite(self.draw)(extent)


CASES: dict[str, Case] = {}


def case(*, no_gradient: tuple[str, ...] = ()) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Register the decorated function, named like the operation, as its case."""

    def register(draw: Callable[..., Call]) -> Callable[..., Call]:
        CASES[draw.__name__] = Case(draw.__name__, draw, no_gradient)
        return draw

    return register


def draw_sizes(draw: Any, *sizes: st.SearchStrategy[int]) -> tuple[int, ...]:
    """Sizes that are all different if they can be: then no axis passes for another."""
    drawn: list[int] = []
    for size in sizes:
        drawn.append(draw(size.filter(lambda n: n not in drawn or n in (0, 1))))
    return tuple(drawn)


def draw_lead(draw: Any, extent: Extent, *others: st.SearchStrategy[int], scalar: bool = True) -> tuple[Any, ...]:
    """Leading dimensions, and the sizes of ``others``, all different."""
    B, T, *rest = draw_sizes(draw, extent.batch, extent.length, *others)
    leads = [(B, T), (B,), (B, T, 2)] + ([()] if scalar and extent is not EMPTY else [])
    return draw(st.sampled_from(leads)), *rest


def normal(draw: Any, *shape: int) -> Any:
    return draw(mt.arrays(shape))


def away_from_zero(draw: Any, *shape: int) -> Any:
    """No element within 0.1 of 0, for functions with a kink there: a finite difference must not cross it."""
    x = normal(draw, *shape)
    return x + np.copysign(0.1, x)


def maybe(draw: Any, make: Callable[[], Any]) -> Any:
    return make() if draw(st.booleans()) else None


def key(draw: Any) -> Key:
    return Key.from_seed(draw(mt.seeds())).at_sample(draw(st.sampled_from([0, 5, 2**33])))


@case()
def linear(draw: Any, extent: Extent) -> Call:
    lead, K, N = draw_lead(draw, extent, extent.width, extent.width)
    return Call((normal(draw, *lead, K), normal(draw, N, K), maybe(draw, lambda: normal(draw, N))), {})


@case()
def linear_gelu(draw: Any, extent: Extent) -> Call:
    form = draw(st.sampled_from(["tanh", "none"]))
    return replace(linear(draw, extent), options={"approximate": form})


@case()
def embedding(draw: Any, extent: Extent) -> Call:
    lead, V, C = draw_lead(draw, extent, extent.length, extent.width)
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint16]))
    return Call((draw(mt.integer_arrays(lead, V, dtype)), normal(draw, V, C)), {})


@case()
def layer_norm(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    bias = maybe(draw, lambda: normal(draw, C))
    # A larger eps keeps narrow rows, which may have hardly any variance, smooth enough for finite differences.
    options = draw(st.sampled_from([{"eps": 0.1}, {"eps": 0.01}, {}] if C > 2 else [{"eps": 0.1}, {"eps": 0.01}]))
    return Call((normal(draw, *lead, C), normal(draw, C), bias), options)


@case()
def residual_layer_norm(draw: Any, extent: Extent) -> Call:
    call = layer_norm(draw, extent)
    x, weight, bias = call.inputs
    return replace(call, inputs=(x, normal(draw, *x.shape), weight, bias))


@case()
def gelu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C),), {"approximate": draw(st.sampled_from(["tanh", "none"]))})


@case()
def softmax(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C),), {})


@case()
def dropout(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width, scalar=False)
    p = draw(st.sampled_from([0.5, 0.1, 0.9, 0.0]))
    return Call((normal(draw, *lead, C),), {"p": p, "rng": maybe(draw, lambda: key(draw))})


@case()
def residual(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((normal(draw, *lead, C), normal(draw, *lead, C)), {})


@case()
def attention(draw: Any, extent: Extent) -> Call:
    B, T, S, D = draw_sizes(draw, extent.batch, extent.length, extent.length, extent.width)
    if draw(st.booleans()):
        S = T
    G, group = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2, 3]))
    H = G * group
    inputs = normal(draw, B, T, H, D), normal(draw, B, S, G, D), normal(draw, B, S, G, D)
    options: dict[str, Any] = {"causal": draw(st.booleans())}
    if draw(st.booleans()):
        lengths = np.random.default_rng(draw(mt.seeds())).integers(0, S + 1, B)
        options["key_lengths"] = lengths.astype(draw(st.sampled_from([np.int64, np.int32])))
    if draw(st.booleans()):
        options.update(dropout=draw(st.sampled_from([0.2, 0.7])), rng=maybe(draw, lambda: key(draw)))
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.5, 1.0]))

    def broadcasting() -> tuple[int, ...]:
        shape = [n if draw(st.booleans()) else 1 for n in (B, H, T, S)]
        return tuple(shape[draw(st.integers(0, 3)) :])

    bias = None
    if draw(st.integers(0, 3)) == 3:  # rarely: the kernel twins leave these two to the reference
        bias = normal(draw, *broadcasting())
    if draw(st.integers(0, 3)) == 3:
        options["mask"] = draw(mt.masks(broadcasting(), keep_one=draw(st.booleans())))
    return Call((*inputs, bias), options)


@case(no_gradient=("class_weight",))
def cross_entropy(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    targets = draw(mt.integer_arrays(lead, V, draw(st.sampled_from([np.int64, np.int32]))))
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["label_smoothing"] = draw(st.sampled_from([0.1, 1.0]))
    if draw(st.booleans()):  # -1 and -100 are no classes, 0 is one
        ignored = draw(st.sampled_from([-100, -1, 0]))
        chosen = np.random.default_rng(draw(mt.seeds())).random(lead) < 0.4
        targets = np.where(chosen, ignored, targets).astype(targets.dtype)
        options["ignore_index"] = ignored
    class_weight = maybe(draw, lambda: abs(normal(draw, V)))
    return Call((2 * normal(draw, *lead, V), targets, class_weight), options | each(draw))


def each(draw: Any) -> dict[str, Any]:
    """Rarely, the losses one by one."""
    return {"each": True} if draw(st.integers(0, 3)) == 3 else {}


def away_from(x: Any, *kinks: float, gap: float = 0.05) -> Any:
    """``x`` moved off the points where a function has a kink: finite differences must not reach across one."""
    for kink in kinks:
        x = np.where(abs(x - kink) < gap, kink + np.where(x < kink, -gap, gap), x)
    return x


def draw_errors(draw: Any, extent: Extent, *kinks: float) -> tuple[Any, ...]:
    """Outputs and targets whose differences keep off the kinks, and perhaps weights."""
    lead, C = draw_lead(draw, extent, extent.width)
    targets = normal(draw, *lead, C)
    outputs = targets + away_from(2 * normal(draw, *lead, C), *kinks)
    return outputs, targets, maybe(draw, lambda: abs(normal(draw, *lead, C)))


@case(no_gradient=("weight",))
def mean_squared_error(draw: Any, extent: Extent) -> Call:
    return Call(draw_errors(draw, extent), each(draw))


@case(no_gradient=("weight",))
def mean_absolute_error(draw: Any, extent: Extent) -> Call:
    return Call(draw_errors(draw, extent, 0), each(draw))


@case(no_gradient=("weight",))
def huber(draw: Any, extent: Extent) -> Call:
    delta = draw(st.sampled_from([1.0, 0.3, 2.5]))
    return Call(draw_errors(draw, extent, -delta, delta), {"delta": delta} | each(draw))


@case(no_gradient=("targets", "pos_weight"))
def binary_cross_entropy(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    targets = np.random.default_rng(draw(mt.seeds())).random((*lead, C))
    if draw(st.booleans()):
        targets = targets.round()
    pos_weight = maybe(draw, lambda: abs(normal(draw, C)))
    return Call((2 * normal(draw, *lead, C), targets, pos_weight), each(draw))


@case(no_gradient=("targets",))
def kl_divergence(draw: Any, extent: Extent) -> Call:
    lead, V = draw_lead(draw, extent, extent.width)
    rng = np.random.default_rng(draw(mt.seeds()))
    targets = np.exp(rng.standard_normal((*lead, V)))
    targets[rng.random(targets.shape) < draw(st.sampled_from([0, 0.3]))] = 0  # even a whole row
    targets = targets / np.maximum(targets.sum(axis=-1, keepdims=True), 1e-3)
    return Call((normal(draw, *lead, V) - 2, targets), each(draw))


@case()
def hinge(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    margin = draw(st.sampled_from([1.0, 0.5, 0.0]))
    targets = 2 * draw(mt.integer_arrays((*lead, C), 2, draw(st.sampled_from([np.int64, np.int8])))) - 1
    outputs = away_from(2 * normal(draw, *lead, C), -margin, margin)
    return Call((outputs, targets), {"margin": margin} | each(draw))


@case()
def binary_focal(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    options = draw(st.sampled_from([{}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": None}, {"gamma": 3.0, "alpha": 0.8}]))
    targets = draw(mt.integer_arrays((*lead, C), 2, draw(st.sampled_from([np.int64, np.int32]))))
    return Call((2 * normal(draw, *lead, C), targets), options | each(draw))


@case(no_gradient=("alpha",))
def focal(draw: Any, extent: Extent) -> Call:
    call = cross_entropy(draw, extent)
    options = {name: value for name, value in call.options.items() if name != "label_smoothing"}
    return replace(call, options=options | draw(st.sampled_from([{}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 3.0}])))


@case()
def triplet(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    margin = draw(st.sampled_from([1.0, 0.2, 3.0]))
    anchor = normal(draw, *lead, C)
    # Neither distance is near 0, and their difference keeps off the margin.
    near, far = (away_from(normal(draw, *lead, C), 0, gap=0.5) for _ in range(2))
    lengths = [np.sqrt((x * x).sum(axis=-1)) for x in (near, far)]
    close = abs(lengths[0] - lengths[1] + margin) < 0.05
    far = np.where(close[..., None], 1.2 * far, far)
    return Call((anchor, anchor - near, anchor - far), {"margin": margin} | each(draw))


@case()
def relu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((away_from_zero(draw, *lead, C),), {})


@case()
def silu(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def tanh(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def sigmoid(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def softplus(draw: Any, extent: Extent) -> Call:
    return softmax(draw, extent)


@case()
def rms_norm(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((normal(draw, *lead, C), normal(draw, C)), draw(st.sampled_from([{"eps": 0.1}, {"eps": 0.01}])))


@case()
def swiglu(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((2 * normal(draw, *lead, C), normal(draw, *lead, C)), {})


@case()
def geglu(draw: Any, extent: Extent) -> Call:
    return replace(swiglu(draw, extent), options={"approximate": draw(st.sampled_from(["tanh", "none"]))})


@case()
def rope(draw: Any, extent: Extent) -> Call:
    B, T, pairs = draw_sizes(draw, extent.batch, extent.length, extent.width)
    x = normal(draw, B, T, draw(st.sampled_from([1, 2, 3])), 2 * pairs)
    dtype = draw(st.sampled_from([np.int64, np.int32]))
    positions = draw(mt.integer_arrays(draw(st.sampled_from([(T,), (B, T)])), 100, dtype))
    return Call((x, positions), draw(st.sampled_from([{}, {"base": 500.0, "scaling": 3.0}])))


@case()
def group_norm(draw: Any, extent: Extent) -> Call:
    B, T, width = draw_sizes(draw, extent.batch, extent.length, extent.width)
    groups = draw(st.sampled_from([1, 2, 3]))
    C = groups * width
    x = normal(draw, B, C, *draw(st.sampled_from([(), (T,), (2, 3)])))
    options = {"groups": groups, "eps": draw(st.sampled_from([0.1, 0.01]))}
    return Call((x, normal(draw, C), maybe(draw, lambda: normal(draw, C))), options)


@case()
def l2_normalize(draw: Any, extent: Extent) -> Call:
    lead, C = draw_lead(draw, extent, extent.width)
    return Call((away_from_zero(draw, *lead, C),), draw(st.sampled_from([{}, {"eps": 100.0}])))
