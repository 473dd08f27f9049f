// The element-wise parts of Muon, optim/rules/muon.py; the products between them are a BLAS's.

// With fresh = (1 - momentum) scale grad:  buffer = momentum buffer + fresh,
// out = old buffer + new_part fresh, where (old, new_part) is (momentum, 1) for Nesterov's momentum, else (1, 0).
__global__ void __launch_bounds__(256)
muon_direction(const float* __restrict__ grad, float* __restrict__ buffer, float* __restrict__ out, long long n,
               float momentum, float grad_factor, float old, float new_part, const float* __restrict__ on_device) {
    // A factor on the device has not been looked at by anybody: NaN or infinity must not reach buffer and weights.
    if (on_device && !isfinite(*on_device)) return;
    if (on_device) grad_factor *= *on_device;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
        const float fresh = grad_factor * grad[i], b = momentum * buffer[i] + fresh;
        buffer[i] = b;
        out[i] = old * b + new_part * fresh;
    }
}

// x /= max(sqrt(squares), eps), without a number that has to travel to the host.
__global__ void __launch_bounds__(256)
muon_normalise(float* __restrict__ x, const double* __restrict__ squares, long long n, float eps) {
    const float factor = 1.f / fmaxf((float)sqrt(squares[0]), eps);
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        x[i] *= factor;
}

// w = decay w - rate step
__global__ void __launch_bounds__(256)
muon_step(float* __restrict__ weight, const float* __restrict__ step, long long n, float decay, float rate,
          const float* __restrict__ on_device, const double* __restrict__ late) {
    if (on_device && !isfinite(*on_device)) return;
    if (late) rate = (float)late[0], decay = (float)late[1];  // a graph would repeat those of its first launch
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
        weight[i] = decay * weight[i] - rate * step[i];
}
