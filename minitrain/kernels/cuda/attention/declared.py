"""The kernels of attention as Python knows them: sizes of their tiles, and their parameters.

A kernel is a template over the type of its operands and the width of a head. Each instance is compiled when it is first
launched, apart from the others.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ....backend.cuda.launch import Kernel, Source
from ....backend.cuda.source import KERNELS

FORWARD, BACKWARD, DECODE = (f"attention/attention_{part}.cu" for part in ("forward", "backward", "decode"))
ROWS = 64  # queries or keys that a block keeps
SPAN = 128  # keys of a part of `attention_decode.cu`
QUERIES = 16  # of a key head, for decoding
WIDTHS = (16, 32, 64, 96, 128)
"""Widths of a head that the kernels are compiled for. Narrower heads are computed in the next one."""
ELEMENTS = {"float32": ("f4", "float"), "tf32": ("f4", "tf32"), "bfloat16": ("bf16", "bf16"), "float16": ("f2", "f16")}
"""The operand types of the kernels: a type's name in a signature, and that of the element in C++."""
SHOWN = (
    ("float32", 64, False),
    ("float32", 128, False),
    ("tf32", 64, False),
    ("bfloat16", 64, False),
    ("bfloat16", 64, True),
    ("bfloat16", 128, False),
    ("bfloat16", 128, True),
    ("float16", 128, False),
)
"""Instances whose resources are listed and compared: dtype, width, dropout."""

_HEADS = "{e}@ {x}, i8 {x}_batch, i8 {x}_row, i8 {x}_head"
_GRADIENT = "f4@ {x}?, i8 {x}_batch, i8 {x}_row, i8 {x}_head"
_OPTIONS = "i4 back, i4 ahead, f4 scale"
_DROPOUT = "u4 threshold, f4 factor, u4 key0, u4 key1, u8 first_sample, u4* key?"


class Tiles(NamedTuple):
    """The sizes of ``Tile`` in ``attention_tiles.cuh``, for one kind of element and width."""

    itemsize: int
    rows: int
    threads: int
    width: int  # of a tile in the forward
    backward_width: int
    row_bytes: int

    def shared(self, kept: int, passing: int, width: int, extra: int = 0) -> int:
        """Bytes of shared memory: ``kept`` tiles of all rows, and ``passing`` tiles in two buffers each."""
        return (kept * self.rows + 2 * passing * width) * self.row_bytes + extra


def tiles(itemsize: int, D: int) -> Tiles:
    """The tiles for elements of ``itemsize`` bytes and heads of width ``D``, one of ``WIDTHS``."""
    half = itemsize == 2
    warps = 4 if half or D <= 64 else 2
    width = 64 if half else 32 if D <= 64 else 16
    backward_width = width if D <= 64 else 32 if half else 16
    return Tiles(itemsize, 16 * warps, 32 * warps, width, backward_width, D * itemsize + 16)


def width_of(d: int) -> int:
    """The width that heads of width ``d`` are computed in."""
    return next(D for D in WIDTHS if d <= D)


class BackwardKernels(NamedTuple):
    """The kernels of ``attention_backward.cu``."""

    rows: Kernel
    keys: Kernel
    queries: Kernel


class DecodeKernels(NamedTuple):
    """The kernels of ``attention_decode.cu``."""

    split: Kernel
    combine: Kernel


def text_of(path: str) -> str:
    """The code of a file."""
    return (KERNELS / path).read_text()


@functools.cache
def forward_kernel(dtype: str, D: int, drops: bool) -> Kernel:
    """The forward of many queries.

    Args:
        dtype: of the operands, ``"float32"``, ``"tf32"`` (float32 numbers, rounded for products), ``"bfloat16"`` or
            ``"float16"``.
        D: width that heads are computed in.
        drops: whether probabilities are dropped.
    """
    return _forward(Source(FORWARD, text_of(FORWARD)), dtype, D, drops)


@functools.cache
def backward_kernels(dtype: str, D: int, drops: bool) -> BackwardKernels:
    """The backward; arguments as for ``forward_kernel``."""
    return _backward(Source(BACKWARD, text_of(BACKWARD)), dtype, D, drops)


@functools.cache
def decode_kernels(dtype: str, D: int) -> DecodeKernels:
    """The forward of a few queries; arguments as for ``forward_kernel``."""
    return _decode(Source(DECODE, text_of(DECODE)), dtype, D)


def _forward(source: Source, dtype: str, D: int, drops: bool) -> Kernel:
    e, cpp = ELEMENTS[dtype]
    return source.kernel(
        f"attention_forward<{cpp}, {D}, {str(drops).lower()}>",
        f"{_heads(e, 'q', 'k', 'v')}, i8* lengths?, f4* out, {e}* kept?, f4* lse, i4 T, i4 S, i4 group, i4 d, "
        f"{_OPTIONS}, {_DROPOUT}",
    )


def _backward(source: Source, dtype: str, D: int, drops: bool) -> BackwardKernels:
    e, cpp = ELEMENTS[dtype]
    instance = f"<{cpp}, {D}, {str(drops).lower()}>"
    operands = f"{_heads(e, 'q', 'k', 'v', 'g')}, i8* lengths?, f4* rows"
    sizes = f"i4 T, i4 S, i4 group, i4 d, i4 padded, {_OPTIONS}, {_DROPOUT}"
    return BackwardKernels(
        source.kernel(
            f"attention_rows<{cpp}>",
            f"{_heads('f4', 'dout')}, {e}* out, f4* lse, f4* rows, {e}* rounded?, i4 B, i4 T, i4 H, i4 d, i4 padded, "
            "i4 padded_d",
        ),
        source.kernel(
            f"attention_backward_keys{instance}",
            f"{operands}, {_gradients('dk', 'dv')}, i4 add_dk, i4 add_dv, {sizes}",
        ),
        source.kernel(f"attention_backward_queries{instance}", f"{operands}, {_gradients('dq')}, i4 add_dq, {sizes}"),
    )


def _decode(source: Source, dtype: str, D: int) -> DecodeKernels:
    e, cpp = ELEMENTS[dtype]
    return DecodeKernels(
        source.kernel(
            f"attention_split<{cpp}, {D}>",
            f"{_heads(e, 'q', 'k', 'v')}, i8* lengths?, f4* parts, f4* part_lse, i4 T, i4 S, i4 group, i4 d, "
            f"{_OPTIONS}",
        ),
        source.kernel(
            f"attention_combine<{cpp}>",
            f"f4* parts, f4* part_lse, f4* out, {e}* kept?, f4* lse, i4 spans, i4 T, i4 group, i4 d",
        ),
    )


def _heads(e: str, *names: str) -> str:
    return ", ".join(_HEADS.format(e=e, x=x) for x in names)


def _gradients(*names: str) -> str:
    return ", ".join(_GRADIENT.format(x=x) for x in names)


def _declare_shown() -> None:
    """Declare the instances whose registers ``tools/cuda_resources.py`` lists. They are not launched."""
    forward, backward, decode = Source(FORWARD), Source(BACKWARD), Source(DECODE)
    for dtype, D, drops in SHOWN:
        _forward(forward, dtype, D, drops)
        rows, *_ = _backward(backward, dtype, D, drops)
        names = [kernel.name for kernel in backward.kernels]
        if names.count(rows.name) > 1:  # one for each dtype
            backward.kernels.remove(rows)
        if not drops:
            _, combine = _decode(decode, dtype, D)
            if [kernel.name for kernel in decode.kernels].count(combine.name) > 1:
                decode.kernels.remove(combine)


_declare_shown()
