// Sums and maxima over the threads of a warp and of a block. Each has one fixed order, so a result never depends on
// timing; and every thread receives the same bits.
#pragma once

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }

struct Sum {
    static __device__ __forceinline__ float identity() { return 0.f; }
    static __device__ __forceinline__ float combine(float a, float b) { return a + b; }
};
struct Max {
    static __device__ __forceinline__ float identity() { return -infinity(); }
    static __device__ __forceinline__ float combine(float a, float b) { return fmaxf(a, b); }  // the other one of a NaN
};

template <class Op>
__device__ __forceinline__ float reduce_warp(float x) {
#pragma unroll
    for (int bit = 16; bit > 0; bit >>= 1) x = Op::combine(x, __shfl_xor_sync(ALL_LANES, x, bit));
    return x;
}
__device__ __forceinline__ float warp_sum(float x) { return reduce_warp<Sum>(x); }

// Over a block of whole warps along x. `scratch` has room for 32 floats; it may be used again right after the call.
template <class Op>
__device__ __forceinline__ float reduce_block(float x, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = reduce_warp<Op>(x);
    if (lane == 0) scratch[warp] = x;
    __syncthreads();  // the warps' results are there
    x = reduce_warp<Op>(lane < warps ? scratch[lane] : Op::identity());
    __syncthreads();  // all warps have read them
    return x;
}
__device__ __forceinline__ float block_sum(float x, float* scratch) { return reduce_block<Sum>(x, scratch); }
__device__ __forceinline__ float block_max(float x, float* scratch) { return reduce_block<Max>(x, scratch); }

// In double precision, for sums over very many values.
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int bit = 16; bit > 0; bit >>= 1) x += __shfl_xor_sync(ALL_LANES, x, bit);
    return x;
}
__device__ __forceinline__ double block_sum(double x, double* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    if (lane == 0) scratch[warp] = x;
    __syncthreads();  // the warps' results are there
    x = warp_sum(lane < warps ? scratch[lane] : 0.0);
    __syncthreads();  // all warps have read them
    return x;
}
