// The lowest and the highest of some ids, kept beside what was seen before; see common/ids.py.
//
// One block: ids are few, and without atomics nothing has to be said about the order of blocks.
template <class Id>
__global__ void __launch_bounds__(1024)
watch_ids(const Id* __restrict__ ids, long long* __restrict__ low, long long* __restrict__ high, long long n,
          long long ignored) {
    __shared__ long long least[32], most[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    long long a = -(1ll << 62), b = -(1ll << 62);  // the largest of -id and of id
    for (long long i = threadIdx.x; i < n; i += blockDim.x) {
        const long long id = ids[i];
        if (id == ignored) continue;
        a = -id > a ? -id : a;
        b = id > b ? id : b;
    }
    for (int bit = 16; bit > 0; bit >>= 1) {
        const long long x = __shfl_xor_sync(0xffffffffu, a, bit), y = __shfl_xor_sync(0xffffffffu, b, bit);
        a = x > a ? x : a;
        b = y > b ? y : b;
    }
    if (lane == 0) least[warp] = a, most[warp] = b;
    __syncthreads();  // the warps' results are there
    if (threadIdx.x) return;
    for (int w = 1; w < warps; ++w) {
        a = least[w] > a ? least[w] : a;
        b = most[w] > b ? most[w] : b;
    }
    if (a > *low) *low = a;
    if (b > *high) *high = b;
}
