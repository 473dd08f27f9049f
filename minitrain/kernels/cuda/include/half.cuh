// Numbers of 16 bits beside float: the operands of products. Arithmetic is always done in float.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector.cuh>

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

// Rounded to nearest, ties to even, as NumPy and the reference do.
template <class T> __device__ __forceinline__ T rounded(float x);
template <> __device__ __forceinline__ float rounded<float>(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 rounded<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ __half rounded<__half>(float x) { return __float2half_rn(x); }

// V neighbouring numbers of T in memory.
template <class T, int V> struct alignas(V * sizeof(T)) Stored { T v[V]; };

template <int V, class T>
__device__ __forceinline__ Pack<V> load_wide(const T* p) {
    const Stored<T, V> stored = *reinterpret_cast<const Stored<T, V>*>(p);
    Pack<V> wide;
    for (int i = 0; i < V; ++i) wide.v[i] = to_float(stored.v[i]);
    return wide;
}

template <int V, class T>
__device__ __forceinline__ void store_rounded(T* p, const Pack<V>& pack) {
    Stored<T, V> stored;
    for (int i = 0; i < V; ++i) stored.v[i] = rounded<T>(pack.v[i]);
    *reinterpret_cast<Stored<T, V>*>(p) = stored;
}
