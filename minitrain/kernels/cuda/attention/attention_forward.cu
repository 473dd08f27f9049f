// Attention, forward: ops/attention/attention.py on tensor cores.
//
// The reference computes the scores S = scale Q K^T (T, S), their softmax P, and O = P V. The scores of a long text
// fill the memory, and reading them back takes longer than the products. FlashAttention (Dao et al., 2022,
// arXiv:2205.14135; its second version, 2023, arXiv:2307.08691) never writes them:
//
//   a block of threads keeps ROWS queries of one head in shared memory; a warp owns 16 of them;
//   for each tile of WIDTH keys and values that they see:
//       scores = Q K^T             add_rows_by_rows   tensor cores, the result stays in registers
//       P, l, O = softmax so far   online_softmax     attention_softmax.cuh
//       O += P V                   add_product        P goes from registers to the tensor cores
//   O / l is the output, log l + m the log-sum-exp that the backward needs.
//
// While a tile is computed, cp.async copies the next one into the other of two buffers. One barrier says that a tile
// has arrived, a second one that all warps are done with it. Under a causal mask the last queries have most to do:
// blocks begin with them, so that none of these is left over at the end.
#include <attention_sight.cuh>
#include <attention_softmax.cuh>

// q (B, T, H, d), k and v (B, S, Hkv, d) by their strides in elements; out, kept (B, T, H, d) and lse (B, H, T)
// contiguous. `kept` is the output rounded to E, or null. grid: (blocks of ROWS queries, H, B).
template <class E, int D, bool DROPOUT>
__global__ void __launch_bounds__(32 * Tile<E, D>::WARPS)
attention_forward(const Stored<E>* __restrict__ q, long long q_batch, long long q_row, long long q_head,
                  const Stored<E>* __restrict__ k, long long k_batch, long long k_row, long long k_head,
                  const Stored<E>* __restrict__ v, long long v_batch, long long v_row, long long v_head,
                  const long long* __restrict__ lengths, float* __restrict__ out, Stored<E>* __restrict__ kept,
                  float* __restrict__ lse, int T, int S, int group, int d, int back, int ahead, float scale,
                  unsigned threshold, float factor, unsigned key0, unsigned key1, unsigned long long first_sample,
                  const unsigned* __restrict__ key) {
    constexpr int ROWS = Tile<E, D>::ROWS, WIDTH = Tile<E, D>::WIDTH, LD = Tile<E, D>::LD;
    extern __shared__ __align__(128) unsigned char smem[];
    auto* q_tile = reinterpret_cast<Stored<E>*>(smem);
    auto* k_tiles = q_tile + ROWS * LD;       // two buffers
    auto* v_tiles = k_tiles + 2 * WIDTH * LD;  // two buffers
    unsigned char* keep = reinterpret_cast<unsigned char*>(v_tiles + 2 * WIDTH * LD);

    const int b = blockIdx.z, h = blockIdx.y, H = gridDim.y, t0 = (gridDim.x - 1 - blockIdx.x) * ROWS;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16, t_last = min(t0 + ROWS, T) - 1;
    const Sight sight(T, S, lengths, b, back, ahead);
    const Dropout dropout(threshold, factor, key0, key1, first_sample + b, key);
    q += b * q_batch + h * q_head;
    k += b * k_batch + h / group * k_head;
    v += b * v_batch + h / group * v_head;

    float sum[D / 8][4] = {};
    RowState row;
    const int start = sight.first(t0) / WIDTH * WIDTH, stop = sight.end(t_last);
    const auto load_keys = [&](int s0, int buffer) {
        load_tile<E, D, WIDTH>(k_tiles + buffer * WIDTH * LD, k, k_row, s0, S, d);
        load_tile<E, D, WIDTH>(v_tiles + buffer * WIDTH * LD, v, v_row, s0, S, d);
    };
    load_tile<E, D, ROWS>(q_tile, q, q_row, t0, T, d);
    if (start < stop) load_keys(start, 0);
    cp_async_commit();
    for (int s0 = start, buffer = 0; s0 < stop; s0 += WIDTH, buffer ^= 1) {
        if (s0 + WIDTH < stop) load_keys(s0 + WIDTH, buffer ^ 1);
        cp_async_commit();
        if constexpr (DROPOUT) draw_keep<ROWS, WIDTH>(keep, dropout, h, T, S, t0, s0);
        cp_async_wait<1>();  // all but the tile that was asked for last
        __syncthreads();     // the tile has arrived

        float s[WIDTH / 8][4] = {};
        add_rows_by_rows<E, D>(s, q_tile + own * LD, k_tiles + buffer * WIDTH * LD);
        if (!sight.sees_all(t0, t_last, s0, s0 + WIDTH - 1)) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = t0 + own + lane / 4 + 8 * half, first = sight.first(t), end = sight.end(t);
#pragma unroll
                for (int j = 0; j < WIDTH / 8; ++j)
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        const int key = s0 + 8 * j + lane % 4 * 2 + i;
                        if (key < first || key >= end) s[j][2 * half + i] = -infinity();
                    }
            }
        }
        online_softmax<E>(s, sum, row, scale);
        if constexpr (DROPOUT) {  // after the softmax: its sum counts dropped probabilities, too
#pragma unroll
            for (int j = 0; j < WIDTH / 8; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int r = own + lane / 4 + i / 2 * 8, c = 8 * j + lane % 4 * 2 + i % 2;
                    s[j][i] = keep[r * (WIDTH + 4) + c] ? s[j][i] * dropout.factor : 0.f;
                }
        }
        add_product<E, D>(sum, s, v_tiles + buffer * WIDTH * LD);
        __syncthreads();  // the tile may be overwritten
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float total = row_sum(row.total[half]), inverse = reciprocal(total);
        const int t = t0 + own + lane / 4 + 8 * half;
        if (t >= T) continue;
        const long long at = ((static_cast<long long>(b) * T + t) * H + h) * d;
#pragma unroll
        for (int j = 0; j < D / 8; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int c = 8 * j + lane % 4 * 2 + i;
                const float x = sum[j][2 * half + i] * inverse;
                if (c < d) out[at + c] = x;
                if (c < d && kept) kept[at + c] = Element<E>::round(x);
            }
        if (lane % 4 == 0)
            lse[(static_cast<long long>(b) * H + h) * T + t] = log_sum_exp(row.top[half], total, scale);
    }
}
