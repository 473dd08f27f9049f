"""How the kernels of generation find a model's weights, and how keys and values are laid out.

A weight matrix (N, K) is stored as *panels*: WIDTH of its rows side by side, (K, WIDTH), one panel after the other.
That is the form into which ``products/sgemm.py`` packs its second factor for every product. Here it is made once, so
that a step reads each weight once, in order, and sums in the same order as every other product of the project.

Keys and values are the second factors of attention's two products, so they have that form, too: keys (D, WIDTH) for
each WIDTH positions, values (positions, WIDTH) for each WIDTH elements of a head.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ....backend.arrays import Array
from ....backend.cpu._simd import WIDTH as WIDTH
from ..common.attention_blocks import BLOCK as BLOCK

ABSENT = -1
"""Stands in the table for an array that a layer does not have."""


class Entry(IntEnum):
    """The columns of the table: where an array of a layer begins, a matrix in ``panels``, a vector in ``vectors``.

    The table has one row for each block, and a last one for the final norm and the head.
    """

    NORM1 = 0
    NORM1_BIAS = 1
    QKV = 2  # in the last row: the head
    QKV_BIAS = 3
    Q_NORM = 4
    K_NORM = 5
    OUT = 6
    OUT_BIAS = 7
    NORM2 = 8
    NORM2_BIAS = 9
    ACTIVATED = 10  # the matrix before the activation: the only one, or the gate
    ACTIVATED_BIAS = 11
    UP = 12  # beside the gate
    UP_BIAS = 13
    DOWN = 14
    DOWN_BIAS = 15
    QKV_SCALE = 16  # of each row, where a matrix is int8
    OUT_SCALE = 17
    ACTIVATED_SCALE = 18
    UP_SCALE = 19
    DOWN_SCALE = 20


def whole_strips(n: int) -> int:
    """``n`` rounded up to a multiple of WIDTH."""
    return -(-n // WIDTH) * WIDTH


def empty_keys(layers: int, slots: int, heads: int, positions: int, width: int) -> Array:
    """Memory for keys: (layers, slots, heads, positions / WIDTH, D, WIDTH)."""
    return np.zeros((layers, slots, heads, -(-positions // BLOCK) * BLOCK // WIDTH, width, WIDTH), np.float32)


def empty_values(layers: int, slots: int, heads: int, positions: int, width: int) -> Array:
    """Memory for values: (layers, slots, heads, D / WIDTH, positions, WIDTH)."""
    return np.zeros(
        (layers, slots, heads, whole_strips(width) // WIDTH, -(-positions // BLOCK) * BLOCK, WIDTH), np.float32
    )
