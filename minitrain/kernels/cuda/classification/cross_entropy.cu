// Softmax cross-entropy, ops/classification/cross_entropy.py. A block computes one row of logits (V of them).
//
// The forward keeps of each row the largest logit and the sum of exponentials, found in one pass: a thread that meets a
// larger logit scales its sum so far down ("online softmax", Milakov and Gimelshein, 2018, arXiv:1805.02867). The backward
// computes the probabilities again from these two, and may write the gradient over the logits.
#include <reduce.cuh>

// The largest of some numbers, and the sum of exp(x - largest).
struct Softmax {
    float largest = -infinity(), sum = 0.f;

    __device__ __forceinline__ void add(float x) {
        if (x > largest) {
            sum *= expf(largest - x);
            largest = x;
        }
        sum += x == -infinity() ? 0.f : expf(x - largest);
    }
};

// logits: (rows, V); targets, highest, total, losses, counts: (rows,); class_weight: (V,) or null.
// A target that is neither a class nor `ignore` makes the loss NaN. Block: a number of whole warps.
__global__ void __launch_bounds__(512)
cross_entropy_forward(const float* __restrict__ logits, const long long* __restrict__ targets,
                      const float* __restrict__ class_weight, float* __restrict__ highest, float* __restrict__ total,
                      float* __restrict__ losses, float* __restrict__ counts, int V, float smoothing, long long ignore,
                      float z_loss) {
    __shared__ float scratch[32];
    const size_t r = blockIdx.x;
    const float* z = logits + r * V;
    Softmax mine;
    for (int c = threadIdx.x; c < V; c += blockDim.x) mine.add(z[c]);
    const float top = block_max(mine.largest, scratch);
    // A row of -inf has no softmax, and NaN says so; a thread without logits adds nothing.
    const float scaled = mine.sum * expf(mine.largest - top);
    const float sum = block_sum(mine.largest == -infinity() && top != -infinity() ? mine.sum : scaled, scratch);

    float gap = 0.f, weights = 0.f;  // sums over classes of w (top - z) and of w, for label smoothing
    if (smoothing > 0.f) {
        for (int c = threadIdx.x; c < V; c += blockDim.x) {
            const float w = class_weight ? class_weight[c] : 1.f;
            gap += w == 0.f ? 0.f : w * (top - z[c]);
            weights += w;
        }
        gap = block_sum(gap, scratch);
        weights = block_sum(weights, scratch);
    }
    if (threadIdx.x != 0) return;
    highest[r] = top;
    total[r] = sum;
    const long long y = targets[r];
    const bool counted = y != ignore, known = y >= 0 && y < V;
    const float w = !counted ? 0.f : !known ? not_a_number() : class_weight ? class_weight[y] : 1.f;
    float loss = 0.f;
    if (counted && known) {
        const float log_sum = logf(sum);
        loss = w * ((1.f - smoothing) * (log_sum + (top - z[y])) + z_loss * (log_sum + top) * (log_sum + top));
        if (smoothing > 0.f) loss += smoothing * (weights * log_sum + gap) / V;
    }
    losses[r] = counted && !known ? w : loss;
    counts[r] = w;
}

// dlogits[c] = d (p[c] (W + 2 z_loss w[y] L) - target[c]), see the reference; it may be the memory of the logits.
// d is dtotal[r] if there is one for each row, dtotal[0] if there is one in memory, else `dtotal_value`.
// weight_sum: (1,) the sum of class_weight. Block: any number of threads.
__global__ void __launch_bounds__(512)
cross_entropy_backward(const float* dtotal, float dtotal_value, int each, const float* logits,
                       const float* __restrict__ highest, const float* __restrict__ total,
                       const long long* __restrict__ targets, const float* __restrict__ class_weight,
                       const float* __restrict__ weight_sum, float* dlogits, int V, float smoothing, long long ignore,
                       float z_loss, int accumulate) {
    const size_t r = blockIdx.x;
    const long long y = targets[r];
    const float* z = logits + r * V;
    float* d = dlogits + r * V;
    if (y == ignore) {  // no gradient, even where the logits are not finite
        for (int c = threadIdx.x; c < V && !accumulate; c += blockDim.x) d[c] = 0.f;
        return;
    }
    const bool known = y >= 0 && y < V;
    const float upstream = dtotal ? dtotal[each ? r : 0] : dtotal_value;
    const float w = !known ? not_a_number() : class_weight ? class_weight[y] : 1.f;
    const float even = smoothing / V, top = highest[r], sum = total[r], hit = (1.f - smoothing) * w;
    float factor = hit + even * (class_weight ? weight_sum[0] : (float)V);
    if (z_loss > 0.f) factor += 2.f * z_loss * w * (logf(sum) + top);
    factor /= sum;
    for (int c = threadIdx.x; c < V; c += blockDim.x) {
        float g = factor * expf(z[c] - top) - even * (class_weight ? class_weight[c] : 1.f);
        if (c == y) g -= hit;
        d[c] = accumulate ? d[c] + upstream * g : upstream * g;
    }
}

// The total and the count of the losses, added in double precision by one block.
__global__ void __launch_bounds__(512)
cross_entropy_total(const float* __restrict__ losses, const float* __restrict__ counts, float* __restrict__ total,
                    double* __restrict__ count, int rows) {
    __shared__ double scratch[32];
    double loss = 0, counted = 0;
    for (int r = threadIdx.x; r < rows; r += blockDim.x) {
        loss += losses[r];
        counted += counts[r];
    }
    loss = block_sum(loss, scratch);
    counted = block_sum(counted, scratch);
    if (threadIdx.x == 0) {
        total[0] = (float)loss;
        count[0] = counted;
    }
}
