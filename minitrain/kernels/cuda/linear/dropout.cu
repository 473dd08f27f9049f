// Dropout, ops/linear/dropout.py: forward and backward are the same product with the mask, which is computed again.
#include <philox.cuh>
#include <vector.cuh>

// x, out: (samples, n). A thread takes the four elements whose words come from one counter. Block: (threads, 1), the
// grid's second axis counts samples. V is 4 if n is a multiple of 4, so that the four lie in one sample and are aligned.
template <int V>
__global__ void __launch_bounds__(256)
dropout(const float* __restrict__ x, float* __restrict__ out, long long n, long long samples, long long first_sample,
        unsigned k0, unsigned k1, unsigned threshold, float scale, int accumulate, const unsigned* __restrict__ key) {
    if (key) k0 = key[0], k1 = key[1];  // of a captured step: the graph would repeat a number of the host
    for (long long sample = blockIdx.y; sample < samples; sample += gridDim.y)
        for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * 4; i < n;
             i += (long long)gridDim.x * blockDim.x * 4) {
            const Words words = philox((unsigned)(i / 4), (unsigned long long)(first_sample + sample), k0, k1);
            const float* from = x + sample * n + i;
            float* to = out + sample * n + i;
#pragma unroll
            for (int part = 0; part < 4; part += V) {
                if (i + part >= n) continue;  // behind the end of the sample
                Pack<V> a = load<V>(from + part);
                for (int k = 0; k < V; ++k) a.v[k] = words.w[part + k] >= threshold ? a.v[k] * scale : 0.f;
                if (accumulate) {
                    const Pack<V> old = load<V>(to + part);
                    for (int k = 0; k < V; ++k) a.v[k] += old.v[k];
                }
                store(to + part, a);
            }
        }
}
