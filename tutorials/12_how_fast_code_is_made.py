# %% [markdown]
# # 12. How fast code is made
#
# After this notebook you can
#
# - say what limits a piece of code, arithmetic or memory, and how far it is from the limit of the machine;
# - count the bytes that an expression moves, and save most of them by fusing;
# - write fast loops with numba, and avoid its traps;
# - explain why a matrix product works on blocks;
# - say what 16-bit numbers lose, what must stay in 32 bits, and why losses are scaled.
#
# You need [normalisation](04_normalisation.md), the last part of [attention](05_attention.md), and some patience with
# bytes. It takes about 60 minutes. All times are measured while the notebook runs. They belong to the processor named
# below, and to what else it had to do.


# %%
import time

import matplotlib.pyplot as plt
import numba
import numpy as np
from matplotlib.patches import Rectangle
from ml_dtypes import bfloat16
from numba import njit, prange
from threadpoolctl import threadpool_limits

import minitrain as mt
from minitrain.backend import processor_name
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label
rng = np.random.default_rng(0)
threads = numba.get_num_threads()
one = threadpool_limits(1, "blas")  # NumPy's products by one thread, as all else until we come to threads
print(f"{processor_name()}, {threads} threads")


# %% [markdown]
# ## What can this machine do?
#
# A processor does two things: it computes, and it moves numbers between memory and its *registers*, the few places in
# which it computes. On the way lie *caches*: small, fast memories that keep what was used last. Both things have a
# limit. Measure it, for one *thread*, that is, one core at work. For the *bandwidth*, copy an array that is larger than
# the caches: each byte is read once and written once. For the *peak*, multiply two large matrices: $2n^3$ operations on
# $3n^2$ numbers. NumPy calls a library for that, which experts have tuned for years.
#
# We take the time that the processor spent on *our* thread (`time.thread_time`). So it counts less what else the
# machine does.


# %%
def best(work, repeats=5, clock=time.thread_time):
    """Seconds of the fastest run. Other programs can only make it slower, so the fastest tells most about the code."""
    work()  # not counted: it compiles, and touches the memory
    seconds = []
    for _ in range(repeats):
        began = clock()
        work()
        seconds.append(clock() - began)
    return min(seconds)


R, C = 16_384, 1024
x = rng.standard_normal((R, C), dtype=np.float32)  # 64 MiB
out = np.empty_like(x)
a = rng.standard_normal((768, 768), dtype=np.float32)
product = np.empty_like(a)
bandwidth = 2 * x.nbytes / best(lambda: np.copyto(out, x), 10) / 1e9
peak = 2 * 768**3 / best(lambda: np.matmul(a, a, out=product), 10) / 1e9
ridge = peak / bandwidth
print(f"bandwidth  {bandwidth:6.1f} GB/s")
print(f"peak       {peak:6.1f} GFLOP/s, billions of floating-point operations in a second")
print(f"ridge      {ridge:6.1f} operations in the time of one byte")

# %% tags=["hidden"]
assert peak > 2 and bandwidth > 0.5

# %% [markdown]
# The last line is the important one. On this machine ({{ processor_name() }}), {{ ridge:.0f }} additions or
# multiplications take as long as moving *one byte*. A float32 has four. So code that does little with each number
# waits for memory, however clever its arithmetic is.
#
# The *arithmetic intensity* of a program is its number of operations for each byte that it moves. With the intensity
# $I$, it cannot do more than
#
# $$\min(\text{peak}, \; I \cdot \text{bandwidth})$$
#
# operations in a second. Drawn on logarithmic axes, this is a slope and a flat top, a *roofline* (Williams, Waterman
# and Patterson, 2009). They meet at the *ridge*. We shall draw it, with our programs below it.
#
# ## One operation, from slow to fast
#
# Take layer norm: each row minus its mean, divided by its standard deviation, times a weight. It does about 7
# operations for each number. It must read each number once and write one, so it moves 8 bytes. Its intensity is less
# than 1, far left of the ridge. So the best that any code can reach is the time of copying the array. How close do
# we come?
#
# Start with the plainest code.

# %%
weight = rng.standard_normal(C, dtype=np.float32)
eps = np.float32(1e-5)
nanoseconds = {}  # for each number of x


def layer_norm_python(x, weight):
    out = []
    for row in x:
        mean = sum(row) / len(row)
        variance = sum((value - mean) ** 2 for value in row) / len(row)
        rstd = 1 / (variance + 1e-5) ** 0.5
        out.append([(value - mean) * rstd * w for value, w in zip(row, weight, strict=True)])
    return out


def layer_norm_numpy(x, weight):
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight


few, weight_list = x[:16].tolist(), weight.tolist()
nanoseconds["Python loops"] = best(lambda: layer_norm_python(few, weight_list)) / (16 * C) * 1e9
nanoseconds["NumPy"] = best(lambda: layer_norm_numpy(x, weight), 2) / x.size * 1e9
limit = 1e9 * 8 / (bandwidth * 1e9)
for name, value in (*nanoseconds.items(), ("copying the array", limit)):
    print(f"{name:18} {value:8.2f} ns for each number")

# %% tags=["hidden"]
assert nanoseconds["Python loops"] > 5 * nanoseconds["NumPy"]
assert np.allclose(layer_norm_python(few, weight_list), layer_norm_numpy(x[:16], weight), atol=1e-4)

