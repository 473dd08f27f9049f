// The words that CUDA adds to C++, as g++ takes them.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <algorithm>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// A thread_local of a block is static, and `extern thread_local` is legal. So one word serves `__shared__ float x[n]`
// and `extern __shared__ unsigned char smem[]`, and the memory of both lies in one segment (shared_memory.h).
#define __shared__ thread_local

#define threadIdx (emu::current->index)
#define blockIdx (emu::engine.block)
#define blockDim (emu::engine.block_dim)
#define gridDim (emu::engine.grid_dim)
constexpr int warpSize = 32;

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

#define EMU_VECTORS(T, name, bytes)                                                                                   \
    struct alignas(2 * bytes) name##2 { T x, y; };                                                                    \
    struct alignas(bytes < 8 ? 4 * bytes : 16) name##4 { T x, y, z, w; };                                             \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                                        \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTORS(float, float, 4)
EMU_VECTORS(int, int, 4)
EMU_VECTORS(unsigned, uint, 4)
EMU_VECTORS(unsigned short, ushort, 2)
EMU_VECTORS(unsigned char, uchar, 1)
#undef EMU_VECTORS
struct alignas(16) double2 { double x, y; };
inline double2 make_double2(double x, double y) { return {x, y}; }

using std::max;
using std::min;
