"""The cost of one call of an operation: floating-point operations, and the least bytes that must move.

Operations are counted exactly for matrix products (`minitrain.profiling.products`), and by a number per element for
others; see `PER_ELEMENT`. Bytes are those of every array that a call reads or writes, once each. No kernel can need
less; one that reads an array twice needs more. An array that is added to counts twice, and an array that is passed on
unread counts as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module, is_array
from ..backend.targets import Into
from .products import PRODUCTS, Call

PER_ELEMENT: dict[str, int] = {
    "adam_update": 15,
    "cross_entropy_backward": 5,
    "cross_entropy_forward": 4,
    "drop_path_backward": 1,
    "drop_path_forward": 1,
    "dropout_backward": 1,
    "dropout_forward": 1,
    "embedding_backward": 1,
    "geglu_backward": 36,
    "geglu_forward": 15,
    "gelu_backward": 20,
    "gelu_forward": 14,
    "layer_norm_backward": 13,
    "layer_norm_forward": 7,
    "relu_backward": 1,
    "relu_forward": 1,
    "residual_forward": 1,
    "residual_layer_norm_backward": 14,
    "residual_layer_norm_forward": 8,
    "residual_rms_norm_backward": 10,
    "residual_rms_norm_forward": 5,
    "rms_norm_backward": 9,
    "rms_norm_forward": 4,
    "rope_backward": 3,
    "rope_forward": 3,
    "silu_backward": 12,
    "silu_forward": 8,
    "softmax_backward": 4,
    "softmax_forward": 5,
    "sum_of_squares": 2,
    "swiglu_backward": 22,
    "swiglu_forward": 9,
}
"""Operations per element of the largest array of the call (of the gradient, for embedding's backward).

They are those of the readable reference: each addition, product, quotient, comparison, ``exp``, ``tanh`` or ``erf`` on
whole arrays counts as one, and so does each element of a sum or a maximum. GELU is counted in its tanh form. For
operations neither here nor in ``PRODUCTS``, only bytes are known.
"""


class Cost(NamedTuple):
    """The cost of a call.

    Attributes:
        flops: floating-point operations; ``None`` if they are not counted.
        nbytes: bytes read and written, each array once.
    """

    flops: int | None
    nbytes: int


def cost_of(call: Call) -> Cost:
    """The cost of a call."""
    nbytes = TRAFFIC.get(call.name, traffic)(call)
    if call.name in PRODUCTS:
        return Cost(PRODUCTS[call.name](call), nbytes)
    if call.name in PER_ELEMENT and nbytes:  # without bytes it passed its input on, like dropout at 0
        given = call.args[:1] if call.name == "embedding_backward" else call.args
        return Cost(PER_ELEMENT[call.name] * max((x.size for x in arrays_in(given)), default=0), nbytes)
    return Cost(None if nbytes else 0, nbytes)


def arrays_in(value: Any) -> Iterator[Array]:
    """All arrays in a value: an array itself, those in tuples, lists and dictionaries, the buffer of an ``Into``."""
    if is_array(value):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def traffic(call: Call) -> int:
    """Bytes of the arrays that a call reads and writes."""
    targets = call.options.get("into") or ()
    given = [*arrays_in(call.args), *arrays_in([v for name, v in call.options.items() if name != "into"])]
    if call.name.endswith("_update"):  # in place: everything except the gradient, the second argument, is written too
        return _size(given) + _size(given[:1] + given[2:])
    buffers = [target.buffer for target in targets if isinstance(target, Into)]
    added_to = [target.buffer for target in targets if isinstance(target, Into) and target.accumulate]
    returned = list(arrays_in(call.result))
    made = [x for x in returned if not any(array_module(x).may_share_memory(x, y) for y in (*given, *buffers))]
    if returned and not made and not buffers:
        return 0  # views of the inputs
    return _size(given) + _size(added_to) + _size(made) + _size(buffers)


def _size(arrays: list[Array]) -> int:
    """Bytes of the arrays, each once."""
    return sum({id(x): x.nbytes for x in arrays}.values())


def _embedding(call: Call) -> int:
    tokens, out = call.args[0], call.result[0]
    return int(tokens.nbytes + 2 * out.nbytes)  # the rows that are looked up, read and written


def _embedding_backward(call: Call) -> int:
    dout, (tokens, weight, _) = call.args
    target = (call.options.get("into") or (None, None))[1]
    rows = min(dout.nbytes, weight.nbytes)  # rows that can be added to, at most
    added = 2 * rows if isinstance(target, Into) and target.accumulate else weight.nbytes  # else the zeros are written
    return int(dout.nbytes + tokens.nbytes + (added if call.wanted(1) else 0))


def _linear_cross_entropy_backward(call: Call) -> int:
    if call.cache.gradients is None:
        return traffic(call)
    return traffic(call._replace(args=(call.args[0], call.cache.gradients)))  # they are scaled and written


TRAFFIC: dict[str, Callable[[Call], int]] = {
    "embedding_backward": _embedding_backward,
    "embedding_forward": _embedding,
    "linear_cross_entropy_backward": _linear_cross_entropy_backward,
}
"""Operations that read only part of their arguments."""
