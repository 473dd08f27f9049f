// Philox-4x32-10, as in minitrain/random.py: the words of a sample are a function of the key, the sample's index in the
// global batch and their place in the sample. So a mask is the same on every device and needs no memory.
#pragma once

struct Words { unsigned w[4]; };

// The four words of a counter of four words.
__device__ __forceinline__ Words philox4(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// The words of elements 4 * block to 4 * block + 3 of a sample.
__device__ __forceinline__ Words philox(unsigned block, unsigned long long sample, unsigned k0, unsigned k1) {
    return philox4(block, 0, (unsigned)sample, (unsigned)(sample >> 32), k0, k1);
}
