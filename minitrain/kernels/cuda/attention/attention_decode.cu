// Attention of few queries over many kept keys, as each step of generation needs it.
//
// One query gives a block of the forward almost nothing to multiply, and a text alone gives one block a head. The time
// goes into reading keys and values, which takes the whole card. So (Flash-Decoding: Dao, Haziza, Massa and Sizov,
// 2023):
//
//     attention_split     a warp takes SPAN keys of one key head, and all queries of the group that shares it: these
//                         are the rows of one 16-row product, and each key is read once for all of them
//     attention_combine   adds the parts up:  out = sum_i w_i out_i / sum_i w_i,   w_i = exp(L_i - max L)
//
// A span begins at a multiple of SPAN keys, wherever the queries stand and however many there are, and the parts are
// added in their order. Rows of a product do not mix, and a tile out of a row's sight adds zeros. So a row has the same
// bits whatever other queries, other samples, or later keys there are.
#include <attention_sight.cuh>
#include <attention_softmax.cuh>

constexpr int SPAN = 128;    // keys of a part; a multiple of each tile's width
constexpr int QUERIES = 16;  // of a key head: T * group at most

// q, k, v by their strides in elements, as in the forward. Query r of a key head is time r / group, head r % group of
// the group. parts (B, Hkv, spans, T * group, d), part_lse (B, Hkv, spans, T * group). grid: (spans, Hkv, B), one warp.
template <class E, int D>
__global__ void __launch_bounds__(32)
attention_split(const Stored<E>* __restrict__ q, long long q_batch, long long q_row, long long q_head,
                const Stored<E>* __restrict__ k, long long k_batch, long long k_row, long long k_head,
                const Stored<E>* __restrict__ v, long long v_batch, long long v_row, long long v_head,
                const long long* __restrict__ lengths, float* __restrict__ parts, float* __restrict__ part_lse,
                int T, int S, int group, int d, int back, int ahead, float scale) {
    constexpr int WIDTH = Tile<E, D>::WIDTH, LD = Tile<E, D>::LD, VECTOR = Tile<E, D>::VECTOR;
    extern __shared__ __align__(128) unsigned char smem[];
    auto* q_tile = reinterpret_cast<Stored<E>*>(smem);
    auto* k_tiles = q_tile + QUERIES * LD;     // two buffers
    auto* v_tiles = k_tiles + 2 * WIDTH * LD;  // two buffers

    const int b = blockIdx.z, lane = threadIdx.x, n = T * group, span = blockIdx.x * SPAN;
    const Sight sight(T, S, lengths, b, back, ahead);
    q += b * q_batch + static_cast<long long>(blockIdx.y) * group * q_head;
    k += b * k_batch + blockIdx.y * k_head;
    v += b * v_batch + blockIdx.y * v_head;

    float sum[D / 8][4] = {};
    RowState row;
    const int start = max(span, sight.first(0) / WIDTH * WIDTH), stop = min(span + SPAN, sight.end(T - 1));
    const auto load_keys = [&](int s0, int buffer) {
        load_tile<E, D, WIDTH>(k_tiles + buffer * WIDTH * LD, k, k_row, s0, S, d);
        load_tile<E, D, WIDTH>(v_tiles + buffer * WIDTH * LD, v, v_row, s0, S, d);
    };
    for (int i = lane; i < QUERIES * (D / VECTOR); i += 32) {
        const int r = i / (D / VECTOR), c = i % (D / VECTOR) * VECTOR;
        const bool inside = r < n && c < d;
        cp_async16(q_tile + r * LD + c, q + (inside ? r / group * q_row + r % group * q_head + c : 0), inside);
    }
    if (start < stop) load_keys(start, 0);
    cp_async_commit();
    for (int s0 = start, buffer = 0; s0 < stop; s0 += WIDTH, buffer ^= 1) {
        if (s0 + WIDTH < stop) load_keys(s0 + WIDTH, buffer ^ 1);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();  // the tile has arrived

        float s[WIDTH / 8][4] = {};
        add_rows_by_rows<E, D>(s, q_tile, k_tiles + buffer * WIDTH * LD);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int t = (lane / 4 + 8 * half) / group, first = sight.first(t), end = sight.end(t);
#pragma unroll
            for (int j = 0; j < WIDTH / 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int key = s0 + 8 * j + lane % 4 * 2 + i;
                    if (key < first || key >= end) s[j][2 * half + i] = -infinity();
                }
        }
        online_softmax<E>(s, sum, row, scale);
        add_product<E, D>(sum, s, v_tiles + buffer * WIDTH * LD);
        __syncthreads();  // the tile may be overwritten
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float total = row_sum(row.total[half]), inverse = reciprocal(total);
        const int r = lane / 4 + 8 * half;
        if (r >= n) continue;
        const long long at = ((static_cast<long long>(b) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * n + r;
#pragma unroll
        for (int j = 0; j < D / 8; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int c = 8 * j + lane % 4 * 2 + i;
                if (c < d) parts[at * d + c] = sum[j][2 * half + i] * inverse;
            }
        if (lane % 4 == 0) part_lse[at] = log_sum_exp(row.top[half], total, scale);
    }
}

// out, kept (B, T, H, d) and lse (B, H, T), as in the forward. grid: (T * group, Hkv, B); a thread takes columns.
template <class E>
__global__ void __launch_bounds__(128)
attention_combine(const float* __restrict__ parts, const float* __restrict__ part_lse, float* __restrict__ out,
                  Stored<E>* __restrict__ kept, float* __restrict__ lse, int spans, int T, int group, int d) {
    const int r = blockIdx.x, n = gridDim.x, b = blockIdx.z, t = r / group, H = gridDim.y * group;
    const int h = blockIdx.y * group + r % group;
    const long long first = (static_cast<long long>(b) * gridDim.y + blockIdx.y) * spans * n + r;
    float top = -infinity();
    for (int i = 0; i < spans; ++i) top = fmaxf(top, part_lse[first + static_cast<long long>(i) * n]);
    const float shift = top == -infinity() ? 0.f : top;
    const long long at = ((static_cast<long long>(b) * T + t) * H + h) * d;
    for (int c = threadIdx.x; c < d; c += blockDim.x) {
        float sum = 0.f, total = 0.f;
        for (int i = 0; i < spans; ++i) {
            const long long part = first + static_cast<long long>(i) * n;
            const float weight = expf(part_lse[part] - shift);
            sum = fmaf(weight, parts[part * d + c], sum);
            total += weight;
        }
        const float x = sum * reciprocal(total);
        out[at + c] = x;
        if (kept) kept[at + c] = Element<E>::round(x);
        if (c == 0) lse[(static_cast<long long>(b) * H + h) * T + t] = total == 0.f ? -infinity() : top + logf(total);
    }
}
