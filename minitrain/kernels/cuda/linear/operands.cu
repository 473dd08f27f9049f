// Rounding of operands of products to 16 bits, backend/precision.py. Each thread takes V neighbouring numbers in turn.
#include <half.cuh>

template <class T, int V>
__global__ void __launch_bounds__(256) round_operand(const float* __restrict__ x, T* __restrict__ out, long long n) {
    const long long step = (long long)gridDim.x * blockDim.x * V;
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += step)
        store_rounded(out + i, load_wide<V>(x + i));
}
