// Element-wise activations, ops/activations/: gelu.py and silu.py by activation_*, swiglu.py and geglu.py by gated_*.
//
// Loops over the elements of flat arrays. The threads of all blocks take V neighbouring elements in turn ("grid-stride
// loop"), so any number of blocks is right. n is a multiple of V.
#include <activations.cuh>
#include <vector.cuh>

#define FOR_EACH_PACK(i, n, V)                                                                                        \
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += (long long)gridDim.x * blockDim.x * V)

template <int V>
__device__ __forceinline__ void deliver(float* out, Pack<V> result, int accumulate) {
    if (accumulate) {
        const Pack<V> old = load<V>(out);
        for (int k = 0; k < V; ++k) result.v[k] += old.v[k];
    }
    store(out, result);
}

// out = f(x)
template <class F, int V>
__global__ void __launch_bounds__(256) activation_forward(const float* __restrict__ x, float* __restrict__ out, long long n) {
    FOR_EACH_PACK(i, n, V) {
        Pack<V> a = load<V>(x + i);
        for (int k = 0; k < V; ++k) a.v[k] = F::at(a.v[k]).value;
        store(out + i, a);
    }
}

// dx = dout * f'(x), added to dx if `accumulate`
template <class F, int V>
__global__ void __launch_bounds__(256)
activation_backward(const float* __restrict__ dout, const float* __restrict__ x, float* __restrict__ dx, long long n,
                    int accumulate) {
    FOR_EACH_PACK(i, n, V) {
        Pack<V> a = load<V>(x + i);
        const Pack<V> d = load<V>(dout + i);
        for (int k = 0; k < V; ++k) a.v[k] = d.v[k] * F::at(a.v[k]).slope;
        deliver(dx + i, a, accumulate);
    }
}

// out = f(gate) * up
template <class F, int V>
__global__ void __launch_bounds__(256)
gated_forward(const float* __restrict__ gate, const float* __restrict__ up, float* __restrict__ out, long long n) {
    FOR_EACH_PACK(i, n, V) {
        Pack<V> a = load<V>(gate + i);
        const Pack<V> b = load<V>(up + i);
        for (int k = 0; k < V; ++k) a.v[k] = F::at(a.v[k]).value * b.v[k];
        store(out + i, a);
    }
}

// dgate = dout * up * f'(gate), dup = dout * f(gate); a null gradient is not wanted
template <class F, int V>
__global__ void __launch_bounds__(256)
gated_backward(const float* __restrict__ dout, const float* __restrict__ gate, const float* __restrict__ up,
               float* __restrict__ dgate, float* __restrict__ dup, long long n, int accumulate_gate, int accumulate_up) {
    FOR_EACH_PACK(i, n, V) {
        const Pack<V> a = load<V>(gate + i), b = load<V>(up + i), d = load<V>(dout + i);
        Pack<V> da, db;
        for (int k = 0; k < V; ++k) {
            const Activation f = F::at(a.v[k]);
            da.v[k] = d.v[k] * b.v[k] * f.slope;
            db.v[k] = d.v[k] * f.value;
        }
        if (dgate) deliver(dgate + i, da, accumulate_gate);
        if (dup) deliver(dup + i, db, accumulate_up);
    }
}
