"""Eight functions that write to what is not theirs, or that remember something."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import operations as op
from .case import Case, Pair, always, normal

X = normal(3, 4)


def clamped(x: Any) -> Any:
    """The values are right at the second call, and wrong ever after for the caller: x itself has changed."""
    np.maximum(x, 0.1, out=x)
    return x * x, x


def shifted_softmax(x: Any) -> Any:
    x -= x.max(axis=-1, keepdims=True)
    return op.softmax(x)


def overwrites_dout(dout: Any, x: Any) -> Any:
    dout *= 2 * x
    return dout


def overwrites_cache(dout: Any, y: Any) -> Any:
    y *= dout - (dout * y).sum(axis=-1, keepdims=True)
    return y


def overwrites_input(dout: Any, x: Any) -> Any:
    dx = 2 * x * dout
    x[...] = 0  # to save memory
    return dx


def own_buffer() -> Pair:
    """Adds to a buffer that nobody empties."""
    kept = np.zeros((3, 4))

    def backward(dout: Any, x: Any) -> Any:
        kept[...] += 2 * x * dout
        return kept.copy()

    return op.square, backward


def counting() -> Pair:
    """A warm-up that goes on in every call."""
    calls = [0]

    def forward(x: Any) -> Any:
        calls[0] += 1
        return x * x * (1 + 1e-9 * calls[0]), x

    return forward, op.square_backward


def last_call() -> Pair:
    """The backward uses what the last forward left in the layer: wrong once the layer is used twice."""
    kept: list[Any] = [None]

    def forward(x: Any) -> Any:
        y = np.tanh(x)
        kept[0] = y
        z = np.tanh(0.5 * y)
        kept[0] = z
        return z, y

    def backward(dout: Any, y: Any) -> Any:
        z = kept[0]
        return dout * (1 - z * z) * 0.5 * (1 - z * z)  # the second layer's value for the first layer, too

    return forward, backward


ROWS = [
    ("the forward clamps its input in place", always(clamped, op.square_backward), (X,), True),
    ("the forward shifts its input in place", always(shifted_softmax, op.softmax_backward), (X,), True),
    ("the backward overwrites dout", always(op.square, overwrites_dout), (X,), True),
    ("the backward overwrites its output", always(op.softmax, overwrites_cache), (X,), True),
    ("the backward clears the input", always(op.square, overwrites_input), (X,), True),
    ("the gradient adds up over calls", own_buffer, (X,), False),
    ("the output changes by 1e-9 a call", counting, (X,), False),
    ("the state of another layer", last_call, (X,), False),
]
CASES = [Case(name, "in place, state", make, inputs, jax_cannot=cannot) for name, make, inputs, cannot in ROWS]
