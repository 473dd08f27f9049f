// ldmatrix and mma.sync, written from the tables of fragments in the PTX ISA, sections 9.7.14.5 and 9.7.14.6.
// The device's order of sums and its rounding inside one mma are not known; here they are added one by one in float32.
#pragma once
#include "copies.h"

namespace emu {
template <int N> struct Words { unsigned r[N]; };

// Lanes 8i to 8i + 7 give the addresses of the rows of matrix i, each of 8 values of 16 bits. Lane l receives of each
// matrix two neighbours: row l / 4, columns 2 (l % 4) and + 1; with `transposed`, column l / 4, rows 2 (l % 4) and + 1.
template <int N>
Words<N> ldmatrix(const void* row, bool transposed, Place place) {
    const bool used = current->lane < 8 * N;  // the addresses of other lanes are not read
    check(!used || uintptr_t(row) % 16 == 0, "the address of a row of ldmatrix is not a multiple of 16", place);
    check(!used || in_shared(row, 16), "a row of ldmatrix is not in shared memory", place);
    TSAN(if (used) __tsan_read_range(const_cast<void*>(row), 16);)
    return collective<const uint16_t*, Words<N>>(
        "ldmatrix", place, ~0u, static_cast<const uint16_t*>(row),
        [transposed](const uint16_t* const* rows, Words<N>* out, unsigned) {
            for (int i = 0; i < N; ++i) {
                unsigned banks = 0;  // a matrix is read at once if its rows lie in eight different groups of four banks
                for (int r = 0; r < 8; ++r) {
                    const unsigned group = 1u << uintptr_t(rows[8 * i + r]) / 16 % 8;
                    engine.statistics.ldmatrix_conflicts += (banks & group) != 0;
                    banks |= group;
                }
                ++engine.statistics.ldmatrix;
                for (int l = 0; l < 32; ++l) {
                    const int a = l / 4, b = l % 4 * 2;
                    const uint16_t low = transposed ? rows[8 * i + b][a] : rows[8 * i + a][b];
                    const uint16_t high = transposed ? rows[8 * i + b + 1][a] : rows[8 * i + a][b + 1];
                    out[l].r[i] = low | unsigned(high) << 16;
                }
            }
        });
}

template <int A, int B> struct MmaIn { unsigned a[A], b[B]; float c[4]; };
struct MmaOut { float d[4]; };

// m16n8k(K). With g = lane / 4 and t = lane % 4, and P values of 16 or 32 bits in a register, register i of
//   A holds row g + 8 (i % 2), columns P t + K / 2 (i / 2) and on;
//   B holds rows P t + K / 2 i and on, column g;
//   C holds row g + 8 (i / 2), column 2 t + i % 2.
template <int K, int P, class Decode>
MmaOut mma(const char* what, const MmaIn<4, 2>& in, Decode decode, Place place) {
    return collective<MmaIn<4, 2>, MmaOut>(what, place, ~0u, in, [decode](const MmaIn<4, 2>* x, MmaOut* out, unsigned) {
        float A[16][K], B[K][8];
        for (int l = 0; l < 32; ++l) {
            const int g = l / 4, t = l % 4;
            for (int p = 0; p < P; ++p) {
                for (int i = 0; i < 4; ++i) A[g + 8 * (i % 2)][P * t + K / 2 * (i / 2) + p] = decode(x[l].a[i], p);
                for (int i = 0; i < 2; ++i) B[P * t + K / 2 * i + p][g] = decode(x[l].b[i], p);
            }
        }
        for (int l = 0; l < 32; ++l)
            for (int i = 0; i < 4; ++i) {
                const int row = l / 4 + 8 * (i / 2), column = l % 4 * 2 + i % 2;
                float sum = 0;
                for (int k = 0; k < K; ++k) sum += A[row][k] * B[k][column];
                out[l].d[i] = x[l].c[i] + sum;
            }
    });
}
}  // namespace emu
