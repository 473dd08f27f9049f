// Softmax over the last axis, ops/activations/softmax.py. A block computes one row of C scores.
#include <reduce.cuh>

__global__ void __launch_bounds__(512) softmax_forward(const float* __restrict__ x, float* __restrict__ out, int C) {
    __shared__ float scratch[32];
    const float* scores = x + (size_t)blockIdx.x * C;
    float* probabilities = out + (size_t)blockIdx.x * C;
    float largest = Max::identity();
    for (int c = threadIdx.x; c < C; c += blockDim.x) largest = fmaxf(largest, scores[c]);
    largest = block_max(largest, scratch);
    float sum = 0.f;
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
        const float e = expf(scores[c] - largest);
        probabilities[c] = e;
        sum += e;
    }
    const float scale = 1.f / block_sum(sum, scratch);
    for (int c = threadIdx.x; c < C; c += blockDim.x) probabilities[c] *= scale;  // each thread its own
}

// dx = y (dout - sum(dout y))
__global__ void __launch_bounds__(512)
softmax_backward(const float* __restrict__ dout, const float* __restrict__ y, float* __restrict__ dx, int C,
                 int accumulate) {
    __shared__ float scratch[32];
    const size_t at = (size_t)blockIdx.x * C;
    float sum = 0.f;
    for (int c = threadIdx.x; c < C; c += blockDim.x) sum += dout[at + c] * y[at + c];
    sum = block_sum(sum, scratch);
    for (int c = threadIdx.x; c < C; c += blockDim.x) {
        const float d = y[at + c] * (dout[at + c] - sum);
        dx[at + c] = accumulate ? dx[at + c] + d : d;
    }
}
