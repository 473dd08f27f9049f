// Attention, backward: the gradients of ops/attention/attention.py, by the same tiles as the forward.
//
// With L the log-sum-exp of the forward, G = dO and M the dropout factors, the reference's formulas are
//
//     P = exp(scale Q K^T - L)                          dV = (M P)^T G
//     dS = P (M G V^T - delta),  delta = sum(G O)       dQ = scale dS K,   dK = scale dS^T Q
//
// P and dS are computed again, a tile at a time (Dao et al., 2022, arXiv:2205.14135, algorithm 4). A key's gradients
// are sums over queries, a query's are sums over keys. Adding both in one kernel needs atomic additions, whose order
// differs from run to run. Here are two kernels instead, each with the sums of its own rows in registers: seven
// products in place of five, and the same bytes each time.
//
//     attention_backward_keys      a block keeps ROWS keys and values; all queries that see them pass by
//     attention_backward_queries   a block keeps ROWS queries and their G; all keys that they see pass by
//
// In the first one, tiles are transposed: P^T has a row for each key. So the registers of P^T are a left operand, as P
// is in the forward, and dV and dK need no exchange between lanes either. Query heads that share a key head pass by one
// after the other.
//
// `attention_rows` computes what both need of each query: (L log2(e), delta). The queries that fill the last tile get
// (0, 0). Their Q and G are zero, so they add nothing.
#include <attention_sight.cuh>
#include <attention_softmax.cuh>

// dout (B, T, H, d) by strides, out (B, T, H, d) contiguous, lse (B, H, T) -> rows (B, H, padded, 2), and dout rounded
// to E as (B, T, H, padded_d), whose columns after d are zero; null where E is float. A warp takes a query.
template <class E>
__global__ void __launch_bounds__(128)
attention_rows(const float* __restrict__ dout, long long batch, long long row, long long head,
               const Stored<E>* __restrict__ out, const float* __restrict__ lse, float* __restrict__ rows,
               Stored<E>* __restrict__ rounded, int B, int T, int H, int d, int padded, int padded_d) {
    const int lane = threadIdx.x % 32;
    const long long i = static_cast<long long>(blockIdx.x) * 4 + threadIdx.x / 32;
    const int t = i % padded, h = i / padded % H, b = i / padded / H;
    if (b >= B) return;
    float delta = 0.f, L = 0.f;
    if (t < T) {
        const float* g = dout + b * batch + t * row + h * head;
        const long long at = (static_cast<long long>(b) * T + t) * H + h;
        for (int c = lane; c < d; c += 32) delta = fmaf(g[c], to_float(out[at * d + c]), delta);
        if (rounded)
            for (int c = lane; c < padded_d; c += 32)
                rounded[at * padded_d + c] = Element<E>::round(c < d ? g[c] : 0.f);
#pragma unroll
        for (int o = 16; o > 0; o /= 2) delta += __shfl_xor_sync(0xffffffffu, delta, o);
        L = lse[(static_cast<long long>(b) * H + h) * T + t] * LOG2E;
    }
    if (lane == 0) {
        rows[2 * i] = L;
        rows[2 * i + 1] = delta;
    }
}

// Writes scale * sum (16, D) to rows [row, end) of a gradient, or adds it to them.
template <int D>
__device__ __forceinline__ void store_gradient(float* to, long long stride, const float (&sum)[D / 8][4], int row,
                                               int end, int d, float scale, bool add) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int r = row + lane / 4 + i / 2 * 8, c = 8 * j + lane % 4 * 2 + i % 2;
            if (r >= end || c >= d) continue;
            float* place = to + r * stride + c;
            *place = sum[j][i] * scale + (add ? *place : 0.f);
        }
}

