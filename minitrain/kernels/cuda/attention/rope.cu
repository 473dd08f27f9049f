// Rotary position embedding, ops/attention/rope.py. Elements i and i + D/2 of a head are a point in a plane, which is
// rotated by the angle position * frequency[i].

// cos, sin: (rows, half) of each position's angles. Angles are double: float would give neighbours at far positions
// equal ones. frequencies: (half,), or null for base^(-i / half).
__global__ void __launch_bounds__(128)
rope_tables(const long long* __restrict__ positions, const double* __restrict__ frequencies, float* __restrict__ cosines,
            float* __restrict__ sines, int rows, int half, double base, double scaling) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x, row = at / half, i = at % half;
    if (row >= rows) return;
    const double frequency = frequencies ? frequencies[i] : pow(base, -(double)i / half);
    const double angle = positions[row] / scaling * frequency;
    cosines[at] = (float)cos(angle);
    sines[at] = (float)sin(angle);
}

// out = x rotated by `sign` times the angle. x and out: (B, T, H, D) with strides in elements, for they may be slices of
// packed heads; the elements of a head are neighbours. A block for each of the B T places;
// samples share the tables if these have T rows.
__global__ void __launch_bounds__(256)
rope_rotate(const float* x, const float* __restrict__ cosines, const float* __restrict__ sines, float* out, int T, int H,
            int half, int table_rows, long long x_b, long long x_t, long long x_h, long long out_b, long long out_t,
            long long out_h, float sign, int accumulate) {
    const int b = blockIdx.x / T, t = blockIdx.x % T;
    const float* c = cosines + (size_t)(blockIdx.x % table_rows) * half;
    const float* s = sines + (size_t)(blockIdx.x % table_rows) * half;
    const float* from = x + b * x_b + t * x_t;
    float* to = out + b * out_b + t * out_t;
    for (int at = threadIdx.x; at < H * half; at += blockDim.x) {
        const int h = at / half, i = at % half;
        const float first = from[h * x_h + i], second = from[h * x_h + i + half];
        float a = first * c[i] - sign * second * s[i], z = sign * first * s[i] + second * c[i];
        float *to_first = to + h * out_h + i, *to_second = to_first + half;
        if (accumulate) {
            a += *to_first;
            z += *to_second;
        }
        *to_first = a;
        *to_second = z;
    }
}
