// The gradient of a bias, ops/linear/linear.py: the sum over the rows of dout (rows, columns), in two launches.
//
// A warp reads 32 neighbouring columns of a row. Eight warps of a block and `gridDim.y` blocks take the rows in turn, and
// each block leaves one partial sum for its columns; add_partials adds these in order. A thread adds only rows / (8
// gridDim.y) numbers, so a long sum keeps its digits, and its order does not depend on the device.
//
// The products of a backward take dout in 16 bits. Where they do, the same pass rounds it: dout is read once for both.
#include <columns.cuh>
#include <half.cuh>

template <class T>
__global__ void __launch_bounds__(256)
column_sums(const float* __restrict__ x, T* __restrict__ operand, float* __restrict__ partial, int rows, int columns) {
    __shared__ float sums[8][32];
    const int c = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.f;
    if (c < columns)
        for (int r = blockIdx.y * 8 + threadIdx.y; r < rows; r += 8 * gridDim.y) {
            const size_t at = (size_t)r * columns + c;
            sum += x[at];
            if (operand) operand[at] = rounded<T>(x[at]);
        }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int warp = 1; warp < 8; ++warp) sum += sums[warp][threadIdx.x];
        partial[(size_t)blockIdx.y * columns + c] = sum;
    }
}