// dk, dv (B, S, Hkv, d) by strides; null where a gradient is not wanted. grid: (blocks of ROWS keys, Hkv, B).
template <class E, int D, bool DROPOUT>
__global__ void __launch_bounds__(32 * Tile<E, D>::WARPS)
attention_backward_keys(const Stored<E>* __restrict__ q, long long q_batch, long long q_row, long long q_head,
                        const Stored<E>* __restrict__ k, long long k_batch, long long k_row, long long k_head,
                        const Stored<E>* __restrict__ v, long long v_batch, long long v_row, long long v_head,
                        const Stored<E>* __restrict__ g, long long g_batch, long long g_row, long long g_head,
                        const long long* __restrict__ lengths, const float* __restrict__ rows,
                        float* __restrict__ dk, long long dk_batch, long long dk_row, long long dk_head,
                        float* __restrict__ dv, long long dv_batch, long long dv_row, long long dv_head,
                        int add_dk, int add_dv, int T, int S, int group, int d, int padded, int back, int ahead,
                        float scale, unsigned threshold, float factor, unsigned key0, unsigned key1,
                        unsigned long long first_sample,
                        const unsigned* __restrict__ key) {
    constexpr int ROWS = Tile<E, D>::ROWS, WIDTH = Tile<E, D>::BACKWARD_WIDTH, LD = Tile<E, D>::LD;
    extern __shared__ __align__(128) unsigned char smem[];
    auto* k_tile = reinterpret_cast<Stored<E>*>(smem);
    auto* v_tile = k_tile + ROWS * LD;
    auto* q_tiles = v_tile + ROWS * LD;        // two buffers
    auto* g_tiles = q_tiles + 2 * WIDTH * LD;  // two buffers
    float* row_tiles = reinterpret_cast<float*>(g_tiles + 2 * WIDTH * LD);  // two buffers of (WIDTH, 2)
    unsigned char* keep = reinterpret_cast<unsigned char*>(row_tiles + 4 * WIDTH);

    const int b = blockIdx.z, s0 = blockIdx.x * ROWS, H = gridDim.y * group;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16, s_last = min(s0 + ROWS, S) - 1;
    const Sight sight(T, S, lengths, b, back, ahead);
    const Dropout dropout(threshold, factor, key0, key1, first_sample + b, key);

    // The tiles of all query heads of the group, one after the other.
    const int start = sight.first_query(s0) / WIDTH * WIDTH, stop = sight.end_query(T, s0 + ROWS);
    const int tiles = s0 < sight.keys && start < stop ? (stop - start + WIDTH - 1) / WIDTH : 0;
    const auto load_queries = [&](int tile, int buffer) {
        const int h = blockIdx.y * group + tile / tiles, t0 = start + tile % tiles * WIDTH;
        load_tile<E, D, WIDTH>(q_tiles + buffer * WIDTH * LD, q + b * q_batch + h * q_head, q_row, t0, T, d);
        load_tile<E, D, WIDTH>(g_tiles + buffer * WIDTH * LD, g + b * g_batch + h * g_head, g_row, t0, T, d);
        const float* from = rows + ((static_cast<long long>(b) * H + h) * padded + t0) * 2;
        for (int i = threadIdx.x * 4; i < 2 * WIDTH; i += blockDim.x * 4)
            cp_async16(row_tiles + buffer * 2 * WIDTH + i, from + i, true);
    };

    float dk_sum[D / 8][4] = {}, dv_sum[D / 8][4] = {};
    const float exponent = scale * LOG2E;
    load_tile<E, D, ROWS>(k_tile, k + b * k_batch + blockIdx.y * k_head, k_row, s0, S, d);
    load_tile<E, D, ROWS>(v_tile, v + b * v_batch + blockIdx.y * v_head, v_row, s0, S, d);
    if (tiles) load_queries(0, 0);
    cp_async_commit();
    for (int tile = 0, buffer = 0; tile < tiles * group; ++tile, buffer ^= 1) {
        if (tile + 1 < tiles * group) load_queries(tile + 1, buffer ^ 1);
        cp_async_commit();
        const int h = blockIdx.y * group + tile / tiles, t0 = start + tile % tiles * WIDTH;
        if constexpr (DROPOUT) draw_keep<WIDTH, ROWS>(keep, dropout, h, T, S, t0, s0);
        cp_async_wait<1>();
        __syncthreads();  // the tile has arrived

        const auto *q_tile = q_tiles + buffer * WIDTH * LD, *g_tile = g_tiles + buffer * WIDTH * LD;
        const float* row_tile = row_tiles + buffer * 2 * WIDTH;
        float p[WIDTH / 8][4] = {}, ds[WIDTH / 8][4] = {};  // transposed: a row for each key
        add_rows_by_rows<E, D>(p, k_tile + own * LD, q_tile);
        add_rows_by_rows<E, D>(ds, v_tile + own * LD, g_tile);
        const bool all = sight.sees_all(t0, t0 + WIDTH - 1, s0, s_last);
#pragma unroll
        for (int j = 0; j < WIDTH / 8; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int r = own + lane / 4 + i / 2 * 8, c = 8 * j + lane % 4 * 2 + i % 2;  // key s0 + r, query t0 + c
                const bool seen = all || sight.sees(t0 + c, s0 + r);
                const float e = seen ? Element<E>::exp2(fmaf(p[j][i], exponent, -row_tile[2 * c])) : 0.f;
                float m = 1.f;
                if constexpr (DROPOUT) m = keep[c * (ROWS + 4) + r] ? dropout.factor : 0.f;
                ds[j][i] = e * (ds[j][i] * m - row_tile[2 * c + 1]);
                p[j][i] = e * m;
            }
        add_product<E, D>(dv_sum, p, g_tile);
        add_product<E, D>(dk_sum, ds, q_tile);
        __syncthreads();  // the tile may be overwritten
    }
    if (dk) store_gradient<D>(dk + b * dk_batch + blockIdx.y * dk_head, dk_row, dk_sum, s0 + own, S, d, scale, add_dk);
    if (dv) store_gradient<D>(dv + b * dv_batch + blockIdx.y * dv_head, dv_row, dv_sum, s0 + own, S, d, 1.f, add_dv);
}

