// The softmax of a row whose scores arrive a tile at a time.
//
// Milakov and Gimelshein, Online normalizer calculation for softmax, 2018, arXiv:1805.02867: keep the largest score so
// far, m, and the sum l of exp(score - m). When a tile brings a larger score, all that was summed under the old maximum
// is scaled by exp(m_old - m_new). Dao et al. (FlashAttention, 2022, arXiv:2205.14135) scale the weighted sum of values
// along with it, so that scores need not be kept.
//
// Powers of 2 take one instruction, so scores are multiplied by scale * log2(e) on their way into the exponent.
#pragma once
#include <attention_tiles.cuh>

constexpr float LOG2E = 1.44269504088896341f;
__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// What a warp knows of its 16 rows; lane l holds rows l/4 and l/4 + 8, as in attention_tiles.cuh.
struct RowState {
    float top[2] = {-infinity(), -infinity()};  // the largest score so far, not scaled
    float total[2] = {0.f, 0.f};  // of this lane's columns alone: the four lanes of a row add up at the end
};

// The maximum or the sum over the four lanes that share a row.
__device__ __forceinline__ float row_maximum(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Turns the scores of a tile into exp(score - maximum), and scales what was summed before.
//   s (16, 8 N): scores, -inf where a query may not attend; sum (16, 8 M): the weighted sum of values so far.
template <class E, int N, int M>
__device__ __forceinline__ void online_softmax(float (&s)[N][4], float (&sum)[M][4], RowState& row, float scale) {
    const float factor = scale * LOG2E;
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // the two rows of this lane
        float top = row.top[half];
#pragma unroll
        for (int j = 0; j < N; ++j) top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
        top = row_maximum(top);
        const float shift = top == -infinity() ? 0.f : top * factor;  // nothing seen yet: exp2(-inf - 0) is 0
        const float rescale = Element<E>::exp2(fmaf(row.top[half], factor, -shift));
        row.top[half] = top;
        float total = row.total[half] * rescale;
#pragma unroll
        for (int j = 0; j < N; ++j)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
                s[j][i] = Element<E>::exp2(fmaf(s[j][i], factor, -shift));
                total += s[j][i];
            }
        row.total[half] = total;
#pragma unroll
        for (int j = 0; j < M; ++j) {
            sum[j][2 * half] *= rescale;
            sum[j][2 * half + 1] *= rescale;
        }
    }
}

// The log-sum-exp of a row's scores, and the factor that turns its sum into a mean. A row that saw nothing gets -inf
// and 0: its output is zero.
__device__ __forceinline__ float log_sum_exp(float top, float total, float scale) {
    return total == 0.f ? -infinity() : top * scale + logf(total);
}
__device__ __forceinline__ float reciprocal(float total) { return total == 0.f ? 0.f : 1.f / total; }
