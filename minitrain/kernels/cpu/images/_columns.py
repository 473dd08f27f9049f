"""Images side by side, and the columns of their windows, for convolutions as matrix products.

The *columns* of an image are a matrix with a row for each element of a window, (K, N). Those of one small image are too
few for a fast product, and filling them copies a few numbers at a time: an image of 6 x 6 has rows of 6. So G images
lie side by side, pixel by pixel, in a block (C, Hp, Wp, G) with their padding. One window of all of them is G columns,
and each of its elements is G numbers in one place, a whole register.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ....backend.arrays import Array
from ....backend.cpu._simd import add_row, copy_row
from ....backend.cpu.jit import device
from ....backend.cpu.products._cblas import SIZE
from ....backend.pool import empty
from ....backend.windows import Windows

TOGETHER = 16
"""Images side by side, at most: a register of AVX-512 is full."""
LARGEST_BLOCK = 1 << 18
"""Numbers in the images that lie side by side, about: they stay in the second-level cache."""
COLUMNS = 512
"""Columns of one product, at most; as a rule it is some whole rows of windows."""


class Plan(NamedTuple):
    """How a convolution is cut into products.

    Attributes:
        together: images G side by side.
        tile: windows of each image in one product.
        block: numbers in the G images with their padding, (C, Hp, Wp, G).
        geometry: (12,) kernel, stride, padding, dilation, number of windows, and size of a padded image, each vertical
            and horizontal.
    """

    together: int
    tile: int
    block: int
    geometry: Array

    @classmethod
    def of(cls, x: Array, windows: Windows, shape: tuple[int, ...], *, most: int) -> Plan:
        """The plan for images x (B, C, H, W), of which at most ``most`` may lie side by side."""
        (_, C, H, W), (Ho, Wo) = x.shape, shape[2:]
        padded = H + 2 * windows.padding[0], W + 2 * windows.padding[1]
        image = C * padded[0] * padded[1]
        G = max(1, min(TOGETHER, most, LARGEST_BLOCK // image))
        if Wo * G > COLUMNS:
            tile = max(1, COLUMNS // G)  # part of a row of windows
        else:
            tiles = -(-Ho // (COLUMNS // (Wo * G)))
            tile = Wo * -(-Ho // tiles)  # whole rows, as many in each tile
        geometry = np.array([n for pair in (*windows, (Ho, Wo), padded) for n in pair], np.int64)
        return cls(G, tile, image * G, geometry)

    def room(self, threads: int, kernels: Array) -> tuple[Array, Array, Array]:
        """For images, columns and rows on each thread: (threads, C Hp Wp G), (threads, K, tile G), (threads, O, …)."""
        (O, K), width = kernels.shape, self.tile * self.together
        return empty((threads, self.block)), empty((threads, K, width)), empty((threads, O, width))


@device
def interleave(images, block, geometry):
    """Block (C, Hp, Wp, G) = the images (G, C, H, W) side by side, with zeros around them."""
    _, _, _, _, ph, pw, _, _, _, _, Hp, Wp = geometry
    G, C, H, W = images.shape
    if ph or pw:
        block[:] = np.float32(0)
    for c in range(C):
        for y in range(H):
            row = block[((c * Hp + y + ph) * Wp + pw) * G :]
            for g in range(G):
                image = images[g, c, y]
                for w in range(W):
                    row[w * G + g] = image[w]


@device
def separate(block, images, beta, geometry):
    """Images (G, C, H, W) = those in the block (C, Hp, Wp, G) + beta images."""
    _, _, _, _, ph, pw, _, _, _, _, Hp, Wp = geometry
    G, C, H, W = images.shape
    for c in range(C):
        for y in range(H):
            row = block[((c * Hp + y + ph) * Wp + pw) * G :]
            for g in range(G):
                image = images[g, c, y]
                if beta == 0:
                    for w in range(W):
                        image[w] = row[w * G + g]
                else:
                    for w in range(W):
                        image[w] += row[w * G + g]


@device
def interleave_rows(images, rows, n, count):
    """Rows (O, count G) = the windows from ``n`` on of the images (G, O, N), side by side."""
    G, O, _ = images.shape
    for o in range(O):
        row = rows[o]
        for g in range(G):
            image = images[g, o, n : n + count]
            for i in range(count):
                row[i * G + g] = image[i]


def _mover(fold: bool) -> Any:
    """The function that copies windows' elements from a block to columns, or adds them the other way round."""

    @device
    def move(block, columns, n, count, G, geometry):
        kh, kw, sh, sw, _, _, dh, dw, _, Wo, Hp, Wp = geometry
        pixels, elements, width = block.ctypes.data, columns.ctypes.data, columns.shape[1]
        for k in range(columns.shape[0]):
            c, i, j = k // (kh * kw), k // kw % kh, k % kw
            done = 0
            while done < count:
                h, w = (n + done) // Wo, (n + done) % Wo
                left = min(Wo - w, count - done)  # windows of this row
                if sw == 1:
                    runs, length = 1, left * G  # one behind the other
                else:
                    runs, length = left, G
                pixel = pixels + SIZE * ((c * Hp + h * sh + i * dh) * Wp + w * sw + j * dw) * G
                element = elements + SIZE * (k * width + done * G)
                for r in range(runs):
                    if fold:
                        add_row(element + SIZE * r * G, length, pixel + SIZE * r * sw * G)
                    else:
                        copy_row(pixel + SIZE * r * sw * G, length, element + SIZE * r * G)
                done += left

    return move


fill, fold = _mover(fold=False), _mover(fold=True)
