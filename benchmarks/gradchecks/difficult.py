"""Thirty right backwards that are hard to check: kinks, ties, borders, steep and noisy functions, few bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitrain.backend.precision import operand, wide

from . import operations as op
from .case import Case, Pair, always, normal


def elementwise(f: Callable[..., Any], derivative: Callable[..., Any]) -> Callable[[], Pair]:
    """The pair of a function of each element."""
    return always(lambda x: (f(x), x), lambda dout, x: dout * derivative(x))


def clip_loss(x: Any) -> Any:
    return np.clip(x, -1.0, 1.0), x


def first_max_backward(dout: Any, hit: Any) -> Any:
    dx = np.zeros(hit.shape)
    np.put_along_axis(dx, hit.argmax(axis=-1)[..., None], dout[..., None], axis=-1)
    return dx


def sorted_rows(x: Any) -> Any:
    order = np.argsort(x, axis=-1, kind="stable")
    return np.take_along_axis(x, order, axis=-1), order


def sorted_backward(dout: Any, order: Any) -> Any:
    dx = np.empty_like(dout)
    np.put_along_axis(dx, order, dout, axis=-1)
    return dx


def hinge(x: Any) -> Any:
    return np.maximum(0.0, 1 - x), x


def huber(x: Any) -> Any:
    return np.where(abs(x) <= 1, 0.5 * x * x, abs(x) - 0.5), x


def round_through(x: Any) -> Any:
    """Rounding, whose true derivative is zero."""
    return np.round(x), None


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def huge_offset(x: Any) -> Any:
    """Rounding of the output hides small steps."""
    return x * x + 1e9, x


def x_log_x(x: Any) -> Any:
    return np.where(x > 0, x * np.log(np.where(x > 0, x, 1)), 0)


def single_linear(x: Any, weight: Any) -> Any:
    x, weight = (np.asarray(a, np.float32) for a in (x, weight))
    return x @ weight, (x, weight)


def single_linear_backward(dout: Any, cache: Any) -> Any:
    x, weight = cache
    dout = np.asarray(dout, np.float32)
    return dout @ weight.T, x.T @ dout


def half_linear(x: Any, weight: Any) -> Any:
    """Operands rounded to 16 bits as the policy says, sums in float32, as on a GPU."""
    x, weight = wide(operand(x)), wide(operand(weight))
    return x @ weight, (x, weight)


def half_linear_backward(dout: Any, cache: Any) -> Any:
    x, weight = cache
    dout = wide(operand(dout))
    return dout @ weight.T, x.T @ dout


GRID = np.array([[-1.0, 0.0, 1.0], [0.0, 0.5, -0.5]])
TIES = np.array([[1.0, 1.0, 0.5], [2.0, 2.0, 2.0]])
POSITIVE = abs(normal(8)) + 0.1
relu = elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0)
pair_of_max = (op.row_max, op.row_max_backward)
ROWS: list[tuple[str, str, Callable[[], Pair], tuple[Any, ...]]] = [
    ("ReLU at 0", "kinks", relu, (GRID,)),
    ("the absolute value at 0", "kinks", elementwise(abs, np.sign), (GRID,)),
    ("leaky ReLU at 0, its left derivative", "kinks",
     elementwise(lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1.0, 0.1)), (GRID,)),
    ("ReLU at ±1e-8", "kinks", relu, (np.array([1e-8, -1e-8, 1.0]),)),
    ("ReLU of 20,000 normal numbers", "kinks", relu, (normal(200, 100),)),
    ("clip at its bounds", "kinks", always(clip_loss, lambda dout, x: dout * (abs(x) < 1)), (GRID,)),
    ("hinge loss at its margin", "kinks", always(hinge, lambda dout, x: -dout * (x < 1)), (GRID,)),
    ("Huber loss at its bounds", "kinks", always(huber, lambda dout, x: dout * np.clip(x, -1, 1)), (GRID,)),
    ("the maximum of equal elements, shared", "ties", always(*pair_of_max), (TIES,)),
    ("the maximum of equal elements, to the first", "ties", always(op.row_max, first_max_backward), (TIES,)),
    ("sorting equal elements", "ties", always(sorted_rows, sorted_backward), (TIES,)),
    ("the maximum of elements 1e-9 apart", "ties", always(*pair_of_max), (np.array([[1.0, 1.0 + 1e-9, 0.0]]),)),
    ("rounding, whose derivative is zero", "kinks", always(round_through, lambda dout, _: 0 * dout), (0.3 + GRID,)),
    ("the square root at 1e-6", "borders", elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x)), (np.array([1e-6, 1.0]),)),
    ("the square root at 1e-12", "borders", elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x)), (np.array([1e-12]),)),
    ("the logarithm at 1e-5", "borders", elementwise(np.log, lambda x: 1 / x), (np.array([1e-5, 0.5]),)),
    ("x log x at 1e-10", "borders", elementwise(x_log_x, lambda x: np.log(x) + 1), (np.array([1e-10, 0.3]),)),
    ("the arc sine at 1 - 1e-9", "borders",
     elementwise(np.arcsin, lambda x: 1 / np.sqrt((1 - x) * (1 + x))), (np.array([1 - 1e-9, 0.2]),)),
    ("1/x at 1e-3", "steep", elementwise(lambda x: 1 / x, lambda x: -1 / x**2), (np.array([1e-3, -1e-3, 2.0]),)),
    ("sin at 1e6", "steep", elementwise(np.sin, np.cos), (1e6 + normal(5),)),
    ("sin(1e4 x)", "steep", elementwise(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)), (normal(5),)),
    ("exp at 300", "steep", elementwise(np.exp, np.exp), (np.array([300.0, 1.0]),)),
    ("a steep sigmoid, 1e5 x", "steep",
     elementwise(lambda x: sigmoid(1e5 * x), lambda x: 1e5 * sigmoid(1e5 * x) * (1 - sigmoid(1e5 * x))),
     (1e-5 * normal(5),)),
    ("log-sum-exp at 1e4", "steep", always(op.log_sum_exp, op.log_sum_exp_backward), (1e4 + normal(2, 4),)),
    ("a square under an offset of 1e9", "noisy", always(huge_offset, op.square_backward), (normal(5),)),
    ("normalising rows of length 1e-7", "steep",
     always(op.normalised, op.normalised_backward), (normal(2, 4, scale=1e-7),)),
    ("softmax with masked logits of -inf", "borders",
     always(op.softmax, op.softmax_backward), (np.array([[0.3, -np.inf, 1.0]]),)),
]  # fmt: skip
OPERANDS = normal(6, 8), normal(8, 5, seed=1)
CASES = [Case(name, group, make, inputs) for name, group, make, inputs in ROWS]
CASES += [
    Case("a product that exists in float32 only", "few bits", always(single_linear, single_linear_backward), OPERANDS,
         single=True),
    Case("a product of bfloat16 operands", "few bits", always(half_linear, half_linear_backward), OPERANDS,
         half="bfloat16"),
    Case("a product of float16 operands", "few bits", always(half_linear, half_linear_backward), OPERANDS,
         half="float16"),
]  # fmt: skip
