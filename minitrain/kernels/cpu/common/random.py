"""Philox-4x32-10 for kernels: the words of ``minitrain.random.random_bits``, block by block."""

from __future__ import annotations

import numpy as np

from ....backend.cpu.jit import device

u4, u8 = np.uint32, np.uint64
M0, M1 = u8(0xD2511F53), u8(0xCD9E8D57)
W0, W1 = u4(0x9E3779B9), u4(0xBB67AE85)


@device
def fill_words(words, first, sample, k0, k1):
    """Fill ``words`` (n,), n a multiple of 4, with the random words of elements first, first + 1, ... of a sample.

    Args:
        words: uint32 output.
        first: index of the first element inside the sample, a multiple of 4.
        sample: index of the sample in the global batch.
        k0: first word of the key.
        k1: second word of the key.
    """
    for i in range(words.size // 4):
        block = u8(first // 4 + i)
        c0, c1 = u4(block), u4(0)
        c2, c3 = u4(u8(sample)), u4(u8(sample) >> u8(32))
        a, b = u4(k0), u4(k1)
        for _ in range(10):
            p0, p1 = M0 * u8(c0), M1 * u8(c2)
            c0, c1, c2, c3 = u4(p1 >> u8(32)) ^ c1 ^ a, u4(p1), u4(p0 >> u8(32)) ^ c3 ^ b, u4(p0)
            a, b = u4(a + W0), u4(b + W1)
        words[4 * i] = c0
        words[4 * i + 1] = c1
        words[4 * i + 2] = c2
        words[4 * i + 3] = c3
