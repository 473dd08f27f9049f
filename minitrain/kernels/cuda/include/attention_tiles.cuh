// Tiles in shared memory, and the two products that all of attention is made of. Shared by all its kernels.
//
// A warp owns 16 rows of a result. Its 32 lanes hold the numbers as the tensor cores return them (PTX ISA, "Matrix
// fragments for mma.m16n8k16"): of each 8 columns, lane l has rows l/4 and l/4 + 8, columns 2 (l%4) and 2 (l%4) + 1:
//
//     x[j][0]  row l/4,      column 8 j + 2 (l%4)          x[j][2]  row l/4 + 8, the same column
//     x[j][1]  row l/4,      the next column               x[j][3]  row l/4 + 8, the next column
//
// There are four kinds of elements E. `bf16` and `f16` are 16-bit numbers for the tensor cores. `tf32` stands for float
// numbers in memory, which the tensor cores take rounded to 11 significant bits. `float` numbers are multiplied without
// tensor cores, by fused multiply-adds, which keep all digits. Sums are float32 in all of them.
#pragma once
#include <ptx.cuh>

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }

// What the tensor cores need to know of a type: rounding, two numbers in a register, and their product.
template <class E> struct Element;
struct tf32;
template <> struct Element<float> {
    using Stored = float;
    static __device__ __forceinline__ float round(float x) { return x; }
    static __device__ __forceinline__ float exp2(float x) { return exp2f(x); }
};
template <> struct Element<tf32> : Element<float> {
    static __device__ __forceinline__ float exp2(float x) { return exp2_approx(x); }
    // The product of 16 x 8 and 8 x 8.
    static __device__ __forceinline__ void multiply(float (&d)[4], const float (&a)[4], float b0, float b1) {
        unsigned rounded[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) rounded[i] = float_to_tf32(a[i]);
        mma_tf32(d, rounded, float_to_tf32(b0), float_to_tf32(b1));
    }
};
template <> struct Element<bf16> {
    using Stored = bf16;
    static __device__ __forceinline__ bf16 round(float x) { return __float2bfloat16(x); }
    static __device__ __forceinline__ float exp2(float x) { return exp2_approx(x); }
    static __device__ __forceinline__ unsigned pair(float a, float b) {
        const __nv_bfloat162 both = __floats2bfloat162_rn(a, b);
        return *reinterpret_cast<const unsigned*>(&both);
    }
    static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
        mma_bf16(d, a, b0, b1);
    }
};
template <> struct Element<f16> {
    using Stored = f16;
    static __device__ __forceinline__ f16 round(float x) { return __float2half(x); }
    static __device__ __forceinline__ float exp2(float x) { return exp2_approx(x); }
    static __device__ __forceinline__ unsigned pair(float a, float b) {
        const __half2 both = __floats2half2_rn(a, b);
        return *reinterpret_cast<const unsigned*>(&both);
    }
    static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
        mma_f16(d, a, b0, b1);
    }
};

template <class E> using Stored = typename Element<E>::Stored;

template <class E> constexpr bool is_tf32 = false;
template <> constexpr bool is_tf32<tf32> = true;

template <class E, int D>
struct Tile {
    static constexpr bool HALF = sizeof(Stored<E>) == 2;
    static constexpr int VECTOR = 16 / sizeof(Stored<E>);      // elements in one copy of 16 bytes
    static constexpr int LD = D + VECTOR;                      // of a row: 8 rows then lie in 8 different bank groups
    static constexpr int WARPS = HALF || D <= 64 ? 4 : 2;      // of a block
    static constexpr int ROWS = 16 * WARPS;                    // of a block: the side that a block keeps
    static constexpr int WIDTH = HALF ? 64 : D <= 64 ? 32 : 16;             // of a tile: the side that passes by
    static constexpr int BACKWARD_WIDTH = D <= 64 ? WIDTH : HALF ? 32 : 16; // there are twice as many sums to hold
};

// Copies rows [row, row + ROWS) of a matrix with `end` rows and d columns, `stride` elements apart, while the threads
// go on (cp.async). What lies outside the matrix becomes zero. Rows begin at multiples of 16 bytes.
template <class E, int D, int ROWS>
__device__ __forceinline__ void load_tile(Stored<E>* tile, const Stored<E>* from, long long stride, int row,
                                          int end, int d) {
    constexpr int VECTOR = Tile<E, D>::VECTOR, LD = Tile<E, D>::LD;
    for (int i = threadIdx.x; i < ROWS * (D / VECTOR); i += blockDim.x) {
        const int r = i / (D / VECTOR), c = i % (D / VECTOR) * VECTOR;
        const bool inside = row + r < end && c < d;
        cp_async16(tile + r * LD + c, from + (inside ? (row + r) * stride + c : 0), inside);
    }
}

