// Random keys of all layers from the key of a step, ops/linear/fold_keys.py.
#include <philox.cuh>

// root: (2,); paths: (count, depth, 3), where the third word is 3 behind the end of a path; keys: (count, 2). A thread
// follows one path.
__global__ void __launch_bounds__(32)
fold_keys(const unsigned* __restrict__ root, const unsigned* __restrict__ paths, unsigned* __restrict__ keys, int count,
          int depth) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    unsigned k0 = root[0], k1 = root[1];
    for (int part = 0; part < depth; ++part) {
        const unsigned* words = paths + (i * depth + part) * 3;
        if (words[2] == 3) break;
        // The counter of Key.fold: both words of the part, its kind, and a last word that no sample has.
        const Words folded = philox4(words[0], words[1], words[2], 0xFFFFFFFFu, k0, k1);
        k0 = folded.w[0];
        k1 = folded.w[1];
    }
    keys[2 * i] = k0;
    keys[2 * i + 1] = k1;
}
