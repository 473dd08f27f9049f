// Lion, optim/rules/lion.py, on flat buffers.
#include <vector.cuh>

// With g = scale grad:  w = decay w - rate sign(beta1 m + (1 - beta1) g),  m += (1 - beta2) (g - m). n: a multiple of V.
template <int V>
__global__ void __launch_bounds__(256)
lion_update(float* __restrict__ weight, const float* __restrict__ grad, float* __restrict__ exp_avg, long long n,
            float rate, float decay, float beta1, float one_minus_beta1, float one_minus_beta2, float scale,
            const float* __restrict__ on_device, const double* __restrict__ late) {
    // A factor on the device has not been looked at by anybody: NaN or infinity must not reach the weights.
    if (on_device) scale = *on_device;
    if (!isfinite(scale)) return;
    if (late) rate = (float)late[0], decay = (float)late[1];  // a graph would repeat those of its first launch
    const long long step = (long long)gridDim.x * blockDim.x * V;
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += step) {
        Pack<V> w = load<V>(weight + i), m = load<V>(exp_avg + i);
        const Pack<V> d = load<V>(grad + i);
        for (int k = 0; k < V; ++k) {
            const float g = d.v[k] * scale, direction = beta1 * m.v[k] + one_minus_beta1 * g;
            const float sign = direction > 0.f ? 1.f : direction < 0.f ? -1.f : direction;  // NaN stays NaN
            w.v[k] = w.v[k] * decay - rate * sign;
            m.v[k] += one_minus_beta2 * (g - m.v[k]);
        }
        store(weight + i, w);
        store(exp_avg + i, m);
    }
}