// dq (B, T, H, d) by strides. grid: (blocks of ROWS queries, H, B).
template <class E, int D, bool DROPOUT>
__global__ void __launch_bounds__(32 * Tile<E, D>::WARPS)
attention_backward_queries(const Stored<E>* __restrict__ q, long long q_batch, long long q_row, long long q_head,
                           const Stored<E>* __restrict__ k, long long k_batch, long long k_row, long long k_head,
                           const Stored<E>* __restrict__ v, long long v_batch, long long v_row, long long v_head,
                           const Stored<E>* __restrict__ g, long long g_batch, long long g_row, long long g_head,
                           const long long* __restrict__ lengths, const float* __restrict__ rows,
                           float* __restrict__ dq, long long dq_batch, long long dq_row, long long dq_head,
                           int add_dq, int T, int S, int group, int d, int padded, int back, int ahead, float scale,
                           unsigned threshold, float factor, unsigned key0, unsigned key1,
                           unsigned long long first_sample,
                           const unsigned* __restrict__ key) {
    constexpr int ROWS = Tile<E, D>::ROWS, WIDTH = Tile<E, D>::BACKWARD_WIDTH, LD = Tile<E, D>::LD;
    extern __shared__ __align__(128) unsigned char smem[];
    auto* q_tile = reinterpret_cast<Stored<E>*>(smem);
    auto* g_tile = q_tile + ROWS * LD;
    auto* k_tiles = g_tile + ROWS * LD;        // two buffers
    auto* v_tiles = k_tiles + 2 * WIDTH * LD;  // two buffers
    unsigned char* keep = reinterpret_cast<unsigned char*>(v_tiles + 2 * WIDTH * LD);

    const int b = blockIdx.z, h = blockIdx.y, H = gridDim.y, t0 = (gridDim.x - 1 - blockIdx.x) * ROWS;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16, t_last = min(t0 + ROWS, T) - 1;
    const Sight sight(T, S, lengths, b, back, ahead);
    const Dropout dropout(threshold, factor, key0, key1, first_sample + b, key);
    k += b * k_batch + h / group * k_head;
    v += b * v_batch + h / group * v_head;

    float sum[D / 8][4] = {}, L[2], delta[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // `rows` is padded to whole blocks
        const long long at = (static_cast<long long>(b) * H + h) * padded + t0 + own + lane / 4 + 8 * half;
        L[half] = rows[2 * at];
        delta[half] = rows[2 * at + 1];
    }
    const float exponent = scale * LOG2E;
    const int start = sight.first(t0) / WIDTH * WIDTH, stop = sight.end(t_last);
    const auto load_keys = [&](int s0, int buffer) {
        load_tile<E, D, WIDTH>(k_tiles + buffer * WIDTH * LD, k, k_row, s0, S, d);
        load_tile<E, D, WIDTH>(v_tiles + buffer * WIDTH * LD, v, v_row, s0, S, d);
    };
    load_tile<E, D, ROWS>(q_tile, q + b * q_batch + h * q_head, q_row, t0, T, d);
    load_tile<E, D, ROWS>(g_tile, g + b * g_batch + h * g_head, g_row, t0, T, d);
    if (start < stop) load_keys(start, 0);
    cp_async_commit();
    for (int s0 = start, buffer = 0; s0 < stop; s0 += WIDTH, buffer ^= 1) {
        if (s0 + WIDTH < stop) load_keys(s0 + WIDTH, buffer ^ 1);
        cp_async_commit();
        if constexpr (DROPOUT) draw_keep<ROWS, WIDTH>(keep, dropout, h, T, S, t0, s0);
        cp_async_wait<1>();
        __syncthreads();  // the tile has arrived

        float s[WIDTH / 8][4] = {}, ds[WIDTH / 8][4] = {};
        add_rows_by_rows<E, D>(s, q_tile + own * LD, k_tiles + buffer * WIDTH * LD);
        add_rows_by_rows<E, D>(ds, g_tile + own * LD, v_tiles + buffer * WIDTH * LD);
        const bool all = sight.sees_all(t0, t_last, s0, s0 + WIDTH - 1);
#pragma unroll
        for (int j = 0; j < WIDTH / 8; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int r = own + lane / 4 + i / 2 * 8, c = 8 * j + lane % 4 * 2 + i % 2;  // query t0 + r, key s0 + c
                const bool seen = all || sight.sees(t0 + r, s0 + c);
                const float e = seen ? Element<E>::exp2(fmaf(s[j][i], exponent, -L[i / 2])) : 0.f;
                float m = 1.f;
                if constexpr (DROPOUT) m = keep[r * (WIDTH + 4) + c] ? dropout.factor : 0.f;
                ds[j][i] = e * (ds[j][i] * m - delta[i / 2]);
            }
        add_product<E, D>(sum, ds, k_tiles + buffer * WIDTH * LD);
        __syncthreads();  // the tile may be overwritten
    }
    store_gradient<D>(dq + b * dq_batch + h * dq_head, dq_row, sum, t0 + own, T, d, scale, add_dq);
}
