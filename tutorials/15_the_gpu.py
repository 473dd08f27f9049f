# %% [markdown]
# # 15. The GPU
#
# After this notebook you can
#
# - say how a GPU is programmed: grid, blocks, warps, lanes, and the two memories;
# - write attention as a kernel in which no matrix of weights exists, and let threads share what they load;
# - find a missing barrier, and say why a test on one machine may not;
# - say which lane of a warp holds which number of a tensor core's operands, and why that makes attention fit;
# - read minitrain's own kernel.
#
# You need [attention](05_attention.md), the roofline from [how fast code is made](12_how_fast_code_is_made.md), and to
# have seen some C. It takes about 60 minutes. You need no GPU: the kernels run on the CPU, in an *emulator* that
# minitrain's tests use. It compiles their own text with `g++`, so that must be installed. It finds mistakes. It says
# nothing about speed, and no time in this notebook is measured.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from ml_dtypes import bfloat16

from minitrain.backend import use_precision
from minitrain.backend.cuda.launch import Source, record_launches
from minitrain.kernels.cuda.attention.attention import attention_forward
from minitrain.testing.cuda import EmulatorError, emulate
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## The machine
#
# A CPU has a few cores, each of which does much to have its next number ready in time. A GPU has thousands of simple
# ones, and hides waiting in another way: when some threads wait for memory, others compute. So a program for it, a
# *kernel*, is the program of *one* thread, and thousands of threads run it.
#
# - 32 threads are a *warp*. They execute the same instruction at the same time. A thread is a *lane* of its warp.
# - Some warps are a *block*. Its threads can wait for each other (a *barrier*), and share a small fast memory.
# - All blocks are the *grid*. They know nothing of each other. They run in any order, many at a time.
#
# A thread finds its work by its number: `blockIdx.x`, `blockDim.x`, `threadIdx.x`. There are two memories. *Global*
# memory is large: that is where the arrays are. *Shared* memory belongs to a block. It has about 100 to 200 KiB, and
# is some ten times as fast.
#
# ## The reference
#
# One head of attention, without a mask, as you know it. $T$ queries and $S$ keys have the width $D$.

# %%
T, S, D = 100, 150, 16
rng = np.random.default_rng(0)
q, k, v = (rng.standard_normal((n, D)).astype(np.float32) for n in (T, S, S))
scale = 1 / math.sqrt(D)


def attention(q, k, v):
    scores = scale * q.astype(np.float64) @ k.T  # (T, S)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True) @ v  # (T, D)


expected = attention(q, k, v)

# %% [markdown]
# The scores are $T \times S$ numbers. With 8192 of each, one head of one sample fills 256 MiB, and the arithmetic
# waits while they go to memory and come back, twice. We want a kernel that never writes them.
#
# That is possible because a softmax can be computed *on the way*. Keep three things of the keys seen so far: the
# largest score $m$, the sum $l = \sum_s e^{x_s - m}$, and the weighted sum of values $o = \sum_s e^{x_s - m} v_s$.
# When a larger score comes, everything that was summed under the old maximum is too large by the same factor
# (Milakov and Gimelshein, 2018). At the end, the output is $o / l$.
#
# **Exercise 1.** Two threads have each seen half of the keys, and have $(m_1, l_1, o_1)$ and $(m_2, l_2, o_2)$. Write
# the function that returns $(m, l, o)$ of all keys. Generation does exactly this: the keys of a long text are split
# over the whole card, and the parts are added up.

# %%
x = np.array([1.0, 300.0, 2.0, 301.0, -5.0])  # the scores of five keys; their values:
values = np.random.default_rng(1).standard_normal((5, 3))


def part(x, values):
    m = x.max()
    return m, np.exp(x - m).sum(), np.exp(x - m) @ values


first, second = part(x[:3], values[:3]), part(x[3:], values[3:])

