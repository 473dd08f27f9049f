// Root-mean-square norm, ops/norms/rms_norm.py, alone or of a sum with a branch (residual_rms_norm.py). It is laid out as
// layer_norm.cu: a warp computes one row, which is kept in shared memory.
#include <columns.cuh>
#include <reduce.cuh>
#include <vector.cuh>

// x, branch, total, out: (rows, columns); rstd: (rows,). total = x + branch is written if there is a branch.
// Block: (32, warps). Dynamic shared memory: warps * columns floats. V columns at a time, a divisor of `columns`.
template <int V>
__global__ void __launch_bounds__(128)
rms_norm_forward(const float* __restrict__ x, const float* __restrict__ branch, const float* __restrict__ weight,
                 float* __restrict__ total, float* __restrict__ out, float* __restrict__ rstd, int rows, int columns,
                 float eps) {
    extern __shared__ __align__(128) unsigned char smem[];
    float* row = reinterpret_cast<float*>(smem) + threadIdx.y * columns;
    const int r = blockIdx.x * blockDim.y + threadIdx.y, first = threadIdx.x * V, step = 32 * V;
    if (r >= rows) return;
    const size_t at = (size_t)r * columns;

    float squares = 0.f;
    for (int c = first; c < columns; c += step) {
        Pack<V> a = load<V>(x + at + c);
        if (branch) {
            const Pack<V> b = load<V>(branch + at + c);
            for (int i = 0; i < V; ++i) a.v[i] += b.v[i];
            store(total + at + c, a);
        }
        for (int i = 0; i < V; ++i) squares += a.v[i] * a.v[i];
        store(row + c, a);
    }
    const float k = 1.f / sqrtf(warp_sum(squares) / columns + eps);

    for (int c = first; c < columns; c += step) {
        Pack<V> a = load<V>(row + c);
        const Pack<V> w = load<V>(weight + c);
        for (int i = 0; i < V; ++i) a.v[i] *= k * w.v[i];
        store(out + at + c, a);
    }
    if (threadIdx.x == 0) rstd[r] = k;
}

// dx = rstd * (g - xhat * mean(g * xhat)) + dtotal with g = dout * weight; dx += that if `accumulate`. A null dx is not
// wanted. partial: (blocks, columns), each block's part of dweight, for add_partials.
// Block: (32, warps). Dynamic shared memory: warps * columns floats, a warp's own sums.
template <int V>
__global__ void __launch_bounds__(128)
rms_norm_backward(const float* __restrict__ dout, const float* __restrict__ dtotal, const float* __restrict__ x,
                  const float* __restrict__ rstd, const float* __restrict__ weight, float* __restrict__ dx,
                  float* __restrict__ partial, int rows, int columns, int accumulate) {
    extern __shared__ __align__(128) unsigned char smem[];
    float* sums = reinterpret_cast<float*>(smem);
    float* dweight = sums + threadIdx.y * columns;
    const int first = threadIdx.x * V, step = 32 * V;
    for (int c = first; c < columns; c += step) store(dweight + c, Pack<V>{});
    for (int r = blockIdx.x * blockDim.y + threadIdx.y; r < rows; r += gridDim.x * blockDim.y) {
        const size_t at = (size_t)r * columns;
        const float k = rstd[r];
        float gx_sum = 0.f;
        for (int c = first; c < columns; c += step) {
            const Pack<V> a = load<V>(x + at + c), d = load<V>(dout + at + c), w = load<V>(weight + c);
            Pack<V> dw = load<V>(dweight + c);
            for (int i = 0; i < V; ++i) {
                const float xhat = a.v[i] * k;
                gx_sum += d.v[i] * w.v[i] * xhat;
                dw.v[i] += d.v[i] * xhat;
            }
            store(dweight + c, dw);
        }
        if (!dx) continue;
        const float gx_mean = warp_sum(gx_sum) / columns;
        for (int c = first; c < columns; c += step) {
            const Pack<V> a = load<V>(x + at + c), d = load<V>(dout + at + c), w = load<V>(weight + c);
            Pack<V> result;
            for (int i = 0; i < V; ++i) result.v[i] = k * (d.v[i] * w.v[i] - a.v[i] * k * gx_mean);
            if (dtotal) {
                const Pack<V> t = load<V>(dtotal + at + c);
                for (int i = 0; i < V; ++i) result.v[i] += t.v[i];
            }
            if (accumulate) {
                const Pack<V> old = load<V>(dx + at + c);
                for (int i = 0; i < V; ++i) result.v[i] += old.v[i];
            }
            store(dx + at + c, result);
        }
    }
    __syncthreads();  // all warps have their sums
    const int thread = threadIdx.y * 32 + threadIdx.x;
    for (int c = thread; c < columns; c += 32 * blockDim.y) {
        float sum = 0.f;
        for (int warp = 0; warp < blockDim.y; ++warp) sum += sums[warp * columns + c];
        partial[(size_t)blockIdx.x * columns + c] = sum;
    }
}
