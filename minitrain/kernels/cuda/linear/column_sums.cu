// The gradient of a bias, ops/linear/linear.py: the sum over the rows of dout (rows, columns), in two launches.
//
// A warp reads 32 neighbouring columns of a row. Eight warps of a block and `gridDim.y` blocks take the rows in turn, and
// each block leaves one partial sum for its columns; add_partials adds these in order. A thread adds only rows / (8
// gridDim.y) numbers, so a long sum keeps its digits, and its order does not depend on the device.
#include <columns.cuh>

__global__ void __launch_bounds__(256)
column_sums(const float* __restrict__ x, float* __restrict__ partial, int rows, int columns) {
    __shared__ float sums[8][32];
    const int c = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.f;
    if (c < columns)
        for (int r = blockIdx.y * 8 + threadIdx.y; r < rows; r += 8 * gridDim.y) sum += x[(size_t)r * columns + c];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int warp = 1; warp < 8; ++warp) sum += sums[warp][threadIdx.x];
        partial[(size_t)blockIdx.y * columns + c] = sum;
    }
}