# %% tags=["folded"]
merging = Exercise(
    "merge",
    reference=lambda m1, l1, o1, m2, l2, o2: part(x, values),
    inputs=dict(zip(("m1", "l1", "o1", "m2", "l2", "o2"), (*first, *second), strict=True)),
    hints=[
        "The maximum of all is the larger one of the two maxima.",
        "A sum that was computed with the maximum m1 is multiplied by exp(m1 - m) to have the maximum m.",
        "m = max(m1, m2); l = l1 exp(m1 - m) + l2 exp(m2 - m); the same factors for o.",
    ],
    advice={
        "not finite": "exp of a large positive number overflows. Subtract the larger maximum, so that no exponent is "
        "positive.",
        "Result 1": "Is each sum multiplied by exp(its own maximum - the common one)?",
        "Result 2": "The weighted sums have the same factors as l.",
    },
)


# %% tags=["exercise"]
def merge(m1, l1, o1, m2, l2, o2): ...  # your turn: return m, l, o


merging.check(merge)


# %% tags=["solution"]
def merge(m1, l1, o1, m2, l2, o2):
    m = max(m1, m2)
    a, b = np.exp(m1 - m), np.exp(m2 - m)
    return m, a * l1 + b * l2, a * o1 + b * o2


merging.check(merge)

# %% tags=["hidden"]
merging.expect(lambda m1, l1, o1, m2, l2, o2: (max(m1, m2), l1 + l2, o1 + o2), "its own maximum")
merging.expect(
    lambda m1, l1, o1, m2, l2, o2: (max(m1, m2), np.exp(np.array([m1, m2]) - max(m1, m2)) @ [l1, l2], o1 + o2),
    "same factors",
)
merging.expect(lambda *parts: None, "not written yet")

# %% [markdown]
# ## A thread for each query
#
# Here is the first kernel. A thread takes a query and goes through all keys. `top`, `total` and `sum` are $m$, $l$ and
# $o$. They are local variables, so they live in registers.

# %%
simple = Source("simple.cu", """
constexpr int D = 16;

__global__ void attend(const float* q, const float* k, const float* v, float* out, int T, int S, float scale) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= T) return;  // the last block has more threads than there are queries left

    float top = -1e30f, total = 0.f, sum[D] = {};
    for (int s = 0; s < S; ++s) {
        float score = 0.f;
        for (int d = 0; d < D; ++d) score += q[t * D + d] * k[s * D + d];
        score *= scale;
        const float higher = fmaxf(top, score), rescale = expf(top - higher), p = expf(score - higher);
        top = higher;
        total = total * rescale + p;
        for (int d = 0; d < D; ++d) sum[d] = sum[d] * rescale + p * v[s * D + d];
    }
    for (int d = 0; d < D; ++d) out[t * D + d] = sum[d] / total;
}
""")
attend = simple.kernel("attend", "f4* q, f4* k, f4* v, f4* out, i4 T, i4 S, f4 scale")

# %% [markdown]
# The last line tells Python the types of the parameters; a compiler compares them with the kernel's own. A launch
# says how many blocks there are, and how many threads each block has.

# %%
out = np.empty_like(q)
threads = 64
blocks = math.ceil(T / threads)
with emulate():
    attend(blocks, threads, q, k, v, out, T, S, scale)
error = abs(out - expected).max()
print(f"{blocks} blocks of {threads} threads, largest error {error:.1e}")

# %% tags=["hidden"]
assert error < 1e-5

# %% [markdown]
# It is right, to {{ error:.0e | ≤ 1e-5 }}, and it is slow. Every thread reads every key and every value from global
# memory. (The caches of a GPU catch a part of this. Count as if there were none.)
#
# ## Threads that share
#
# The threads of a block all need the same keys. So let them load a *tile* of 32 keys and values into shared memory
# together, each thread a few numbers. Then each thread goes through the tile for its own query, and then comes the
# next tile. `__syncthreads()` is the barrier: no thread of the block goes on before all have come.

