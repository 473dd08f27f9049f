"""The error of each operation at a model's sizes, against float64, beside PyTorch's on the same card."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.kernel_table import ROWS, Draw, Row
from minitrain.backend import is_array, to_device, use_kernels, use_precision
from minitrain.benchmark.sizes import Size
from minitrain.ops import registry

from .. import events
from ..comparing import cotangents, leaves, scipy_or_stand_in
from ..place import Place, context_lost

SIZE = Size(1, 12, 768, 256, 4, 8192, steps=1, rounds=1)
TINY = Size(1, 2, 16, 16, 2, 65, steps=1, rounds=1)
PRODUCTS = ("linear", "gelu_linear", "linear_cross_entropy", "attention", "conv2d")
"""Operations whose operands have 16 bits under bfloat16."""


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    size = TINY if place.emulated else SIZE
    rows = [row for row in ROWS if row.differentiable and row.op != "dropout"]  # PyTorch drops others
    if options.get("only"):
        rows = [row for row in rows if row.op in options["only"]]
    events.say(
        "An error is the root of the mean square of the difference from float64, divided by that of the exact numbers; "
        "of outputs and gradients, the largest. Both libraries get the same float32 arguments."
    )
    for precision in ("float32", "bfloat16"):
        title = f"Errors of operations, {precision}"
        for row in rows:
            if precision == "float32" or row.op in PRODUCTS:
                one_row(title, row, size, precision, place)


def one_row(title: str, row: Row, size: Size, precision: str, place: Place) -> None:
    """Both libraries on one operation; what fails is said."""
    arguments = row.arguments(Draw(size))
    exact, given = exactly(row, arguments)
    columns: dict[str, Callable[[], list[Any]]] = {
        "minitrain": lambda: ours(row, arguments, given, precision),
        "PyTorch": lambda: theirs(row, arguments, given, precision, place),
    }
    found: dict[str, float] = {}
    for column, call in columns.items():
        try:
            found[column] = error(call(), exact)
            events.row(title, row.label, **{column: found[column]})
        except Exception as failure:
            events.row(title, row.label, **{column: f"fails: {events.brief(failure)}"})
            if context_lost(failure):
                raise
    if len(found) == 2 and found["PyTorch"]:
        events.row(title, row.label, **{"times PyTorch's": found["minitrain"] / found["PyTorch"]})


def exactly(row: Row, arguments: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """Outputs and gradients of the readable code in float64, and the gradients that it was given, in float32."""
    pair = registry()[row.op]
    wide = [x.astype(np.float64) if is_array(x) and x.dtype.kind == "f" else x for x in arguments]
    with use_kernels("reference"), scipy_or_stand_in():
        *outputs, cache = pair.forward(*wide, **row.options)
        outputs = differentiable(row, outputs)
        given = [x.astype(np.float32) for x in cotangents(outputs)]
        gradients = pair.backward(*(g.astype(np.float64) for g in given), cache)
    return [*leaves(outputs), *leaves(gradients)], given


def differentiable(row: Row, outputs: list[Any]) -> list[Any]:
    """The outputs that have a gradient: of ``Loss(total, count)`` the total."""
    return [part[0] if isinstance(part, tuple) else part for part in outputs]


def ours(row: Row, arguments: tuple[Any, ...], given: list[Any], precision: str) -> list[Any]:
    """Minitrain's outputs and gradients on the card."""
    pair = registry()[row.op]
    with use_precision(precision):
        *outputs, cache = pair.forward(*(to_device(x, "cuda") if is_array(x) else x for x in arguments), **row.options)
        gradients = pair.backward(*(to_device(g, "cuda") for g in given), cache)
    return [*leaves(differentiable(row, outputs)), *leaves(gradients)]


def theirs(row: Row, arguments: tuple[Any, ...], given: list[Any], precision: str, place: Place) -> list[Any]:
    """PyTorch's, by autograd."""
    import torch
    import torch.nn.functional as F

    with torch.device(place.torch_device):
        tensors = [
            torch.from_numpy(np.ascontiguousarray(x)).to(place.torch_device) if is_array(x) else x for x in arguments
        ]
        inputs = [x.requires_grad_() for x in tensors if x is not None and x.is_floating_point()]
        half = precision == "bfloat16"
        with torch.autocast(place.torch_device, torch.bfloat16) if half else nullcontext():
            found = row.torch(F, *tensors)
        outputs = [found] if isinstance(found, torch.Tensor) else list(found)
        there = [torch.from_numpy(np.asarray(g)).to(out) for g, out in zip(given, outputs, strict=True)]
        gradients = torch.autograd.grad(
            outputs, inputs, [g.reshape(o.shape) for g, o in zip(there, outputs, strict=True)]
        )
    return [x.detach().float().cpu().numpy() for x in (*outputs, *gradients)]


def error(found: list[Any], exact: list[Any]) -> float:
    """The largest relative error of some arrays.

    Raises:
        ValueError: if their numbers differ.
    """
    if len(found) != len(exact):
        raise ValueError(f"{len(found)} outputs and gradients, expected {len(exact)}")
    gaps = []
    for f, e in zip(found, exact, strict=True):
        scale = float(np.sqrt(np.mean(np.square(e)))) if e.size else 0.0
        gap = float(np.sqrt(np.mean(np.square(f.astype(np.float64).reshape(e.shape) - e)))) if e.size else 0.0
        gaps.append(gap / scale if scale else gap)
    return max(gaps)
