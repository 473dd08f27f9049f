// Loads and stores of V neighbouring floats at once. With V = 4 the address must be a multiple of 16 bytes; the device
// then moves 512 bytes for a warp in one instruction.
#pragma once

template <int V> struct alignas(4 * V) Pack { float v[V]; };

template <int V>
__device__ __forceinline__ Pack<V> load(const float* p) { return *reinterpret_cast<const Pack<V>*>(p); }

template <int V>
__device__ __forceinline__ void store(float* p, const Pack<V>& pack) { *reinterpret_cast<Pack<V>*>(p) = pack; }
