// Operands of 8 bits, backend/cuda/float8.py: the scale of an array, and its rounded numbers as they lie or turned. F is what
// comes before the product, GELU or nothing, so that an activation exists in 8 bits alone.
//
// The largest magnitude is found among the bits of the numbers as whole numbers: these have the order of the magnitudes,
// NaN above all, and a maximum does not depend on the order of the threads.
#include <activations.cuh>
#include <float8.cuh>
#include <reduce.cuh>

struct Plain;
template <class F> __device__ __forceinline__ float before_product(float x) { return F::at(x).value; }
template <> __device__ __forceinline__ float before_product<Plain>(float x) { return x; }

#define FOR_EACH_PACK(i, n, V)                                                                                        \
    for (long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V; i < n; i += (long long)gridDim.x * blockDim.x * V)

// The largest of a block, in its first warp.
__device__ __forceinline__ unsigned block_largest(unsigned bits, unsigned* scratch) {
    bits = __reduce_max_sync(ALL_LANES, bits);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = bits;
    __syncthreads();
    return __reduce_max_sync(ALL_LANES, threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0u);
}

// partial[block] = the bits of the largest |f(x)| that the block has seen
template <class F, class T, int V>
__global__ void __launch_bounds__(256) largest(const T* __restrict__ x, unsigned* __restrict__ partial, long long n) {
    __shared__ unsigned scratch[32];
    unsigned bits = 0;
    FOR_EACH_PACK(i, n, V) {
        const Pack<V> a = load_wide<V>(x + i);
        for (int k = 0; k < V; ++k) bits = max(bits, __float_as_uint(before_product<F>(a.v[k])) & 0x7fffffffu);
    }
    bits = block_largest(bits, scratch);
    if (threadIdx.x == 0) partial[blockIdx.x] = bits;
}

// scale[0] = the scale of the array with these maxima
template <class Form>
__global__ void __launch_bounds__(256) scale_of(const unsigned* __restrict__ partial, float* __restrict__ scale, int parts) {
    __shared__ unsigned scratch[32];
    unsigned bits = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x) bits = max(bits, partial[i]);
    bits = block_largest(bits, scratch);
    if (threadIdx.x == 0) scale[0] = float8_scale<Form>(bits);
}

// codes = f(x) / scale, rounded. A scale is a power of two, so multiplying by its inverse is exact.
template <class Form, class F, class T, int V>
__global__ void __launch_bounds__(256)
round_float8(const T* __restrict__ x, const float* __restrict__ scale, unsigned char* __restrict__ codes, long long n) {
    const float inverse = 1.f / scale[0];
    FOR_EACH_PACK(i, n, V) {
        const Pack<V> a = load_wide<V>(x + i);
        Stored<unsigned char, V> stored;
        for (int k = 0; k < V; ++k) stored.v[k] = to_float8<Form>(before_product<F>(a.v[k]) * inverse);
        *reinterpret_cast<Stored<unsigned char, V>*>(codes + i) = stored;
    }
}

// The same for x (rows, columns) as turned (columns, padded), whose rows end in zeros; and as it lies where `codes` is
// wanted. A block turns 128 rows of 32 columns in shared memory: it reads and writes whole sectors of 32 bytes.
template <class Form, class F, class T>
__global__ void __launch_bounds__(256)
turn_float8(const T* __restrict__ x, const float* __restrict__ scale, unsigned char* __restrict__ codes,
            unsigned char* __restrict__ turned, int rows, int columns, int padded) {
    __shared__ __align__(16) unsigned char tile[32][132];  // 4 more than 128: neighbouring columns lie in other banks
    const float inverse = 1.f / scale[0];
    const int first = blockIdx.y * 128, left = blockIdx.x * 32, c = left + threadIdx.x;
    for (int i = threadIdx.y; i < 128; i += 8) {
        const int r = first + i;
        unsigned char code = 0;
        if (r < rows && c < columns) {
            const size_t at = (size_t)r * columns + c;
            code = to_float8<Form>(before_product<F>(to_float(x[at])) * inverse);
            if (codes) codes[at] = code;
        }
        tile[threadIdx.x][i] = code;
    }
    __syncthreads();
    const int r = first + 4 * threadIdx.x;
    for (int i = threadIdx.y; i < 32; i += 8)
        if (left + i < columns && r < padded)  // padded is a multiple of 16, so all four or none are inside
            *reinterpret_cast<unsigned*>(turned + (size_t)(left + i) * padded + r) =
                *reinterpret_cast<const unsigned*>(&tile[i][4 * threadIdx.x]);
}
