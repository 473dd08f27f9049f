// Which keys a query may attend to, and which probabilities are dropped. Shared by all kernels of attention.
//
// A query's position among the keys is counted from the end (ops/attention/attention_scores.py): query t of T stands at
// key t + S - T of S. It sees the keys from `first(t)` up to, and without, `end(t)`. Both grow with t. So a block of
// queries sees the keys from the first query's first to the last query's end, and tiles outside are never read.
#pragma once
#include <philox.cuh>

struct Sight {
    int lead;   // S - T: how far the first query stands after the first key
    int keys;   // keys of this sample; those after them are padding
    int back;   // keys that a query sees up to its own position, itself included
    int ahead;  // keys that it sees from its own position on, itself included: 1 if causal

    __device__ Sight(int T, int S, const long long* lengths, int sample, int back, int ahead)
        : lead(S - T), keys(S), back(back), ahead(ahead) {
        if (lengths) keys = static_cast<int>(max(0ll, min(static_cast<long long>(S), lengths[sample])));
    }
    __device__ int first(int t) const { return max(0, t + lead - back + 1); }
    __device__ int end(int t) const { return min(keys, t + lead + ahead); }

    // The queries that see a key of [key, last): from `first_query` up to, and without, `end_query`.
    __device__ int first_query(int key) const { return max(0, key - ahead - lead + 1); }
    __device__ int end_query(int T, int last) const { return min(T, last - lead + back - 1); }

    __device__ bool sees(int t, int key) const { return key >= first(t) && key < end(t); }
    // Whether each query of [t, t_last] sees each key of [key, key_last]: then the tile needs no mask.
    __device__ bool sees_all(int t, int t_last, int key, int key_last) const {
        return key >= first(t_last) && key_last < end(t);
    }
};

// Dropout of probabilities. Element (h, t, s) of a sample has the random word of its place in (H, T, S), as
// `minitrain/random.py` counts. Forward and backward draw the same words, so no mask is stored.
struct Dropout {
    unsigned threshold;  // an element is kept if its word is at least this
    float factor;        // 1 / (1 - p)
    unsigned key0, key1;
    unsigned long long sample;

    // `key`: where the two words of the key are in a captured step, which would repeat numbers of the host; or null.
    __device__ Dropout(unsigned threshold, float factor, unsigned k0, unsigned k1, unsigned long long sample,
                       const unsigned* key)
        : threshold(threshold), factor(factor), key0(key ? key[0] : k0), key1(key ? key[1] : k1), sample(sample) {}
};

// keep[r * (COLUMNS + 4) + c]: whether the probability of query t + r for key + c is kept. One call of Philox gives
// four words for four neighbours in memory; the first of a row rarely begins such a group, so there is one group more.
template <int ROWS, int COLUMNS>
__device__ void draw_keep(unsigned char* keep, const Dropout& dropout, int head, int T, int S, int t, int key) {
    constexpr int GROUPS = COLUMNS / 4 + 1;
    for (int i = threadIdx.x; i < ROWS * GROUPS; i += blockDim.x) {
        const int r = i / GROUPS;
        const unsigned long long element = (static_cast<unsigned long long>(head) * T + t + r) * S + key;
        const unsigned long long group = element / 4 + i % GROUPS;
        const Words words = philox(static_cast<unsigned>(group), dropout.sample, dropout.key0, dropout.key1);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int c = static_cast<int>(static_cast<long long>(group * 4 + e - element));
            if (c >= 0 && c < COLUMNS) keep[r * (COLUMNS + 4) + c] = words.w[e] >= dropout.threshold;
        }
    }
}
