// The second half of a sum over many rows: blocks have left one partial sum each for every column, and these are added
// in order. So the gradient of a weight has the same bits in every run; atomic additions would not promise that.
#pragma once

// out[c] = sum over p of partial[p, c] (+ out[c] if `accumulate`), for `columns` columns of `stride` in a row.
__global__ void add_partials(const float* __restrict__ partial, float* out, int parts, int columns, int stride,
                             int accumulate) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    double sum = 0;  // a column of partial sums is short, and rounds only once this way
    for (int p = 0; p < parts; ++p) sum += partial[(size_t)p * stride + c];
    out[c] = accumulate ? out[c] + (float)sum : (float)sum;
}
