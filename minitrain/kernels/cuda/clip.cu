// The sum of squares of a flat buffer, optim/clip.py: blocks leave partial sums, and one block adds them in order.
#include <reduce.cuh>

__global__ void __launch_bounds__(256) partial_squares(const float* __restrict__ x, double* __restrict__ partial, long long n) {
    __shared__ double scratch[32];
    double sum = 0;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        sum += (double)x[i] * x[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(256) add_parts(const double* __restrict__ partial, double* __restrict__ total, int parts) {
    __shared__ double scratch[32];
    double sum = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) total[0] = sum;
}
