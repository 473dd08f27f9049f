// Row lookup, ops/linear/embedding.py.
//
// The backward adds many gradients to few rows. Atomic additions would give other bits in each run. Instead the tokens
// are sorted, so that those of one row are neighbours, and one block adds these in order.
#include <vector.cuh>

// out[i] = weight[tokens[i]]; a token outside the table gives NaN. A block for each token.
template <int V>
__global__ void __launch_bounds__(256)
embedding_forward(const long long* __restrict__ tokens, const float* __restrict__ weight, float* __restrict__ out,
                  int rows, int columns) {
    const long long row = tokens[blockIdx.x];
    const bool known = row >= 0 && row < rows;
    for (int c = threadIdx.x * V; c < columns; c += blockDim.x * V) {
        Pack<V> a;
        if (known) a = load<V>(weight + row * columns + c);
        else
            for (int k = 0; k < V; ++k) a.v[k] = __int_as_float(0x7fffffff);
        store(out + (size_t)blockIdx.x * columns + c, a);
    }
}

constexpr int LINES = 8;  // rows of threads of a block: each adds every eighth gradient of a token

// dweight[sorted[i]] += sum of dout[order[j]] over all j with sorted[j] == sorted[i], by the block of the first such i;
// other blocks end at once. sorted, order: (n,), the tokens in order and where they were. Grid: (n, column blocks).
// Block: (32, LINES). Rows without tokens are left as they are, and so is `padding`.
template <int V>
__global__ void __launch_bounds__(256)
embedding_backward(const long long* __restrict__ sorted, const long long* __restrict__ order,
                   const float* __restrict__ dout, float* __restrict__ dweight, int n, int rows, int columns,
                   int padding) {
    __shared__ double sums[LINES][32 * V];
    const int first = blockIdx.x, c = (blockIdx.y * 32 + threadIdx.x) * V;
    const long long row = sorted[first];
    if (row < 0 || row >= rows || row == padding || (first > 0 && sorted[first - 1] == row)) return;  // the whole block
    double sum[V] = {};  // a frequent token has thousands of gradients, and float sums would drift
    if (c < columns)
        for (int i = first + threadIdx.y; i < n && sorted[i] == row; i += LINES) {
            const Pack<V> d = load<V>(dout + order[i] * columns + c);
            for (int k = 0; k < V; ++k) sum[k] += d.v[k];
        }
    for (int k = 0; k < V; ++k) sums[threadIdx.y][threadIdx.x * V + k] = sum[k];
    __syncthreads();  // all lines have their sums
    if (threadIdx.y > 0 || c >= columns) return;
    for (int k = 0; k < V; ++k) {
        double total = 0;
        for (int line = 0; line < LINES; ++line) total += sums[line][threadIdx.x * V + k];
        dweight[row * columns + c + k] += (float)total;
    }
}
