// Dropout, ops/linear/dropout.py: forward and backward are the same product with the mask, which is computed again.
#include <philox.cuh>
#include <vector.cuh>

// x, out: (samples, n). A thread takes the four elements whose words come from one counter. Block: (threads, 1), the
// grid's second axis counts samples. V is 4 if n is a multiple of 4, so that the four lie in one sample and are aligned.
template <int V>
__global__ void __launch_bounds__(256)
dropout(const float* __restrict__ x, float* __restrict__ out, long long n, long long samples, long long first_sample,
        unsigned k0, unsigned k1, unsigned threshold, float scale, int accumulate) {
    for (long long sample = blockIdx.y; sample < samples; sample += gridDim.y) {
        const float* from = x + sample * n;
        float* to = out + sample * n;
#pragma unroll 1  // several at a time need more registers than some devices give
        for (long long block = blockIdx.x * (long long)blockDim.x + threadIdx.x; block * 4 < n;
             block += (long long)gridDim.x * blockDim.x) {
            const Words words = philox((unsigned)block, (unsigned long long)(first_sample + sample), k0, k1);
#pragma unroll
            for (int part = 0; part < 4; part += V) {
                const long long i = block * 4 + part;
                if (i >= n) break;
                Pack<V> a = load<V>(from + i);
                for (int k = 0; k < V; ++k) a.v[k] = words.w[part + k] >= threshold ? a.v[k] * scale : 0.f;
                if (accumulate) {
                    const Pack<V> old = load<V>(to + i);
                    for (int k = 0; k < V; ++k) a.v[k] += old.v[k];
                }
                store(to + i, a);
            }
        }
    }
}