// out (16, 8 N) += a b^T, with a: 16 rows of D in shared memory, b: 8 N rows of D. Both are read along their rows.
template <class E, int D, int N>
__device__ __forceinline__ void add_rows_by_rows(float (&out)[N][4], const Stored<E>* a, const Stored<E>* b) {
    constexpr int LD = Tile<E, D>::LD;
    const int lane = threadIdx.x % 32;
    if constexpr (Tile<E, D>::HALF) {
#pragma unroll
        for (int d = 0; d < D; d += 16) {
            unsigned fa[4], fb[4];  // a: 16 x 16, a matrix of 8 x 8 in each register; b: 16 rows, for two products
            ldmatrix_x4(fa, a + lane % 16 * LD + d + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                ldmatrix_x4(fb, b + (8 * j + lane % 8 + lane / 16 * 8) * LD + d + lane / 8 % 2 * 8);
                Element<E>::multiply(out[j], fa, fb[0], fb[1]);
                Element<E>::multiply(out[j + 1], fa, fb[2], fb[3]);
            }
        }
    } else if constexpr (is_tf32<E>) {
        const int row = lane / 4, column = lane % 4;
        for (int d = column; d < D; d += 8) {
            const float *upper = a + row * LD + d, *lower = upper + 8 * LD;
            const float fa[4] = {upper[0], lower[0], upper[4], lower[4]};
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float* x = b + (8 * j + row) * LD + d;
                Element<E>::multiply(out[j], fa, x[0], x[4]);
            }
        }
    } else {
        const int row = lane / 4, column = lane % 4 * 2;
        for (int d = 0; d < D; d += 4) {
            const float4 a0 = *reinterpret_cast<const float4*>(a + row * LD + d);
            const float4 a1 = *reinterpret_cast<const float4*>(a + (row + 8) * LD + d);
#pragma unroll
            for (int j = 0; j < N; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const float4 x = *reinterpret_cast<const float4*>(b + (8 * j + column + i) * LD + d);
                    out[j][i] = fmaf(a0.w, x.w, fmaf(a0.z, x.z, fmaf(a0.y, x.y, fmaf(a0.x, x.x, out[j][i]))));
                    out[j][i + 2] = fmaf(a1.w, x.w, fmaf(a1.z, x.z, fmaf(a1.y, x.y, fmaf(a1.x, x.x, out[j][i + 2]))));
                }
        }
    }
}

// out (16, D) += p b, with p (16, 8 N) in registers as a product left it, b: 8 N rows of D in shared memory. What the
// tensor cores return fits what they take: two neighbouring blocks of 8 columns are the left operand of 16 x 16.
template <class E, int D, int N>
__device__ __forceinline__ void add_product(float (&out)[D / 8][4], const float (&p)[N][4],
                                            const Stored<E>* b) {
    constexpr int LD = Tile<E, D>::LD;
    const int lane = threadIdx.x % 32;
    if constexpr (Tile<E, D>::HALF) {
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            unsigned fp[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) fp[i] = Element<E>::pair(p[j + i / 2][i % 2 * 2], p[j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int d = 0; d < D; d += 16) {
                unsigned fb[4];  // read along columns: ldmatrix transposes
                ldmatrix_x4_trans(fb, b + (8 * j + lane % 16) * LD + d + lane / 16 * 8);
                Element<E>::multiply(out[d / 8], fp, fb[0], fb[1]);
                Element<E>::multiply(out[d / 8 + 1], fp, fb[2], fb[3]);
            }
        }
    } else if constexpr (is_tf32<E>) {
        // The operand wants columns l%4 and l%4 + 4 where the product left 2 (l%4) and the next. A sum has no order, so
        // the columns of p may be renamed, if the rows of b are, too.
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float fp[4] = {p[j][0], p[j][2], p[j][1], p[j][3]};
#pragma unroll
            for (int c = 0; c < D / 8; ++c) {
                const float* x = b + (8 * j + lane % 4 * 2) * LD + 8 * c + lane / 4;
                Element<E>::multiply(out[c], fp, x[0], x[LD]);
            }
        }
    } else {
#pragma unroll
        for (int j = 0; j < N; ++j)
#pragma unroll
            for (int k = 0; k < 8; ++k) {  // column 8 j + k of p is in lane k / 2 of the four that share the rows
                const int owner = lane / 4 * 4 + k / 2;
                const float p0 = __shfl_sync(0xffffffffu, p[j][k % 2], owner);
                const float p1 = __shfl_sync(0xffffffffu, p[j][k % 2 + 2], owner);
#pragma unroll
                for (int c = 0; c < D / 8; ++c) {
                    const float2 x = *reinterpret_cast<const float2*>(b + (8 * j + k) * LD + 8 * c + lane % 4 * 2);
                    out[c][0] = fmaf(p0, x.x, out[c][0]);
                    out[c][1] = fmaf(p0, x.y, out[c][1]);
                    out[c][2] = fmaf(p1, x.x, out[c][2]);
                    out[c][3] = fmaf(p1, x.y, out[c][3]);
                }
            }
    }
}
