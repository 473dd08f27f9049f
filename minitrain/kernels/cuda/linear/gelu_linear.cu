// GELU on its way into a product, ops/linear/gelu_linear.py. T is the type of the product's operands, in which the hidden
// layer is kept too. The backward reads it once for both: the slope for dhidden, and the value for dweight.
#include <activations.cuh>
#include <half.cuh>

#define FOR_EACH_PACK(i, n, V)                                                                                        \
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += (long long)gridDim.x * blockDim.x * V)

// activation = f(hidden)
template <class F, class T, int V>
__global__ void __launch_bounds__(256) activate(const T* __restrict__ hidden, T* __restrict__ activation, long long n) {
    FOR_EACH_PACK(i, n, V) {
        Pack<V> a = load_wide<V>(hidden + i);
        for (int k = 0; k < V; ++k) a.v[k] = F::at(a.v[k]).value;
        store_rounded(activation + i, a);
    }
}

// dhidden = dactivation f'(hidden), added to dhidden if `accumulate`; activation = f(hidden). A null result is not wanted.
template <class F, class T, int V>
__global__ void __launch_bounds__(256)
activate_backward(const float* __restrict__ dactivation, const T* __restrict__ hidden, float* __restrict__ dhidden,
                  T* __restrict__ activation, long long n, int accumulate) {
    FOR_EACH_PACK(i, n, V) {
        Pack<V> a = load_wide<V>(hidden + i), d;
        if (dhidden) d = load<V>(dactivation + i);
        for (int k = 0; k < V; ++k) {
            const Activation f = F::at(a.v[k]);
            a.v[k] = f.value;
            if (dhidden) d.v[k] *= f.slope;
        }
        if (activation) store_rounded(activation + i, a);
        if (dhidden) {
            if (accumulate) {
                const Pack<V> old = load<V>(dhidden + i);
                for (int k = 0; k < V; ++k) d.v[k] += old.v[k];
            }
            store(dhidden + i, d);
        }
    }
}