# %% [markdown]
# Python spends its time on finding out what to do: each number is an object, and each operation looks its type up.
# NumPy looks once for a whole array. That is a factor of {{ nanoseconds["Python loops"] / nanoseconds["NumPy"]:.0f }}.
# Yet it takes {{ nanoseconds["NumPy"] / limit:.0f }} times as long as copying. Why?
#
# ## Count the bytes
#
# NumPy computes one operation at a time, for the whole array. Every intermediate result goes out to memory, and comes
# back for the next step. Passes over the array, of 4 bytes for each number:
#
# | step | reads | writes |
# |---|---|---|
# | `x.mean(...)` | 1 | |
# | `x - mean` | 1 | 1 |
# | `centred * centred` | 1 | 1 |
# | `.mean(...)` | 1 | |
# | `centred / ...` | 1 | 1 |
# | `... * weight` | 1 | 1 |
# | together | 6 | 4 |
#
# Ten passes instead of two. The arithmetic is the same. (An array that is an operand twice, as in `centred *
# centred`, is read once: the second time it is in a cache.)
#
# **Exercise 1.** `x` and `y` are arrays of $n$ float32 numbers. How many bytes does NumPy move for
# `np.sqrt(x * x + y * y)`? And how many would a loop move that computes everything for one element, then for the
# next? Return both numbers, as a tuple.

# %% tags=["folded"]
counting = Exercise(
    "bytes_moved",
    reference=lambda n: (36 * n, 12 * n),
    inputs={"n": 1000},
    hints=[
        "NumPy computes x * x first, into a new array. List all steps, as in the table above.",
        "x * x and y * y have one read and one write each. The sum reads two arrays and writes one. Then the root.",
        "9 passes of 4 n bytes; the loop reads x and y and writes the result.",
    ],
    advice={
        "is 32000,": "Four steps. Count the reads and writes of each once more: one of them reads two arrays.",
        "are 2 times": "A float32 has 4 bytes, not 8.",
        "is 9000,": "These are numbers. Each float32 has 4 bytes.",
        "is 44000,": "x * x reads x once: the second time it is in a cache.",
        "is 20000,": "Results are written, too.",
        "is 28000,": "A sum of two arrays reads both.",
        "is 8000,": "The result is written, too: three passes.",
        "is 12000, and the reference has 36000": "NumPy sees one operation at a time: each step makes an array.",
    },
)


# %% tags=["exercise"]
def bytes_moved(n): ...  # your turn: (by NumPy, by one loop)


counting.check(bytes_moved)


# %% tags=["solution"]
def bytes_moved(n):
    passes = 2 + 2 + 3 + 2  # x * x, y * y, their sum, the root
    return 4 * n * passes, 4 * n * 3


counting.check(bytes_moved)

# %% tags=["hidden"]
counting.expect(lambda n: (9 * n, 3 * n), "Each float32 has 4 bytes")
counting.expect(lambda n: (20 * n, 8 * n), "Results are written")
counting.expect(lambda n: (32 * n, 12 * n), "one of them reads two")
counting.expect(lambda n: (36 * n, 8 * n), "three passes")
counting.expect(lambda n: (72 * n, 24 * n), "not 8")
counting.expect(lambda n: (44 * n, 20 * n), "x once")
counting.expect(lambda n: (12 * n, 12 * n), "each step makes an array")
counting.expect(lambda n: None, "not written yet")

# %% [markdown]
# ## Move less, still in NumPy
#
# **Use memory again.** A new array of this size comes from the operating system, which must first fill it with zeros,
# page by page, when it is first touched. That can cost more than the operation. With `out=` and one array for all
# intermediate results, there are as many passes as before, but over memory that is there.
#
# **Work on blocks.** Cut the array into pieces of 128 rows (512 KiB). The intermediate results of a piece stay in a
# cache, and only its first read and its last write go to memory. Smaller pieces would fit into a nearer cache, but
# each call of NumPy costs some microseconds, however small its array.


# %%
def layer_norm_into(x, weight, out, scratch):
    np.subtract(x, x.mean(axis=1, keepdims=True), out=out)
    np.multiply(out, out, out=scratch)
    np.divide(out, np.sqrt(scratch.mean(axis=1, keepdims=True) + eps), out=out)
    np.multiply(out, weight, out=out)


def layer_norm_blocks(x, weight, out, scratch, rows=128):
    for i in range(0, len(x), rows):
        layer_norm_into(x[i : i + rows], weight, out[i : i + rows], scratch[:rows])


scratch = np.empty_like(x)
nanoseconds["NumPy, no new arrays"] = best(lambda: layer_norm_into(x, weight, out, scratch)) / x.size * 1e9
nanoseconds["NumPy, blocks of 128 rows"] = best(lambda: layer_norm_blocks(x, weight, out, scratch)) / x.size * 1e9
for name, value in nanoseconds.items():
    print(f"{name:25} {value:8.2f} ns")

# %% [markdown]
# ## A loop that is compiled
#
# To *fuse* is to do all steps for a piece while it is in a register or in the nearest cache. That needs a loop, and a
# loop in Python is slow. So it needs a compiler. numba compiles a Python function when it is called for the first time.


# %%
def layer_norm_rows(x, weight, out):
    R, C = x.shape
    for i in range(R):
        total = np.float32(0)
        for j in range(C):
            total += x[i, j]
        mean = total / np.float32(C)
        squares = np.float32(0)
        for j in range(C):
            squares += (x[i, j] - mean) ** 2
        rstd = np.float32(1) / np.sqrt(squares / np.float32(C) + eps)
        for j in range(C):
            out[i, j] = (x[i, j] - mean) * rstd * weight[j]


compiled = njit(layer_norm_rows)
began = time.perf_counter()
compiled(x[:4], weight, out[:4])
first = time.perf_counter() - began
began = time.perf_counter()
compiled(x[:4], weight, out[:4])
second = time.perf_counter() - began
print(f"first call {first:.3f} s, second call {second:.6f} s")

# %% tags=["hidden"]
assert first > 10 * second

# %% [markdown]
# **Trap 1: the first call compiles**, again for every new combination of types. Never time it. (minitrain keeps the
# compiled code on disk.)
#
# The three loops read a row three times. But a row has 4 KiB, and stays in the first-level cache: only the first time
# comes from memory. So it should be as fast as copying.

# %%
nanoseconds["numba"] = best(lambda: compiled(x, weight, out)) / x.size * 1e9
print(f"{nanoseconds['numba']:.2f} ns for each number, copying {limit:.2f} ns")

