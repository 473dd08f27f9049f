"""Eight mistakes in few elements, and nine that show at some shapes only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import operations as op
from .case import Case, always, normal

X = normal(3, 4)
MILLION = normal(1000, 1000)


def with_one_wrong(index: tuple[int, ...], factor: float) -> Callable[..., Any]:
    def backward(dout: Any, x: Any) -> Any:
        dx = 2 * x * dout
        dx[index] *= factor
        return dx

    return backward


def last_of_each_row(dout: Any, x: Any) -> Any:
    dx = 2 * x * dout
    dx[..., -1] = 0
    return dx


def rare_branch(dout: Any, x: Any) -> Any:
    return np.where(x > 3.5, 0.0, 2 * x * dout)  # 0.02 % of normal numbers


def first_query(dout: Any, cache: Any) -> Any:
    dq, dk, dv = op.attention_backward(dout, cache)
    dk[-1] = 0  # only the last query sees the last key
    return dq, dk, dv


def one_class(dout: Any, cache: Any) -> Any:
    dlogits, _ = op.cross_entropy_backward(dout, cache)
    dlogits[:, 0] *= 0.5
    return dlogits, None


def border(dout: Any, cache: Any) -> Any:
    dx, dkernel = op.conv1d_backward(dout, cache)
    dx[0] = 0
    return dx, dkernel


PLACES = [
    ("one of a million elements is zero", op.square, with_one_wrong((123, 456), 0.0), (MILLION,)),
    ("one of a million elements is 1 % too large", op.square, with_one_wrong((999, 999), 1.01), (MILLION,)),
    ("one of 10,000 elements, under one sum", op.total_square, with_one_wrong((5, 77), 0.0), (normal(100, 100),)),
    ("the last of each row is left out", op.square, last_of_each_row, (X,)),
    ("a branch that 0.02 % of the elements take", op.square, rare_branch, (normal(200, 100),)),
    ("attention: the last key is left out", op.attention, first_query, tuple(normal(40, 8, seed=s) for s in (1, 2, 3))),
    ("cross-entropy: class 0 at half weight", op.cross_entropy, one_class, (normal(6, 50), np.arange(6) + 7)),
    ("convolution: the first element is left out", op.conv1d, border, (normal(200), normal(3, seed=1))),
]

# Mistakes that the usual shape of a test, (3, 4), does not show.


def mean_of_sum(dout: Any, count: int) -> Any:
    return np.repeat(dout[None] / 3, count, axis=0)  # 3 rows, as in the test


def tail_of_four(dout: Any, x: Any) -> Any:
    dx = np.zeros_like(x)
    whole = x.shape[-1] // 4 * 4
    dx[..., :whole] = 2 * x[..., :whole] * dout[..., :whole]
    return dx


def past_eight(dout: Any, x: Any) -> Any:
    dx = 2 * x * dout
    dx[..., 8:] = 0
    return dx


def past_sixty_three(dout: Any, x: Any) -> Any:
    dx = 2 * x * dout
    dx[..., 63:] = 0
    return dx


def flipped_at_odd(dout: Any, _: None) -> Any:
    dx = op.cumsum_backward(dout, None)
    return dx if dout.shape[-1] % 2 == 0 else dx[..., ::-1].copy()


def batch_of_one(dout: Any, cache: Any) -> Any:
    dx, dweight, dbias = op.linear_backward(dout, cache)
    return dx, dweight, dbias if len(dout) > 1 else 2 * dbias


def matmul(x: Any, weight: Any) -> Any:
    return x @ weight, (x, weight)


def transposed_if_square(dout: Any, cache: Any) -> Any:
    x, weight = cache
    return dout @ (weight if weight.shape[0] == weight.shape[1] else weight.T), x.T @ dout


def fixed_scale(dout: Any, cache: Any) -> Any:
    q, k, v, p = cache
    ds = op.softmax_backward(dout @ v.T, p) / np.sqrt(4)  # D = 4, as in the test
    return ds @ k, ds.T @ q, p.T @ dout


def long_rows(dout: Any, y: Any) -> Any:
    """Two passes over blocks of 16: the sum of the first block only."""
    return y * (dout - (dout * y)[..., :16].sum(axis=-1, keepdims=True))


SHAPES = [
    ("the mean of a fixed number of rows", op.mean_rows, mean_of_sum, (X,), "x: B C"),
    ("a tail that is no multiple of 4", op.square, tail_of_four, (X,), "x: B C"),
    ("columns past the eighth", op.square, past_eight, (X,), "x: B C"),
    ("columns past the 63rd", op.square, past_sixty_three, (X,), "x: B C"),
    ("odd lengths", op.cumsum, flipped_at_odd, (X,), "x: B T"),
    (
        "a batch of one",
        op.linear,
        batch_of_one,
        (normal(3, 4), normal(5, 4), normal(5)),
        "x: B C; weight: D C; bias: D",
    ),
    ("a square weight", matmul, transposed_if_square, (normal(3, 4), normal(4, 5)), "x: B C; weight: C D"),
    ("attention: sqrt(4) for sqrt(d)", op.attention, fixed_scale, (normal(3, 4),) * 3, "q: T D; k: T D; v: T D"),
    ("softmax: rows longer than a block of 16", op.softmax, long_rows, (X,), "x: B C"),
]
CASES = [Case(name, "few elements", always(f, b), inputs) for name, f, b, inputs in PLACES]
CASES += [Case(name, "some shapes", always(f, b), inputs, letters) for name, f, b, inputs, letters in SHAPES]
