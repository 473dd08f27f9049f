"""The kernels of attention as Python knows them: sizes of their tiles, and their parameters.

A kernel is a template over the type of its operands and the width of a head. Each instance is compiled when it is first
launched, apart from the others.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ....backend.cuda.launch import KERNELS, Kernel, Source

FORWARD, BACKWARD, DECODE = (f"attention/attention_{part}.cu" for part in ("forward", "backward", "decode"))
ROWS = 64  # queries or keys that a block keeps
SPAN = 128  # keys of a part of `attention_decode.cu`
QUERIES = 16  # of a key head, for decoding
WIDTHS = (16, 32, 64, 96, 128)
"""Widths of a head that the kernels are compiled for. Narrower heads are computed in the next one."""
_HEADS = "{e}@ {x}, i8 {x}_batch, i8 {x}_row, i8 {x}_head"
_GRADIENT = "f4@ {x}?, i8 {x}_batch, i8 {x}_row, i8 {x}_head"
_OPTIONS = "i4 back, i4 ahead, f4 scale"
_DROPOUT = "u4 threshold, f4 factor, u4 key0, u4 key1, u8 first_sample"


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


def text_of(path: str) -> str:
    """The code of a file."""
    return (KERNELS / path).read_text()


def _declare(path: str, name: str, signature: str) -> Kernel:
    return Source(path, text_of(path)).kernel(name, signature)


def _element(dtype: str) -> tuple[str, str]:
    """A type's name in a signature, and in C++."""
    return {"float32": ("f4", "float"), "bfloat16": ("bf16", "bf16"), "float16": ("f2", "f16")}[dtype]


def _heads(e: str, *names: str) -> str:
    return ", ".join(_HEADS.format(e=e, x=x) for x in names)


def _gradients(*names: str) -> str:
    return ", ".join(_GRADIENT.format(x=x) for x in names)


@functools.cache
def forward_kernel(dtype: str, D: int, drops: bool) -> Kernel:
    """The forward of many queries."""
    e, cpp = _element(dtype)
    return _declare(
        FORWARD,
        f"attention_forward<{cpp}, {D}, {str(drops).lower()}>",
        f"{_heads(e, 'q', 'k', 'v')}, i8* lengths?, f4* out, {e}* kept?, f4* lse, i4 T, i4 S, i4 group, i4 d, "
        f"{_OPTIONS}, {_DROPOUT}",
    )


@functools.cache
def rows_kernel(dtype: str) -> Kernel:
    """What the backward needs of each query."""
    e, cpp = _element(dtype)
    return _declare(
        BACKWARD,
        f"attention_rows<{cpp}>",
        f"{_heads('f4', 'dout')}, {e}* out, f4* lse, f4* rows, {e}* rounded?, i4 B, i4 T, i4 H, i4 d, i4 padded, "
        "i4 padded_d",
    )


@functools.cache
def keys_kernel(dtype: str, D: int, drops: bool) -> Kernel:
    """The gradients of keys and values."""
    e, cpp = _element(dtype)
    return _declare(
        BACKWARD,
        f"attention_backward_keys<{cpp}, {D}, {str(drops).lower()}>",
        f"{_heads(e, 'q', 'k', 'v', 'g')}, i8* lengths?, f4* rows, {_gradients('dk', 'dv')}, i4 add_dk, i4 add_dv, "
        f"i4 T, i4 S, i4 group, i4 d, i4 padded, {_OPTIONS}, {_DROPOUT}",
    )


@functools.cache
def queries_kernel(dtype: str, D: int, drops: bool) -> Kernel:
    """The gradient of queries."""
    e, cpp = _element(dtype)
    return _declare(
        BACKWARD,
        f"attention_backward_queries<{cpp}, {D}, {str(drops).lower()}>",
        f"{_heads(e, 'q', 'k', 'v', 'g')}, i8* lengths?, f4* rows, {_gradients('dq')}, i4 add_dq, i4 T, i4 S, "
        f"i4 group, i4 d, i4 padded, {_OPTIONS}, {_DROPOUT}",
    )


@functools.cache
def split_kernel(dtype: str, D: int) -> Kernel:
    """Parts of the forward of a few queries."""
    e, cpp = _element(dtype)
    return _declare(
        DECODE,
        f"attention_split<{cpp}, {D}>",
        f"{_heads(e, 'q', 'k', 'v')}, i8* lengths?, f4* parts, f4* part_lse, i4 T, i4 S, i4 group, i4 d, {_OPTIONS}",
    )


@functools.cache
def combine_kernel(dtype: str) -> Kernel:
    """The sum of these parts."""
    e, cpp = _element(dtype)
    return _declare(
        DECODE,
        f"attention_combine<{cpp}>",
        f"f4* parts, f4* part_lse, f4* out, {e}* kept?, f4* lse, i4 spans, i4 T, i4 group, i4 d",
    )