# %% tags=["hidden"]
assert nanoseconds["Python loops"] > 20 * nanoseconds["numba"]
assert np.allclose(out[:64], layer_norm_numpy(x[:64], weight), atol=1e-4)

# %% [markdown]
# It is not. The reason is `total += x[i, j]`. A processor can add eight or sixteen numbers with one instruction, and
# start another one before the first is done. But float addition is not associative, as you saw in
# [notebook 10](10_generation.md): the order of a sum changes its last bits. We wrote *one* order, from left to
# right. The compiler must keep it, so each addition waits for the one before, some four cycles long.
#
# `fastmath` gives permission. `reassoc` allows another order; `contract` allows a multiplication and an addition in
# one instruction, with one rounding; `nsz` allows it to confuse 0 and -0.

# %%
allowed = {"reassoc", "contract", "nsz"}
reordered = njit(fastmath=allowed)(layer_norm_rows)
nanoseconds["numba, sums in any order"] = best(lambda: reordered(x, weight, out)) / x.size * 1e9

figure, axes = plt.subplots(figsize=(8.5, 3.3))
names, values = list(nanoseconds), list(nanoseconds.values())
axes.barh(range(len(names)), values, color=[GREY, *3 * [YELLOW], *2 * [BLUE]])
for i, value in enumerate(values):
    axes.text(value * 1.08, i, f"{value:.2f}", va="center", fontsize=9)
axes.axvline(limit, color=RED, linestyle="--")
axes.text(limit * 1.06, -0.85, f"copying: {limit:.2f}", color=RED, fontsize=9, va="center")
axes.set(xscale="log", xlim=(limit / 4, values[0] * 3), yticks=range(len(names)), yticklabels=names)
axes.set(xlabel=f"ns for each number of layer norm, {processor_name()}", ylim=(len(names) - 0.4, -1.3))
plt.show()

# %% tags=["hidden"]
assert np.allclose(out[:64], layer_norm_numpy(x[:64], weight), atol=1e-4)
assert nanoseconds["numba, sums in any order"] < nanoseconds["NumPy"]
assert nanoseconds["numba, sums in any order"] < nanoseconds["numba"]

# %% [markdown]
# From the first line to the last, {{ nanoseconds["Python loops"] / nanoseconds["numba, sums in any order"]:.0f }}
# times faster, and near the line that no code can cross. (The best loop still moves more than the copy: before a
# processor writes to a line of its cache, it reads the line from memory. Large copies use special instructions that
# do not.) Here the story ends for layer norm: what remains is to have fewer of them, or to fuse them with their
# neighbours. That is why minitrain has operations such as [residual + layer norm](../ops/residual_layer_norm.md).

# %%
flops_per_number = 7
places = {
    "NumPy": (40, "NumPy"),
    "NumPy, blocks": (8, "NumPy, blocks of 128 rows"),
    "fused": (8, "numba, sums in any order"),
}
intensity = np.logspace(-2, 3, 200)
figure, axes = plt.subplots(figsize=(8, 4.2))
for name, (nbytes, key) in places.items():
    axes.plot(flops_per_number / nbytes, flops_per_number / nanoseconds[key], "o", color=BLUE)
    axes.text(flops_per_number / nbytes * 1.15, flops_per_number / nanoseconds[key], name, va="center", fontsize=9)
