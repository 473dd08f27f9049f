// The backward of ops/classification/linear_cross_entropy.py: the gradients of the total, times the gradient that comes in.
#include <vector.cuh>

// out = factor x, added to out if `accumulate`; the factor is on the device, or else `value`.
template <int V>
__global__ void __launch_bounds__(256)
scale(const float* __restrict__ factor, float value, const float* __restrict__ x, float* __restrict__ out, long long n,
      int accumulate) {
    const float times = factor ? *factor : value;
    const long long step = (long long)gridDim.x * blockDim.x * V;
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += step) {
        Pack<V> a = load<V>(x + i);
        for (int k = 0; k < V; ++k) a.v[k] *= times;
        if (accumulate) {
            const Pack<V> old = load<V>(out + i);
            for (int k = 0; k < V; ++k) a.v[k] += old.v[k];
        }
        store(out + i, a);
    }
}
