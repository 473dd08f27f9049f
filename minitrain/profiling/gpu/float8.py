"""The kernels of a linear map in 8 bits, as ``minitrain/kernels/cuda/linear/float8_linear.py`` launches them."""

from __future__ import annotations

from .kernels import Kernel, memory, product

HALF = 2  # bytes of GELU's input, which is kept as an operand


def float8_linear(name: str, rows: int, inner: int, columns: int, *, gelu: bool = False) -> list[Kernel]:
    """The forward: two scales, two roundings, a product."""
    numbers, given = rows * inner, HALF if gelu else 4
    return [
        *([memory("round", numbers, 4 + HALF)] if gelu else []),
        *_rounded("", numbers, given),
        *_rounded(" weight", inner * columns, 4),
        product(name, rows, columns, inner, operand=1),
    ]


def float8_linear_backward(
    name: str, rows: int, inner: int, columns: int, *, bias: bool = True, adds: bool = False, gelu: bool = False
) -> list[Kernel]:
    """Its backward; ``adds`` if the gradient of its input is added to one that is there."""
    return [
        *([memory("bias sums", rows * columns, 4, 2)] if bias else []),
        memory("round: scale of gradient", rows * columns, 4, 2),
        memory("round gradient, and turned", rows * columns, 6),
        memory("round, turned", rows * inner, (HALF if gelu else 4) + 1),
        memory("round weight, turned", inner * columns, 5),
        product(f"{name}, dx", rows, inner, columns, operand=1, beta=adds),
        product(f"{name}, dweight", columns, inner, rows, operand=1),
        *([memory("gelu backward", rows * inner, 8 + HALF)] if gelu else []),
    ]


def _rounded(what: str, numbers: int, given: int) -> list[Kernel]:
    """An operand: its scale, and its numbers; ``given`` is bytes of a number of what is read."""
    return [memory(f"round: scale of{what or ' x'}", numbers, given, 2), memory(f"round{what}", numbers, given + 1)]