for n in (8, 32, 128, 768):
    square, many = a[:n, :n].copy(), max(1, 200_000 // n**2)
    seconds = best(lambda square=square, many=many: [np.matmul(square, square) for _ in range(many)]) / many
    peak = max(peak, 2 * n**3 / seconds / 1e9)  # a quieter moment than before
    axes.plot(2 * n**3 / (12 * n**2), 2 * n**3 / seconds / 1e9, "s", color=GREEN)
    axes.text(
        2 * n**3 / (12 * n**2), 2 * n**3 / seconds / 1e9 * 0.72, f"{n}", ha="center", va="top", fontsize=9, color=GREEN
    )
axes.loglog(intensity, np.minimum(peak, intensity * bandwidth), color=RED, lw=2)
ridge = peak / bandwidth
axes.axvline(ridge, color=GREY, linestyle=":")
axes.text(ridge * 1.1, 0.06, "ridge", color=GREY)
axes.set(xlabel="operations per byte", ylabel="GFLOP/s", ylim=(0.04, peak * 3), title=f"roofline of {processor_name()}")
plt.show()

# %% [markdown]
# Blue: layer norm. Fusing moves a program to the right, since it does the same arithmetic for fewer bytes, and up.
# Green: NumPy's products of $n \times n$ matrices, with $2n^3$ operations for $12n^2$ bytes, so $n / 6$ for each
# byte. The large ones come near the roof. The smallest do not, for another reason: each call has a fixed cost, about
# a microsecond.
#
# ## More traps
#
# **Trap 2: a float64 slips in.** In numba, `x[i] * 0.5` is a float64, and so is a float32 divided by an integer. Each
# number is then widened, and half as many fit into a register. The results are fine, so nobody notices. Look at the
# code instead: `fpext` is the compiler's instruction that widens a float32.


# %%
@njit
def halve_wide(x, out):
    for i in range(x.size):
        out[i] = x[i] * 0.5 + 1.0


@njit
def halve(x, out):
    for i in range(x.size):
        out[i] = x[i] * np.float32(0.5) + np.float32(1)


little, target = x[0].copy(), np.empty(C, np.float32)
widens = []
for function in (halve_wide, halve):
    seconds = best(lambda function=function: [function(little, target) for _ in range(2000)]) / 2000
    widens.append("fpext" in function.inspect_llvm(function.signatures[0]))
    print(f"{function.__name__:11} widens: {widens[-1]!s:5} {1e9 * seconds:.0f} ns for {C} numbers, call included")

# %% tags=["hidden"]
assert widens == [True, False]

# %% [markdown]
# minitrain's tests look for such instructions in the code of every kernel. Its layer norm once took 1.6 times as
# long as it does now, because one mean was a float64: see [where the speed comes from](../performance.md).
#
# **Trap 3: `fastmath=True` allows more than you meant.** It also promises that no number is ever NaN or infinite. The
# compiler takes your word for it.


# %%
def count_nan(x):
    found = 0
    for i in range(x.size):
        if np.isnan(x[i]):
            found += 1
    return found


spoiled = np.array([1, np.nan, 3, np.nan], np.float32)
print("exact:", njit(count_nan)(spoiled), " fastmath=True:", njit(fastmath=True)(count_nan)(spoiled))

# %% tags=["hidden"]
assert njit(count_nan)(spoiled) == 2

# %% [markdown]
# A training that checks its loss for NaN would never see one. So name the permissions that you need, as above.
#
# **Trap 4: a race.** With `parallel=True`, the steps of a `prange` loop are shared among threads. Count how often
# each of ten numbers occurs:


# %%
@njit(parallel=True)
def count_with_a_race(values, counts):
    for i in prange(values.size):
        counts[values[i]] += 1


@njit(parallel=True)
def count_apart(values, counts, parts):
    for part in prange(parts):  # each has a row of its own
        for i in range(part * values.size // parts, (part + 1) * values.size // parts):
            counts[part, values[i]] += 1


values = rng.integers(0, 10, 20_000_000, dtype=np.uint8)
truth = np.bincount(values, minlength=10)
lost, runs = 0, 0
while lost == 0 and runs < 40:  # until it goes wrong
    counts = np.zeros(10, np.int64)
    count_with_a_race(values, counts)
    lost, runs = values.size - counts.sum(), runs + 1
print(f"with a race: {lost:,} of 20 million counts are lost in run {runs}")
counts = np.zeros((4, 10), np.int64)
count_apart(values, counts, 4)
print(f"apart: {values.size - counts.sum()} are lost")

# %% tags=["hidden"]
assert np.array_equal(counts.sum(axis=0), truth)

# %% [markdown]
# `counts[values[i]] += 1` is three steps: read, add, write. Two threads can do them at the same time:
#
# | thread 1 | thread 2 | in memory |
# |---|---|---|
# | reads 5 | | 5 |
# | | reads 5 | 5 |
# | writes 6 | | 6 |
# | | writes 6 | 6, and should be 7 |
#
# How often it happens depends on what else the machine does. A test on a busy machine, or with one core, may never
# see it: here, it was run {{ runs }} times. The cure is the second function: each part writes to memory of its own, and
# the parts are added at the end. It also fixes the order of the sum. With floats, that keeps the result the same for
# any number of threads, if the number of *parts* does not follow from it.
#
# ## One pass instead of two: the online softmax
#
# Some operations seem to need several passes. A softmax subtracts the largest number first, so that no exponential
# overflows ([notebook 3](03_softmax_and_cross_entropy.md)): one pass for the maximum $m$, another one for the sum
# $s = \sum_i e^{x_i - m}$. Can one compute both, seeing each number once, in blocks?
#
# Yes: keep $m$ and $s$ of what was seen so far. When a block brings a larger maximum, all old terms are too large by
# the same factor. Milakov and Gimelshein (2018) found this, and FlashAttention is built on it: the scores of
# attention never exist all at once. In [notebook 5](05_attention.md) you did it for many queries; here is the core of
# it, for one row.
#
# **Exercise 2.** Write one step. Given the numbers $m$ and $s$ of what came before, and a new block, an array, return
# the new $m$ and $s$. It is tried on two blocks: result 0 is that of a block with a new maximum, result 1 that of a
# block without.
#
# <details markdown><summary>Hint</summary>
#
# The old terms are $e^{x_i - m}$. They should be $e^{x_i - m'}$, with the new maximum $m'$. By which factor do the
# two differ? It is the same for all $i$.
#
# </details>


# %%
def for_two_blocks(step):
    """The step from the same m and s, with a block that has a new maximum and with one that has none."""

    def both(m, s, high, low):
        results = step(m, s, high), step(m, s, low)
        return None if results[0] is None else results

    return both


# %% tags=["folded"]
def online_reference(m, s, block):
    largest = max(m, block.max())
    return largest, s * np.exp(m - largest) + np.exp(block - largest).sum()


online = Exercise(
    "online",
    reference=for_two_blocks(online_reference),
    inputs={"m": 1.0, "s": 3.0, "high": np.array([0.5, 2.0, -1.0, 1.5]), "low": np.array([0.5, -1.0])},
    hints=[
        "First the new maximum, of the old one and of all numbers in the block.",
        "Then correct the old sum, and add the new terms.",
        "s * np.exp(m - largest) + np.exp(block - largest).sum()",
    ],
    advice={
        "Result 0: the shape": "Return two numbers, m and s. The maximum is one number: block.max(), not block.",
        "Result 0: element (1,) is 4.87": "The old sum was for the old maximum. Correct it by a factor.",
        "Result 0: element (1,) is 10.0": "The factor should make the old sum smaller when the maximum grows.",
        "Result 0: element (1,) is 6.": "The new terms are for the new maximum, too.",
        "Result 0: element (1,) is 1.8": "The old sum must stay in it.",
        "Result 0: element (1,) is 1.79": "The correction is for the old sum alone, not for the new terms.",
        "Result 0": "The new maximum is the larger one of m and block.max(). The new sum is the old one times a "
        "factor, plus the new terms, e to the power x - maximum.",
        "Result 1": "A block may have only small numbers. Then the old maximum is the new one.",
    },
)


# %% tags=["exercise"]
def online_step(m, s, block): ...  # your turn: the new m and s


online.check(for_two_blocks(online_step))


# %% tags=["solution"]
def online_step(m, s, block):
    largest = max(m, block.max())
    return largest, s * np.exp(m - largest) + np.exp(block - largest).sum()


online.check(for_two_blocks(online_step))


# %% tags=["hidden"]
def wrong_step(factor=lambda m, new: np.exp(m - new), base=max, new=max):
    def step(m, s, block):
        largest = new(m, block.max())
        return largest, s * factor(m, largest) + np.exp(block - base(m, largest)).sum()

    return for_two_blocks(step)


online.expect(wrong_step(factor=lambda m, new: 1), "Correct it by a factor")
online.expect(wrong_step(factor=lambda m, new: np.exp(new - m)), "smaller when the maximum grows")
online.expect(wrong_step(base=min), "for the new maximum, too")
online.expect(wrong_step(factor=lambda m, new: 0), "must stay in it")
online.expect(wrong_step(new=lambda m, highest: highest), "only small numbers")
online.expect(wrong_step(new=lambda m, highest: m + highest), "the larger one")
online.expect(for_two_blocks(lambda m, s, block: block), "one number")
online.expect(for_two_blocks(lambda m, s, block: None), "not written yet")

# %%
row = 400 * rng.standard_normal(50_000)  # exp(row) overflows
m, s = -np.inf, 0.0
for block in np.array_split(row, 100):
    m, s = online_step(m, s, block)
in_two_passes = row.max() + np.log(np.exp(row - row.max()).sum())
print(f"log of the sum of exponentials: {m + np.log(s):.12f} in one pass, {in_two_passes:.12f} in two")

# %% tags=["hidden"]
assert abs(m + np.log(s) - in_two_passes) < 1e-6

# %% [markdown]
# ## A matrix product in blocks
#
# The product $C = A B$ of two $n \times n$ matrices has $2n^3$ operations on $3n^2$ numbers. It should be limited by
# arithmetic. The textbook's three loops are not. The innermost one goes *down a column* of $B$. Rows lie one after
# the other in memory, so each step jumps by a whole row. Memory comes in lines of 64 bytes, and of each line one
# number is used.
#
# Swap two loops, and the innermost one goes *along* rows of $B$ and $C$. The same additions in another order:


# %%
@njit(fastmath=allowed)
def by_columns(A, B, C):
    n = len(A)
    for i in range(n):
        for j in range(n):
            total = np.float32(0)
            for k in range(n):
                total += A[i, k] * B[k, j]
            C[i, j] = total


@njit(fastmath=allowed)
def by_rows(A, B, C):
    n = len(A)
    C[:] = 0
    for i in range(n):
        for k in range(n):
            for j in range(n):
                C[i, j] += A[i, k] * B[k, j]


# %% [markdown]
# This still reads all of $B$ from memory for every row of $C$, if $B$ does not fit into the cache. Now take a block
# of $C$ with $b \times b$ numbers. It needs a strip of $A$ and a strip of $B$. Cut those into blocks, too. Three
# blocks fit into the cache, and each number in them is used $b$ times before it has to go.

# %%
figure, rows = plt.subplots(2, 3, figsize=(8, 5.4))
plans = [
    ("row by row", {"A": [(0, 5, 16, 1)], "B": [(0, 0, 16, 16)], "C": [(0, 5, 16, 1)]}),
    ("in blocks", {"A": [(8, 4, 4, 4)], "B": [(4, 8, 4, 4)], "C": [(4, 4, 4, 4)]}),
]
strips = {"A": (0, 4, 16, 4), "B": (4, 0, 4, 16)}
for axes_row, (plan, parts) in zip(rows, plans, strict=True):
    for axes, (name, rectangles) in zip(axes_row, parts.items(), strict=True):
        axes.add_patch(Rectangle((0, 0), 16, 16, facecolor="none", edgecolor=GREY))
        if plan == "in blocks":
            for line in range(4, 16, 4):
                axes.plot([0, 16], [line, line], color=GREY, lw=0.4)
                axes.plot([line, line], [0, 16], color=GREY, lw=0.4)
            if name in strips:
                left, top, width, height = strips[name]
                axes.add_patch(Rectangle((left, top), width, height, facecolor=BLUE, alpha=0.2))
        for left, top, width, height in rectangles:
            axes.add_patch(Rectangle((left, top), width, height, facecolor=GREEN if name == "C" else BLUE, alpha=0.8))
        axes.set(xlim=(-0.5, 16.5), ylim=(16.5, -0.5), aspect="equal", title=f"{name}, {plan}")
        axes.set_axis_off()
plt.show()

# %% [markdown]
# Above: for one row of $C$ (green), one row of $A$ and *all* of $B$ (blue) must come. Below: the dark blocks are in
# the cache now; the light strips come block by block for the same block of $C$.
#
# Count: there are $(n/b)^3$ steps, and each brings a block of $A$ and one of $B$. That is $2n^3/b$ numbers, or
# $8n^3/b$ bytes. So the intensity is
#
# $$\frac{2n^3}{8n^3 / b} = \frac{b}{4} \text{ operations per byte}.$$
#
# To get past the ridge of this machine, $b$ must be more than {{ 4 * ridge:.0f }}, if each block comes from memory.
# Three blocks of 64 take 48 KiB.
#
# The same idea applies once more inside: a number in a *register* is nearer than one in the cache. The innermost
# loop of `in_blocks` takes four rows of $B$ and two rows of $C$ at once. A number of $C$ is loaded once for four
# additions, and one of $B$ is used twice.


# %%
@njit(fastmath=allowed)
def in_blocks(A, B, C, b):
    n = len(A)
    C[:] = 0
    for k0 in range(0, n, b):
        for j0 in range(0, n, 4 * b):  # a block of B: b rows, 4 b columns
            width = min(4 * b, n - j0)
            for i in range(0, n, 2):
                C0, C1 = C[i, j0 : j0 + width], C[i + 1, j0 : j0 + width]
                for k in range(k0, k0 + b, 4):
                    B0, B1 = B[k, j0 : j0 + width], B[k + 1, j0 : j0 + width]
                    B2, B3 = B[k + 2, j0 : j0 + width], B[k + 3, j0 : j0 + width]
                    a0, a1, a2, a3 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
                    d0, d1, d2, d3 = A[i + 1, k], A[i + 1, k + 1], A[i + 1, k + 2], A[i + 1, k + 3]
                    for j in range(width):
                        C0[j] += a0 * B0[j] + a1 * B1[j] + a2 * B2[j] + a3 * B3[j]
                        C1[j] += d0 * B0[j] + d1 * B1[j] + d2 * B2[j] + d3 * B3[j]


n = 768
A, B = rng.standard_normal((2, n, n), dtype=np.float32)
result = np.empty_like(A)


def python_product(n=48):
    rows, columns = A[:n, :n].tolist(), B[:n, :n].T.tolist()
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in rows]


speeds = {"Python loops": 2 * 48**3 / best(python_product) / 1e9}
programs = {
    "three loops, down columns": lambda: by_columns(A, B, result),
    "three loops, along rows": lambda: by_rows(A, B, result),
    "blocks, 2 x 4 rows": lambda: in_blocks(A, B, result, 64),
}
for name, program in programs.items():
    speeds[name] = 2 * n**3 / best(program) / 1e9
    assert np.allclose(result, A @ B, atol=1e-2), name
mt.backend.set_threads(1)
speeds["minitrain"] = 2 * n**3 / best(lambda: mt.ops.linear_forward(A, B), 10) / 1e9
mt.backend.set_threads(None)
speeds["np.matmul"] = 2 * n**3 / best(lambda: np.matmul(A, B, out=result), 10) / 1e9

figure, axes = plt.subplots(figsize=(8.5, 3))
axes.barh(range(len(speeds)), speeds.values(), color=[GREY, *3 * [BLUE], PURPLE, GREEN])
for i, value in enumerate(speeds.values()):
    axes.text(value * 1.1, i, f"{value:.2g}" if value < 1 else f"{value:.0f}", va="center", fontsize=9)
axes.set(xscale="log", xlim=(min(speeds.values()) / 2, peak * 4), yticks=range(len(speeds)), yticklabels=list(speeds))
axes.set_xlabel(f"GFLOP/s of a product of {n} x {n} matrices, {processor_name()}")
axes.invert_yaxis()
plt.show()

# %% tags=["hidden"]
assert speeds["blocks, 2 x 4 rows"] > 20 * speeds["Python loops"]
assert speeds["three loops, along rows"] > speeds["three loops, down columns"]

# %% [markdown]
# What do the last two have that our blocks have not? They keep a whole tile of $C$ in registers, such as 6 by 16
# numbers, and copy the blocks of $A$ and $B$ into the order in which they are read. That is all.
# [Where the speed comes from](../performance.md) tells the story of minitrain's product, with what was tried in vain.
#
# ## Threads, and what they cannot do
#
# Let a share $f$ of the work run on $p$ threads, and the rest on one. Then the work takes $(1 - f) + f / p$ of its
# time, and the speed-up is at most
#
# $$S(p) = \frac{1}{(1 - f) + f / p} \le \frac{1}{1 - f}.$$
#
# This is Amdahl's law. With $f = 0.9$, no number of threads gives more than 10. How do ours compare? In numba,
# `prange` is a `range` whose steps may run at the same time. From here on, it is the time on the clock that counts.


# %%
@njit(fastmath=allowed, parallel=True)
def layer_norm_parallel(x, weight, out):
    R, C = x.shape
    for i in prange(R):
        total = np.float32(0)
        for j in range(C):
            total += x[i, j]
        mean = total / np.float32(C)
        squares = np.float32(0)
        for j in range(C):
            squares += (x[i, j] - mean) ** 2
        rstd = np.float32(1) / np.sqrt(squares / np.float32(C) + eps)
        for j in range(C):
            out[i, j] = (x[i, j] - mean) * rstd * weight[j]


one.restore_original_limits()
used = sorted({1, threads} | {2**i for i in range(6) if 2**i < threads})
measured = {"layer norm (memory)": [], "matrix product (arithmetic)": []}
for p in used:
    numba.set_num_threads(p)
    mt.backend.set_threads(p)
    measured["layer norm (memory)"].append(best(lambda: layer_norm_parallel(x, weight, out), 20, time.perf_counter))
    measured["matrix product (arithmetic)"].append(best(lambda: mt.ops.linear_forward(A, B), 50, time.perf_counter))
numba.set_num_threads(threads)
mt.backend.set_threads(None)

p = np.arange(1, 65)
figure, axes = plt.subplots(figsize=(7.5, 3.8))
for share, shade in ((0.5, 0.35), (0.9, 0.6), (0.99, 1.0)):
    axes.plot(p, 1 / ((1 - share) + share / p), color=GREY, alpha=shade)
    axes.text(66, 1 / ((1 - share) + share / 64), f"f = {share}", va="center", color=GREY)
axes.plot(p, p, ":", color=GREY)
for (name, seconds), marker, color in zip(measured.items(), "os", (BLUE, GREEN), strict=True):
    axes.plot(used, seconds[0] / np.array(seconds), marker + "-", color=color, label=f"measured: {name}")
axes.set(xscale="log", yscale="log", xlabel="threads", ylabel="speed-up", xlim=(0.9, 110))
axes.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
axes.set_yticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
axes.minorticks_off()
axes.legend(loc="upper left", title=processor_name())
plt.show()

# %% [markdown]
# On a busy machine, the second thread has no core of its own. Then two threads are no faster than one, or slower:
# measure on a quiet one.
#
# There are other limits that Amdahl's law does not know. Cores share the memory: once a few of them use up the
# bandwidth, more threads make layer norm no faster. And waking a thread takes some microseconds, so small work is
# faster on one ([threads](../threads.md)).
#
# ## Half the bits
#
# If memory is the limit, smaller numbers are faster. And units for 16-bit products do several times as many
# operations. What do 16 bits lose? A floating-point number has a sign, an exponent, and a fraction:
#
# | format | exponent | significant bits | next number after 1 | largest | smallest above 0 |
# |---|---|---|---|---|---|
# | float32 | 8 bits | 24 | $1 + 2^{-23}$ | $3.4 \cdot 10^{38}$ | $1.4 \cdot 10^{-45}$ |
# | float16 | 5 bits | 11 | $1 + 2^{-10}$ | 65,504 | $6.0 \cdot 10^{-8}$ |
# | bfloat16 | 8 bits | 8 | $1 + 2^{-7}$ | $3.4 \cdot 10^{38}$ | $9.2 \cdot 10^{-41}$ |
#
# bfloat16 is the upper half of a float32: the same range, with fewer digits. What is $1 + 2^{-9}$ in bfloat16?

# %%
for power in (7, 8, 9):
    print(f"1 + 2^-{power} = {1 + 2.0**-power:.6f} becomes {float(bfloat16(1 + 2.0**-power)):.6f}")

# %% [markdown]
# It is 1: the nearest number. And $1 + 2^{-8}$ is exactly half-way between two bfloat16 numbers. Such a *tie* goes to
# the one whose last bit is 0, the *even* one. If ties always went up, sums would creep up with them.
#
# **Exercise 3.** Round float32 numbers to bfloat16, to nearest and ties to even, with integer arithmetic alone. The
# result is a float32 array whose lower 16 bits are zero. `bits = x.view(np.uint32)` shows the bits of the numbers,
# and `.view(np.float32)` turns them back. NaN need not work.
#
# <details markdown><summary>Hint</summary>
#
# To cut the lower 16 bits off is to round towards zero. If you first add half of the place that is kept (`0x8000`),
# you round to nearest, and ties away from zero. To send a tie to even, add a little less, `0x7FFF`, and one more if
# the last bit that is kept is 1. That bit is `(bits >> 16) & 1`.
#
# </details>


# %% tags=["folded"]
numbers = np.r_[1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 0.7 * rng.standard_normal(40).clip(-1, 1)].astype(np.float32)
rounding = Exercise(
    "round_to_bfloat16",
    reference=lambda x: x.astype(bfloat16).astype(np.float32),
    inputs={"x": numbers},
    hints=[
        "Work on the bits. The lower 16 must become zero: bits & 0xFFFF0000.",
        "Before that, add something, so that the upper half grows by one where it must.",
        "bits + 0x7FFF + ((bits >> 16) & 1), then & 0xFFFF0000, then .view(np.float32)",
    ],
    advice={
        "(1,) is 1.00781": "This cuts the lower half off. The nearest number is sometimes the next one.",
        "(0,) is 1.00781": "1 + 2^-8 is a tie between 1 and 1 + 2^-7. It goes to the even one, whose last bit is 0.",
        "element (1,) is 0,": "Mind the brackets: + comes before &. Add ((bits >> 16) & 1).",
        "(0,) is 1.00391": "float16 has 11 significant bits. bfloat16 is the upper half of a float32, with 8.",
        "e+09": "These are the bits, as an integer. .view(np.float32) reads them as floats again.",
    },
)


# %% tags=["exercise"]
def round_to_bfloat16(x):
    bits = x.view(np.uint32)
    ...  # your turn


rounding.check(round_to_bfloat16)


# %% tags=["solution"]
def round_to_bfloat16(x):
    bits = x.view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


rounding.check(round_to_bfloat16)

# %% tags=["hidden"]
rounding.expect(lambda x: (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), "cuts the lower half off")
rounding.expect(
    lambda x: ((x.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32), "It goes to the even"
)
rounding.expect(lambda x: x.astype(np.float16).astype(np.float32), "upper half of a float32")
rounding.expect(
    lambda x: (x.view(np.uint32) + np.uint32(0x7FFF) + ((x.view(np.uint32) >> 16) & 1)) & np.uint32(0xFFFF0000),
    "reads them as floats",
)
rounding.expect(lambda x: None, "not written yet")

# %% [markdown]
# minitrain rounds the operands of matrix products in this way, if asked to. Is it the same?

# %%
operands = rng.standard_normal(100_000, dtype=np.float32)
with mt.backend.use_precision("bfloat16"):
    kept = mt.backend.operand(operands)
equal = np.array_equal(kept.astype(np.float32), round_to_bfloat16(operands))
print(f"{kept.dtype}, {kept.nbytes:,} bytes; the same as by your function: {equal}")

# %% tags=["hidden"]
assert np.array_equal(kept.astype(np.float32), round_to_bfloat16(operands))

# %% [markdown]
# ## Why sums stay in float32
#
# Add 0.01 again and again, in each format. How far does bfloat16 come? Predict it.

# %%
steps = np.arange(1, 3001)
figure, axes = plt.subplots(figsize=(7.5, 3.6))
axes.plot(steps, 0.01 * steps, "--", color=GREY, label="exact")
sums = {}
for dtype, color in ((np.float32, GREEN), (np.float16, YELLOW), (bfloat16, RED)):
    sums[dtype] = np.add.accumulate(np.full(3000, 0.01, dtype), dtype=dtype).astype(np.float64)
    axes.plot(steps, sums[dtype], color=color, label=str(np.dtype(dtype)))
axes.set(xlabel="additions of 0.01", ylabel="sum")
axes.legend()
plt.show()

# %% [markdown]
# It comes to {{ sums[bfloat16][-1]:.0f | 4 ± 0 }}, and not a step further. From 4 to 8, bfloat16 numbers are $2^{-5}
# = 0.031$ apart. Adding 0.01 is less than half of that, so the sum is rounded back to where it was. The same happens
# to a weight of 1 with updates of 0.001: it would never move. So weights, moments of the optimizer, and all sums
# stay in float32. Only the *operands* of products have 16 bits. The errors of many operands are up and down, and
# cancel in a sum.

# %%
lengths = 2 ** np.arange(4, 15)
errors = {"operands and sums in bfloat16": [], "operands in bfloat16, sums in float32": []}
for length in lengths:
    u, v = abs(rng.standard_normal((2, 64, length), dtype=np.float32))
    exact = (u.astype(np.float64) * v).sum(axis=1)
    u16, v16 = u.astype(bfloat16), v.astype(bfloat16)
    narrow = np.add.accumulate(u16 * v16, axis=1, dtype=bfloat16)[:, -1].astype(np.float64)
    wide = np.add.accumulate(u16.astype(np.float32) * v16.astype(np.float32), axis=1)[:, -1]
    errors["operands and sums in bfloat16"].append(np.mean(abs(narrow - exact) / exact))
    errors["operands in bfloat16, sums in float32"].append(np.mean(abs(wide - exact) / exact))

figure, axes = plt.subplots(figsize=(7.5, 3.6))
for (name, error), color in zip(errors.items(), (RED, BLUE), strict=True):
    axes.loglog(lengths, error, "o-", color=color, label=name)
axes.set(xlabel="length of the dot product", ylabel="mean relative error")
axes.legend()
plt.show()

# %% [markdown]
# For dot products of {{ lengths[-1]:, }} pairs of positive numbers: with sums in bfloat16 the error is
# {{ 100 * errors["operands and sums in bfloat16"][-1]:.0f | ≥ 50 }} %, with sums in float32
# {{ 100 * errors["operands in bfloat16, sums in float32"][-1]:.4f | ≤ 0.02 }} %. The units of processors for
# bfloat16 products sum in float32, and so does minitrain ([mixed precision](../precision.md)).
#
# ## float16, and why losses are scaled
#
# float16 has more digits than bfloat16, but a small range: below $6 \cdot 10^{-8}$ there is nothing but zero. Are
# gradients that small? The gradient of the logits is $(p - \text{target}) / N$ for a mean over $N$ tokens
# ([notebook 3](03_softmax_and_cross_entropy.md)). Take 10,000 tokens in the vocabulary and a batch of 65,536 tokens.

# %%
logits = 1.5 * rng.standard_normal((64, 10_000))  # 64 of the batch's tokens
p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
p[np.arange(64), rng.integers(0, 10_000, 64)] -= 1
gradient = (p / 65_536).astype(np.float32)

figure, axes = plt.subplots(figsize=(8, 3.6))
for scale, color in ((1, RED), (2**16, BLUE)):
    sizes = np.log2(abs(gradient[gradient != 0]) * scale)
    axes.hist(sizes, bins=np.arange(-44, 18, 0.5), color=color, alpha=0.7, log=True, label=f"times {scale:,}")
axes.axvspan(-44, -25, color=GREY, alpha=0.2)
axes.text(-43.5, 3e5, "zero in float16", color="black", va="top")
axes.axvspan(-14, 16, color=GREEN, alpha=0.12)
axes.text(-13.5, 3e5, "float16 with all of its bits", color="black", va="top")
axes.set(xlabel="size of the gradients of logits (log2)", ylabel="how many", xlim=(-44, 17), ylim=(0.5, 5e5))
axes.legend(loc="center right")
plt.show()
lost = {scale: np.mean((gradient * np.float32(scale)).astype(np.float16) == 0) for scale in (1, 2**16)}

# %% [markdown]
# In float16, {{ 100 * lost[1]:.1f | ≥ 95 }} % of these gradients are zero. What is left is mostly the little red bar
# at $2^{-16}$: the target tokens. The model would be told what to make likelier, and nothing else. Between the two
# ranges, numbers have fewer and fewer bits.
#
# The cure costs nothing. Multiply the *loss* by a scale, here $2^{16}$. By the chain rule, every gradient is
# multiplied by it: now {{ 100 * lost[2**16]:.1f | ≤ 2 }} % are lost. Divide the gradients by the scale before
# anything reads them. How large may the scale be? That changes during training, so it is found by trying: if a
# gradient overflows to infinity, skip the update and halve the scale. After 2,000 good updates, double it. bfloat16
# has the range of float32 and needs none of this. That, and not its digits, is why it became the usual format.
#
# ## Questions
#
# 1. Where do attention with a long text, the generation of one token, and dropout stand on the roofline?
# 2. A kernel's plain store reads the line before it writes to it. What does this do to the best time of layer norm,
#    compared with a copy that does not?
# 3. With `reassoc`, the sum of a row may have other last bits on another processor. Why is that no race? What would
#    you do if results had to be the same everywhere?
# 4. Trap 4 again: the second function loses nothing, yet can be slower than one thread, if `counts` has rows of ten
#    numbers. Which cache lines do the threads write to?
# 5. Cutting off the lower 16 bits is simpler than rounding to nearest. What would it do to the mean of a million
#    numbers? And what does your rounding do to a NaN whose upper fraction bits are zero?
#
# ## Further reading
#
# - Williams, Waterman and Patterson, 2009, *Roofline: an insightful visual performance model for multicore
#   architectures*, Communications of the ACM 52(4).
# - Goto and van de Geijn, 2008, *Anatomy of high-performance matrix multiplication*, ACM TOMS 34(3).
# - Milakov and Gimelshein, 2018, *Online normalizer calculation for softmax*, arXiv:1805.02867; Dao et al., 2022,
#   *FlashAttention*, arXiv:2205.14135.
# - Micikevicius et al., 2017, *Mixed Precision Training*, arXiv:1710.03740; Kalamkar et al., 2019, *A Study of
#   BFLOAT16 for Deep Learning Training*, arXiv:1905.12322.
# - minitrain's pages on [speed](../performance.md), [precision](../precision.md) and [threads](../threads.md).
#   `minitrain profile` draws the roofline of a training step on your machine.
# - The next notebook: [translation with alignments](13_translation_with_alignments.md).