# %%
tiled_text = """
constexpr int D = 16, WIDTH = 32;

__global__ void attend(const float* q, const float* k, const float* v, float* out, int T, int S, float scale) {
    __shared__ float k_tile[WIDTH * D], v_tile[WIDTH * D];
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    float own[D] = {}, top = -1e30f, total = 0.f, sum[D] = {};
    for (int d = 0; d < D; ++d) own[d] = t < T ? q[t * D + d] : 0.f;  // no return: all threads must come to barriers

    for (int s0 = 0; s0 < S; s0 += WIDTH) {
        const int n = min(WIDTH, S - s0);  // the last tile may be shorter
        for (int i = threadIdx.x; i < n * D; i += blockDim.x) {
            k_tile[i] = k[s0 * D + i];
            v_tile[i] = v[s0 * D + i];
        }
        __syncthreads();  // the tile is there
        for (int s = 0; s < n; ++s) {
            float score = 0.f;
            for (int d = 0; d < D; ++d) score += own[d] * k_tile[s * D + d];
            score *= scale;
            const float higher = fmaxf(top, score), rescale = expf(top - higher), p = expf(score - higher);
            top = higher;
            total = total * rescale + p;
            for (int d = 0; d < D; ++d) sum[d] = sum[d] * rescale + p * v_tile[s * D + d];
        }
        __syncthreads();  // nobody needs the tile any more
    }
    if (t < T)
        for (int d = 0; d < D; ++d) out[t * D + d] = sum[d] / total;
}
"""
signature = "f4* q, f4* k, f4* v, f4* out, i4 T, i4 S, f4 scale"
attend_tiled = Source("tiled.cu", tiled_text).kernel("attend", signature)
with emulate():
    attend_tiled(blocks, threads, q, k, v, out, T, S, scale)
print(f"largest error {abs(out - expected).max():.1e}")

# %% tags=["hidden"]
assert abs(out - expected).max() < 1e-5

# %% [markdown]
# **Exercise 2.** How many bytes of keys and values does each of the two kernels read from global memory? A float32 has
# 4 bytes, and $T$ is a multiple of the threads of a block. Return two numbers: the simple kernel's, the tiled one's.

