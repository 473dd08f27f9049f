// Adam and AdamW, optim/rules/adam.py, on flat buffers. Each weight, gradient and moment is touched once; the bandwidth of
// the memory is the limit.
#include <vector.cuh>

// With g = scale grad + penalty w:  m += (1 - beta1) (g - m),  v += (1 - beta2) (g^2 - v),
// w = decay w - (rate m + grad_rate g) / (sqrt(v) correction + eps). n is a multiple of V.
template <int V>
__global__ void __launch_bounds__(256)
adam_update(float* __restrict__ weight, const float* __restrict__ grad, float* __restrict__ exp_avg,
            float* __restrict__ exp_avg_sq, long long n, float rate, float grad_rate, float decay, float penalty,
            float one_minus_beta1, float one_minus_beta2, float eps, float correction, float scale,
            const float* __restrict__ on_device, const double* __restrict__ late) {
    // A factor on the device has not been looked at by anybody: NaN or infinity must not reach the weights.
    if (on_device) scale = *on_device;
    if (!isfinite(scale)) return;
    if (late) {  // a graph would repeat the numbers of its first launch
        rate = (float)late[0], grad_rate = (float)late[1], decay = (float)late[2];
        correction = (float)(1 / late[3]);
    }
    const long long step = (long long)gridDim.x * blockDim.x * V;
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += step) {
        Pack<V> w = load<V>(weight + i), m = load<V>(exp_avg + i), v = load<V>(exp_avg_sq + i);
        const Pack<V> d = load<V>(grad + i);
        for (int k = 0; k < V; ++k) {
            const float g = d.v[k] * scale + penalty * w.v[k];
            // Not beta m + (1 - beta) g: rounded to float, the two factors do not add up to 1.
            m.v[k] += one_minus_beta1 * (g - m.v[k]);
            v.v[k] += one_minus_beta2 * (g * g - v.v[k]);
            w.v[k] = w.v[k] * decay - (rate * m.v[k] + grad_rate * g) / (sqrtf(v.v[k]) * correction + eps);
        }
        store(weight + i, w);
        store(exp_avg + i, m);
        store(exp_avg_sq + i, v);
    }
}
