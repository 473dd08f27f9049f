"""The cost of one call of an operation: floating-point operations, and the least bytes that must move.

Operations are counted exactly for matrix products (`minitrain.profiling.products`), and by a number per element for
others; see `PER_ELEMENT`. Bytes are those of every array that a call reads or writes, once each. No kernel can need
less; one that reads an array twice needs more. An array that is added to counts twice, and an array that is passed on
unread counts as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module, is_array
from ..backend.targets import Into
from ..ops.contract.loss import Loss
from .products import PRODUCTS, Call

PER_ELEMENT: dict[str, int] = {
    "adam_update": 15,
    "binary_cross_entropy_backward": 22,
    "binary_cross_entropy_forward": 18,
    "binary_focal_backward": 32,
    "binary_focal_forward": 19,
    "concat_backward": 0,
    "concat_forward": 0,
    "cross_entropy_backward": 5,
    "cross_entropy_forward": 4,
    "drop_path_backward": 1,
    "drop_path_forward": 1,
    "dropout_backward": 1,
    "dropout_forward": 1,
    "embedding_backward": 1,
    "embedding_forward": 0,
    "focal_backward": 6,
    "focal_forward": 4,
    "geglu_backward": 36,
    "geglu_forward": 15,
    "gelu_backward": 20,
    "gelu_forward": 14,
    "group_norm_backward": 13,
    "group_norm_forward": 7,
    "hinge_backward": 6,
    "hinge_forward": 4,
    "huber_backward": 3,
    "huber_forward": 7,
    "kl_divergence_backward": 2,
    "kl_divergence_forward": 3,
    "l2_normalize_backward": 5,
    "l2_normalize_forward": 3,
    "layer_norm_backward": 13,
    "layer_norm_forward": 7,
    "load_balancing_backward": 1,
    "load_balancing_forward": 2,
    "mean_absolute_error_backward": 3,
    "mean_absolute_error_forward": 3,
    "mean_pool_forward": 2,
    "mean_squared_error_backward": 3,
    "mean_squared_error_forward": 3,
    "relu_backward": 1,
    "relu_forward": 1,
    "residual_backward": 0,
    "residual_forward": 1,
    "residual_layer_norm_backward": 14,
    "residual_layer_norm_forward": 8,
    "residual_rms_norm_backward": 10,
    "residual_rms_norm_forward": 5,
    "rms_norm_backward": 9,
    "rms_norm_forward": 4,
    "rope_backward": 3,
    "rope_forward": 3,
    "router_z_loss_backward": 7,
    "router_z_loss_forward": 4,
    "scale_backward": 3,
    "scale_forward": 1,
    "sigmoid_backward": 3,
    "sigmoid_forward": 7,
    "silu_backward": 12,
    "silu_forward": 8,
    "softmax_backward": 4,
    "softmax_forward": 5,
    "softplus_backward": 8,
    "softplus_forward": 6,
    "split_backward": 0,
    "split_forward": 0,
    "sum_of_squares": 2,
    "swiglu_backward": 22,
    "swiglu_forward": 9,
    "tanh_backward": 3,
    "tanh_forward": 1,
    "top_k_routing_backward": 5,
    "top_k_routing_forward": 6,
    "triplet_backward": 12,
    "triplet_forward": 8,
    "unlikelihood_backward": 7,
    "unlikelihood_forward": 5,
}
"""Operations per element of the largest array of the call (of the gradient, for embedding's backward).

They are those of the readable reference: each addition, product, quotient, comparison, ``exp``, ``tanh`` or ``erf`` on
whole arrays counts as one, and so does each element of a sum or a maximum. GELU is counted in its tanh form; the sort
of top-k routing is not counted. For functions neither here nor in ``PRODUCTS`` and ``WINDOWS``, only bytes are known.
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
    if call.name in COUNTED:
        return Cost(COUNTED[call.name](call), nbytes)
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
        return distinct_bytes(given) + distinct_bytes(given[:1] + given[2:])
    buffers = [target.buffer for target in targets if isinstance(target, Into)]
    added_to = [target.buffer for target in targets if isinstance(target, Into) and target.accumulate]
    returned = list(arrays_in(call.result))
    made = [x for x in returned if not any(array_module(x).may_share_memory(x, y) for y in (*given, *buffers))]
    if returned and not made and not buffers and not isinstance(call.result[0], Loss):
        return 0  # views of the inputs
    return distinct_bytes(given) + distinct_bytes(added_to) + distinct_bytes(made) + distinct_bytes(buffers)


def distinct_bytes(arrays: list[Array]) -> int:
    """Bytes of the arrays: each once, a transposed view not again, and a broadcast row once."""
    sizes: dict[int, int] = {}
    for x in arrays:
        about = x.__cuda_array_interface__ if hasattr(x, "__cuda_array_interface__") else x.__array_interface__
        stored = math.prod(n for n, stride in zip(x.shape, x.strides, strict=True) if stride) * x.itemsize
        sizes[about["data"][0]] = max(stored if x.size else 0, sizes.get(about["data"][0], 0))
    return sum(sizes.values())


def _embedding(call: Call) -> int:
    tokens, out = call.args[0], call.result[0]
    return int(tokens.nbytes + 2 * out.nbytes)  # the rows that are looked up, read and written


def _embedding_backward(call: Call) -> int:
    dout, (tokens, weight, _) = call.args
    target = (call.options.get("into") or (None, None))[1]
    rows = min(dout.nbytes, weight.nbytes)  # rows that can be added to, at most
    added = 2 * rows if isinstance(target, Into) and target.accumulate else weight.nbytes  # else the zeros are written
    return int(dout.nbytes + tokens.nbytes + (added if call.wanted(1) else 0))


def _split_backward(call: Call) -> int:
    return traffic(call._replace(args=call.args[:2]))  # of the cache only the shape is used


def _linear_cross_entropy_backward(call: Call) -> int:
    if call.cache.gradients is None:
        return traffic(call)
    return traffic(call._replace(args=(call.args[0], call.cache.gradients)))  # they are scaled and written


TRAFFIC: dict[str, Callable[[Call], int]] = {
    "embedding_backward": _embedding_backward,
    "embedding_forward": _embedding,
    "linear_cross_entropy_backward": _linear_cross_entropy_backward,
    "split_backward": _split_backward,
}
"""Operations that read only part of their arguments."""


def _pooled(call: Call) -> int:
    """One operation for each element of each window."""
    out: Array = call.result[0] if call.name.endswith("_forward") else call.args[0]  # or its gradient
    return int(out.size * math.prod(call.cache.windows.kernel))


def _mean_pool_backward(call: Call) -> int:
    return int(call.cache.share.size * call.cache.width)


WINDOWS: dict[str, Callable[[Call], int]] = {
    "avg_pool2d_backward": _pooled,
    "avg_pool2d_forward": _pooled,
    "max_pool2d_backward": lambda call: 2 * _pooled(call),  # a comparison and a sum
    "max_pool2d_forward": _pooled,
    "mean_pool_backward": _mean_pool_backward,
}
"""Operations of pooling, whose windows may overlap, and whose gradient is larger than what the backward reads."""

COUNTED = PRODUCTS | WINDOWS
"""Operations of a call, by the name of the function, where they are no number per element of its largest array."""