# %% tags=["folded"]
counting = Exercise(
    "bytes_read",
    reference=lambda T, S, D, threads: (8 * T * S * D, 8 * T // threads * S * D),
    inputs={"T": 96, "S": 10, "D": 4, "threads": 16},
    hints=[
        "How many bytes have all keys and values together? How many times are they read?",
        "In the first kernel each query reads them, in the second one each block.",
        "2 * 4 * S * D bytes, T times or T / threads times.",
    ],
    advice={
        "all are 0.5 times": "Do not forget the values: they are as many as the keys.",
        "all are 0.25 times": "A float32 has 4 bytes.",
        "element () is 320,": "That is one block. How many are there?",
    },
)


# %% tags=["exercise"]
def bytes_read(T, S, D, threads): ...  # your turn


counting.check(bytes_read)


# %% tags=["solution"]
def bytes_read(T, S, D, threads):
    once = 2 * 4 * S * D
    return T * once, T // threads * once


counting.check(bytes_read)

# %% tags=["hidden"]
counting.expect(lambda T, S, D, threads: (4 * T * S * D, 4 * T // threads * S * D), "Do not forget the values")
counting.expect(lambda T, S, D, threads: (2 * T * S * D, 2 * T // threads * S * D), "A float32 has 4 bytes")
counting.expect(lambda T, S, D, threads: (8 * T * S * D, 8 * S * D), "That is one block")
counting.expect(lambda T, S, D, threads: None, "not written yet")

# %% [markdown]
# ## What if a barrier is missing?
#
# The second barrier seems to do nothing. The kernel below lacks it.


# %%
def complaint(text):
    """What the emulator says of a changed kernel."""
    kernel = Source("tiled.cu", text).kernel("attend", signature)
    try:
        with emulate():
            kernel(blocks, threads, q, k, v, out, T, S, scale)
    except EmulatorError as error:
        return str(error)
    return "nothing"


raced = complaint(tiled_text.replace("__syncthreads();  // nobody needs the tile any more", ""))
print(raced)

# %% tags=["hidden"]
assert "depends on the order of threads" in raced

# %% [markdown]
# A fast thread begins to load the next tile, while a slow one still reads this one. On a GPU the result is nearly
# always right, until the day when it is not. The emulator runs each kernel twice. Once the threads come in their order,
# and once in the opposite order. Both must leave the same bytes. It also fills shared memory with NaN, puts a wall
# behind each array, and notices when threads wait for others that never come:

# %%
behind = complaint(tiled_text.replace("min(WIDTH, S - s0)", "WIDTH"))
waiting = complaint(tiled_text.replace("float own[D]", "if (t >= T) return;\n    float own[D]").replace(
    "__syncthreads();  // the tile is there", "if (t % 32 != 5) __syncthreads();"
))
print(behind)
print(waiting)

# %% tags=["hidden"]
assert "behind the end of" in behind and waiting != "nothing"

# %% [markdown]
# ## Tensor cores
#
# A GPU's multiplications and additions one by one are only a small part of what it can do. The larger part is in its
# *tensor cores*. They multiply small matrices, of 16-bit numbers, and add in float32. One instruction, `mma.sync`, is
# executed by a whole warp together:
#
# $$C_{16 \times 8} \;\mathrel{+}=\; A_{16 \times 16} \, B_{16 \times 8}$$
#
# No thread has a whole matrix. Each lane holds a few numbers, and which ones is prescribed. Of $C$, a lane has four:
# here is which lane has which number, one color for each lane of a row.

# %%
lanes = np.array([[row % 8 * 4 + column // 2 for column in range(8)] for row in range(16)])
figure, axes = plt.subplots(figsize=(5, 5))
axes.imshow(lanes % 4, cmap="Pastel1", vmin=0, vmax=8, aspect="auto")
for (row, column), lane in np.ndenumerate(lanes):
    number = row // 8 * 2 + column % 2
    axes.text(column, row, f"lane {lane}\nc[{number}]", ha="center", va="center", fontsize=6.5)
axes.set(title="C of mma.m16n8k16", xlabel="column", ylabel="row", xticks=range(8), yticks=range(16))
plt.show()

# %% [markdown]
# **Exercise 3.** Which lane has the element of $C$ at a row and a column, and as which of its four numbers? Read it off
# the picture and write the rule, with `//` and `%`.

# %% tags=["folded"]
rows, columns = (a.ravel() for a in np.indices((16, 8)))
ownership = Exercise(
    "owner",
    reference=lambda row, column: (row % 8 * 4 + column // 2, row // 8 * 2 + column % 2),
    inputs={"row": rows, "column": columns},
    hints=[
        "Look at one row: how many of its numbers has a lane? Then at one column: when do the lanes begin again?",
        "Four lanes share a row, and rows 0 and 8 have the same lanes.",
        "lane = 4 (row % 8) + column // 2; the number counts the column's parity, and 2 for the lower half.",
    ],
    advice={
        "Result 0": "The lanes are numbered along a row first: four lanes, two columns each. Rows 8 to 15 repeat them.",
        "Result 1": "The first two numbers are neighbours in a row of the upper half, the other two in the lower half.",
    },
)


# %% tags=["exercise"]
def owner(row, column): ...  # your turn: return lane, number


ownership.check(owner)


# %% tags=["solution"]
def owner(row, column):
    return row % 8 * 4 + column // 2, row // 8 * 2 + column % 2


ownership.check(owner)

# %% tags=["hidden"]
ownership.expect(lambda row, column: (row * 4 + column // 2, row // 8 * 2 + column % 2), "repeat them")
ownership.expect(lambda row, column: (row % 8 * 4 + column // 2, row // 8 + column % 2), "lower half")
ownership.expect(lambda row, column: None, "not written yet")

# %% [markdown]
# The operand $A$ has 16 columns. A lane has eight of its numbers, two of 16 bits in each of four registers. Compare:
#
# | | row | columns |
# |---|---|---|
# | `c[0], c[1]` of $C$ | `lane / 4` | `2 * (lane % 4)` and the next |
# | `c[2], c[3]` of $C$ | `lane / 4 + 8` | the same |
# | `a[0]` of $A$ | `lane / 4` | `2 * (lane % 4)` and the next |
# | `a[1]` of $A$ | `lane / 4 + 8` | the same |
# | `a[2], a[3]` of $A$ | as `a[0], a[1]` | 8 further |
#
# Two results $C$, side by side, lie just where *one* operand $A$ needs them. In attention the first product gives the
# scores, and their softmax is the left operand of the second product. So the weights never leave the registers of
# their lane. They are only rounded to 16 bits. This is what FlashAttention is built on.
#
# Here is attention with one warp for 16 queries. It takes 16 keys at a time. `pair` puts two bfloat16 numbers into a
# register. The rows of $C$ are queries, so a row's maximum and sum are spread over four lanes: `__shfl_xor_sync` gets a
# number from another lane of the warp.

# %%
tensor = Source("tensor.cu", """
#include <ptx.cuh>
constexpr int D = 16;

__device__ unsigned pair(const bf16* two) { return *reinterpret_cast<const unsigned*>(two); }  // neighbours in memory
__device__ unsigned pair(float a, float b) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const unsigned*>(&both);
}
__device__ float over_row(float x, bool maximum) {  // of the four lanes that share a row
    for (int step = 1; step < 4; step *= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, x, step);
        x = maximum ? fmaxf(x, other) : x + other;
    }
    return x;
}

// q (T, D), k and v (S, D), T and S multiples of 16: a block of one warp for each 16 queries.
__global__ void attend(const bf16* q, const bf16* k, const bf16* v, float* out, int S, float scale) {
    const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;  // of the numbers that this lane has
    const bf16* mine = q + blockIdx.x * 16 * D;
    const unsigned a[4] = {pair(mine + row * D + column), pair(mine + (row + 8) * D + column),
                           pair(mine + row * D + column + 8), pair(mine + (row + 8) * D + column + 8)};
    float top[2] = {-1e30f, -1e30f}, total[2] = {}, sum[2][4] = {};
    for (int s = 0; s < S; s += 16) {
        float c[2][4] = {};  // scores: 16 queries, two times 8 keys
        for (int j = 0; j < 2; ++j) {
            const bf16* key = k + (s + 8 * j + row) * D;  // B has a column for each key: it is a row of k
            mma_bf16(c[j], a, pair(key + column), pair(key + column + 8));
        }
        for (int half = 0; half < 2; ++half) {  // this lane's two rows
            float* x[4] = {&c[0][2 * half], &c[0][2 * half + 1], &c[1][2 * half], &c[1][2 * half + 1]};
            float higher = top[half];
            for (float* score : x) higher = fmaxf(higher, *score *= scale);
            higher = over_row(higher, true);
            const float rescale = expf(top[half] - higher);
            top[half] = higher;
            total[half] *= rescale;
            for (float* score : x) total[half] += *score = expf(*score - higher);
            for (int j = 0; j < 2; ++j)
                for (int i = 0; i < 2; ++i) sum[j][2 * half + i] *= rescale;
        }
        const unsigned p[4] = {pair(c[0][0], c[0][1]), pair(c[0][2], c[0][3]),
                               pair(c[1][0], c[1][1]), pair(c[1][2], c[1][3])};
        for (int j = 0; j < 2; ++j) {  // the output: 16 queries, two times 8 of D
            const bf16* value = v + (s + column) * D + 8 * j + row;  // B has a row for each key now
            mma_bf16(sum[j], p, pair(__bfloat162float(value[0]), __bfloat162float(value[D])),
                     pair(__bfloat162float(value[8 * D]), __bfloat162float(value[9 * D])));
        }
    }
    for (int half = 0; half < 2; ++half) {
        const float l = over_row(total[half], false);
        for (int j = 0; j < 2; ++j)
            for (int i = 0; i < 2; ++i)
                out[(blockIdx.x * 16 + row + 8 * half) * D + 8 * j + column + i] = sum[j][2 * half + i] / l;
    }
}
""")
attend_tensor = tensor.kernel("attend", "bf16* q, bf16* k, bf16* v, f4* out, i4 S, f4 scale")

# %%
T, S = 96, 160
q, k, v = (rng.standard_normal((n, D)).astype(bfloat16) for n in (T, S, S))
expected = attention(*(a.astype(np.float32) for a in (q, k, v)))
out = np.empty((T, D), np.float32)
with emulate():
    attend_tensor(T // 16, 32, q, k, v, out, S, scale)
error = abs(out - expected).max()
print(f"largest error {error:.1e}, where outputs are up to {abs(expected).max():.1f}")

# %% tags=["hidden"]
assert 1e-6 < error < 1e-2

# %% [markdown]
# The operands have 8 bits of precision, so the weights are rounded by up to $2^{-9}$. An error of
# {{ error:.0e | ≤ 1e-2 }} is what this allows. The sums, the maxima and the totals are float32: in 16 bits, they would
# lose more with every key.
#
# ## minitrain's kernel
#
# `minitrain/kernels/cuda/attention/attention_forward.cu` is this kernel, with what a real one needs:
#
# - A block has 64 queries, four warps, and shares tiles of 64 keys, as in our second kernel. `ldmatrix` gets operands
#   from shared memory, and can transpose them on the way: that is what our `value[0], value[D]` did by hand.
# - The next tile is copied while this one is computed: `cp.async` copies without passing through registers, into the
#   second of two buffers. Then two things must be right: a *wait* for the copies, and the barriers.
# - It takes any $T$ and $S$, heads of any width up to 128, grouped queries, a causal mask, windows, key lengths, and
#   dropout. Tiles that no query sees are not read.
# - With few queries, as in generation, `attention_decode.cu` splits the keys over many warps and merges the parts. You
#   have written that function in exercise 1.
#
# The two products are in `include/attention_tiles.cuh`, the softmax is in `include/attention_softmax.cuh`. Each is a
# page long.

# %%
heads = [rng.standard_normal((1, n, 2, 16)).astype(np.float32) for n in (80, 80, 80)]  # (B, T, H, D)
with emulate() as emulator, record_launches() as launches, use_precision("bfloat16"):
    out, _ = attention_forward(*heads, None, causal=True)
for launch in launches:
    print(f"{launch.name}: grid {launch.grid}, block {launch.block}, {launch.shared / 1024:.1f} KiB shared")
conflicts = emulator.statistics.ldmatrix_conflicts
print(f"{emulator.statistics.ldmatrix} loads of matrices, {conflicts} with conflicts")

# %% tags=["hidden"]
assert len(launches) == 1 and conflicts == 0

# %% [markdown]
# The last line is about shared memory. It has 32 *banks*: four bytes at a time go to each in turn. If lanes want
# different rows of the same bank, they are served one after the other. Rows of 16 numbers of 2 bytes would meet often.
# So each row of a tile is 16 bytes longer than it needs to be, and {{ conflicts | 0 ± 0 }} loads have a conflict.
#
# How fast is it on a GPU? That is not known yet: this code has not met one. What is known without one is how many
# registers a thread needs, since the compiler needs no card: `tests/kernels/cuda/resources.txt` lists them.
#
# ## Questions
#
# 1. The tiled kernel has a thread for each query. With 64 threads to a block and one short text, how many of the 132
#    multiprocessors of an H100 have work? What would you split?
# 2. Why does the tensor kernel scale the scores by the *old* total's factor, and not divide at each step?
# 3. A causal mask makes the last blocks of queries work longest. Why should they begin first?
# 4. In the backward, a key's gradient is a sum over queries, a query's is a sum over keys. Why does minitrain compute
#    the scores twice instead of adding both in one kernel?
# 5. Which of the mistakes above would a test on a real GPU have found?
#
# ## Further reading
#
# - Milakov and Gimelshein, 2018, *Online normalizer calculation for softmax*, arXiv:1805.02867.
# - Dao, Fu, Ermon, Rudra and Ré, 2022, *FlashAttention*, arXiv:2205.14135; Dao, 2023, *FlashAttention-2*,
#   arXiv:2307.08691; Shah et al., 2024, *FlashAttention-3*, arXiv:2407.08608, for newer instructions than these.
# - NVIDIA, *PTX ISA*, "Matrix fragments for mma.m16n8k16": the table that the picture above was drawn from.
# - The notebook before: [images and words](14_images_and_words.md).
