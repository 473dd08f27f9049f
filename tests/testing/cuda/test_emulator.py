"""The emulator itself, against sources other than the kernels: what it computes, and the mistakes it must see."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.errors import DeviceError
from minitrain.testing.cuda import Emulator, EmulatorError, Schedule, emulate
from minitrain.testing.cuda.emulator import ALL_SCHEDULES
from tests.helpers.cuda import bfloat16_bits, emulated, from_bfloat16, needs_compiler, source_of

pytestmark = needs_compiler

RIGHT = r"""
#include <ptx.cuh>
__global__ void to_bf16(const float* x, bf16* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __float2bfloat16(x[i]);
}
__global__ void to_f16(const float* x, f16* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __float2half_rn(x[i]);
}
__global__ void from_f16(const f16* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = __half2float(x[i]);
}
__global__ void one_mma(const unsigned* a, const unsigned* b, float* d, int half) {
    unsigned fa[4];
    float fd[4] = {};
    const int l = threadIdx.x;
    for (int i = 0; i < 4; ++i) fa[i] = a[4 * l + i];
    if (half) mma_f16(fd, fa, b[2 * l], b[2 * l + 1]);
    else mma_bf16(fd, fa, b[2 * l], b[2 * l + 1]);
    for (int i = 0; i < 4; ++i) d[4 * l + i] = fd[i];
}
__global__ void one_tf32(const float* a, const float* b, float* d) {  // a (16, 8), b (8, 8)
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const unsigned fa[4] = {float_to_tf32(a[g * 8 + t]), float_to_tf32(a[(g + 8) * 8 + t]),
                            float_to_tf32(a[g * 8 + t + 4]), float_to_tf32(a[(g + 8) * 8 + t + 4])};
    float fd[4] = {};
    mma_tf32(fd, fa, float_to_tf32(b[t * 8 + g]), float_to_tf32(b[(t + 4) * 8 + g]));
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}
// d (16, 8) = a (16, 16) b (16, 8) through shared memory: a by rows, b by rows with .trans
__global__ void through_shared(const bf16* a, const bf16* b, float* d) {
    __shared__ __align__(16) bf16 sa[16][24], sb[16][8];
    const int l = threadIdx.x;
    for (int i = l; i < 32; i += 32) cp_async16(&sa[i / 2][i % 2 * 8], a + i * 8);
    if (l < 16) cp_async16(&sb[l][0], b + l * 8);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    unsigned fa[4], fb[2];
    float fd[4] = {};
    ldmatrix_x4(fa, &sa[l % 16][l / 16 * 8]);
    ldmatrix_x2_trans(fb, &sb[l % 16][0]);
    mma_bf16(fd, fa, fb[0], fb[1]);
    for (int i = 0; i < 4; ++i) d[(l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2] = fd[i];
}
__global__ void lanes(int* out) {
    const int l = threadIdx.x, x = l * l % 17;
    int* row = out + 10 * l;
    row[0] = __shfl_xor_sync(~0u, x, 5);
    row[1] = __shfl_down_sync(~0u, x, 3);
    row[2] = __shfl_up_sync(~0u, x, 3, 8);
    row[3] = __shfl_sync(~0u, x, 9, 16);
    row[4] = (int)__ballot_sync(~0u, x > 8);
    row[5] = __reduce_add_sync(~0u, x);
    row[6] = __reduce_max_sync(~0u, x);
    row[7] = __any_sync(~0u, x == 16) * 2 + __all_sync(~0u, x < 17);
    row[8] = (int)__match_any_sync(~0u, x);
    row[9] = __syncthreads_count(x > 8);
}
__global__ void part_of_a_warp(int* out) {
    if (threadIdx.x >= 24) out[threadIdx.x] = __shfl_xor_sync(0xff000000u, int(threadIdx.x), 7);
}
"""
SIGNATURES = {
    "to_bf16": "f4* x, bf16* y",
    "to_f16": "f4* x, f2* y",
    "from_f16": "f2* x, f4* y",
    "one_mma": "u4* a, u4* b, f4* d, i4 half",
    "one_tf32": "f4* a, f4* b, f4* d",
    "through_shared": "bf16* a, bf16* b, f4* d",
    "lanes": "i4* out",
    "part_of_a_warp": "i4* out",
}
_, RIGHT_KERNELS = source_of(RIGHT, **SIGNATURES)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def awkward_floats():
    """Random bits, ties, overflows, denormals."""
    bits = np.random.default_rng(0).integers(0, 2**32, 1 << 14, np.uint32)
    bits[:8] = 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x80000001, 0x477FEFFF, 0x477FF000, 0x33000000, 0x33000001
    return bits.view(np.float32)


def test_bfloat16_is_rounded_to_the_nearest():
    x = awkward_floats()
    y = np.zeros(x.size, np.uint16)
    with emulated():
        RIGHT_KERNELS["to_bf16"](x.size // 256, 256, x, y)
    nan = np.isnan(x)
    assert (y[nan] == 0x7FFF).all()
    np.testing.assert_array_equal(y[~nan], bfloat16_bits(x)[~nan])


def test_float16_is_numpys():
    x = awkward_floats()
    y, every = np.zeros(x.size, np.float16), np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    back = np.zeros(1 << 16, np.float32)
    with emulated(), np.errstate(over="ignore"):
        RIGHT_KERNELS["to_f16"](x.size // 256, 256, x, y)
        RIGHT_KERNELS["from_f16"](256, 256, every, back)
        np.testing.assert_array_equal(y, x.astype(np.float16))
    np.testing.assert_array_equal(back, every.astype(np.float32))


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_fragments_of_mma(kind):
    """Built as strided layouts (lane = 4 g + t, bits of the element), not by the emulator's formulas."""
    g, t, e = np.arange(8), np.arange(4), np.arange(2)

    def index(*axes):
        return sum(np.expand_dims(v, [k for k in range(len(axes)) if k != i]) for i, v in enumerate(axes))

    a, b = normal(16, 16), normal(16, 8, seed=1)
    fa = a[index(g, 0 * t, 0 * e, 8 * e, 0 * e), index(0 * g, 2 * t, 8 * e, 0 * e, e)]  # (8, 4, 2, 2, 2)
    fb = b[index(0 * g, 2 * t, 8 * e, e), index(g, 0 * t, 0 * e, 0 * e)]  # (8, 4, 2, 2)
    to_bits = bfloat16_bits if kind == "bfloat16" else lambda x: x.astype(np.float16).view(np.uint16)
    back = from_bfloat16 if kind == "bfloat16" else lambda x: x.view(np.float16).astype(np.float32)
    words = [np.ascontiguousarray(to_bits(np.ascontiguousarray(f))).view(np.uint32) for f in (fa, fb)]
    d = np.zeros((8, 4, 2, 2), np.float32)
    with emulated():
        RIGHT_KERNELS["one_mma"](1, 32, *words, d, kind == "float16")
    full = back(to_bits(a)).astype(np.float64) @ back(to_bits(b))
    expected = full[index(g, 0 * t, 8 * e, 0 * e), index(0 * g, 2 * t, 0 * e, e)]
    np.testing.assert_allclose(d, expected, atol=1e-5)


def test_tf32_keeps_ten_bits():
    a, b, d = normal(16, 8), normal(8, 8, seed=1), np.zeros((16, 8), np.float32)
    with emulated():
        RIGHT_KERNELS["one_tf32"](1, 32, a, b, d)
    assert 1e-6 < abs(d - a.astype(np.float64) @ b).max() < 2e-2
    for x in (a, b):  # numbers that fit lose nothing
        x.view(np.uint32)[...] &= 0xFFFFE000
    with emulated():
        RIGHT_KERNELS["one_tf32"](1, 32, a, b, d)
    np.testing.assert_allclose(d, a.astype(np.float64) @ b, atol=1e-5)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=str)
def test_a_product_through_shared_memory(schedule):
    a, b, d = bfloat16_bits(normal(16, 16)), bfloat16_bits(normal(16, 8, seed=1)), np.zeros((16, 8), np.float32)
    with emulate(Emulator([schedule])) as emulator:
        RIGHT_KERNELS["through_shared"](1, 32, a, b, d)
    np.testing.assert_allclose(d, from_bfloat16(a).astype(np.float64) @ from_bfloat16(b), atol=1e-5)
    assert emulator.statistics.ldmatrix == 6
    assert emulator.statistics.ldmatrix_conflicts == 0
    assert emulator.statistics.barriers == 1


def test_lanes_of_a_warp():
    out, part = np.zeros((32, 10), np.int32), np.zeros(64, np.int32)
    with emulated():
        RIGHT_KERNELS["lanes"](1, 32, out)
        RIGHT_KERNELS["part_of_a_warp"](1, 32, part)
    lane = np.arange(32)
    x = lane * lane % 17
    np.testing.assert_array_equal(out[:, 0], x[lane ^ 5])
    np.testing.assert_array_equal(out[:, 1], np.where(lane < 29, x[(lane + 3) % 32], x))
    np.testing.assert_array_equal(out[:, 2], np.where(lane % 8 >= 3, x[lane - 3], x))
    np.testing.assert_array_equal(out[:, 3], x[lane // 16 * 16 + 9])
    assert set(out[:, 4].view(np.uint32)) == {sum(1 << int(i) for i in lane if x[i] > 8)}
    assert set(out[:, 5]) == {x.sum()}
    assert set(out[:, 6]) == {x.max()}
    assert set(out[:, 7]) == {3}
    same = [sum(1 << int(i) for i in lane if x[i] == own) for own in x]
    np.testing.assert_array_equal(out[:, 8].view(np.uint32), same)
    assert set(out[:, 9]) == {(x > 8).sum()}
    np.testing.assert_array_equal(part[24:32], np.arange(24, 32)[::-1])


WRONG = r"""
#include <ptx.cuh>
__global__ void past_the_end(float* x) { x[threadIdx.x] = 1.f; }
__global__ void before_the_start(float* x) { x[(int)threadIdx.x - 1] = 1.f; }
__global__ void null_pointer(float* x) { x[threadIdx.x] = 1.f; }
__global__ void misaligned(float* x) { *reinterpret_cast<float4*>(x + 1) = {1, 2, 3, 4}; }
__global__ void divergent_barrier(float* x) {
    if (threadIdx.x < 16) __syncthreads();
    else x[__shfl_xor_sync(0xffff0000u, threadIdx.x, 1)] = 1.f;
    if (threadIdx.x < 16) __syncthreads();
    else x[__shfl_xor_sync(0xffffffffu, threadIdx.x, 1)] = 1.f;
}
__global__ void two_barriers(float* x) {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void two_operations(float* x) {
    if (threadIdx.x % 2) x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.f, 1);
    else __syncwarp();
}
__global__ void lane_gone(float* x) {
    if (threadIdx.x == 7) return;
    x[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.f, 1);
}
__global__ void lane_outside(float* x) {
    if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.f, 16);
}
__global__ void no_barrier(float* x) {
    __shared__ float s[64];
    s[threadIdx.x] = threadIdx.x;
    x[threadIdx.x] = s[(threadIdx.x + 32) % 64];
}
__global__ void no_wait(float* x) {
    __shared__ __align__(16) float s[64];
    if (threadIdx.x < 16) cp_async16(s + 4 * threadIdx.x, x + 4 * threadIdx.x);
    cp_async_commit();
    __syncthreads();
    const float v = s[63 - threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = v;
}
__global__ void unordered_sum(float* x) { atomicAdd(x, expf(threadIdx.x % 16) / 3.f); }
__global__ void shared_too_small(float* x) {
    extern __shared__ __align__(16) unsigned char smem[];
    reinterpret_cast<float*>(smem)[threadIdx.x] = x[threadIdx.x];
}
__global__ void index_outside(float* x) {
    float local[4] = {1, 2, 3, 4};
    x[threadIdx.x] = local[threadIdx.x / 8];
}
__global__ void overflow(float* x, int n) { x[threadIdx.x] = (float)(n * ((int)threadIdx.x + 1)); }
"""
MISTAKES = {
    "past_the_end": ({"threads": 64, "size": 60}, "the end of x, at test.cu:3"),
    "before_the_start": ({}, r"writes -?4 bytes before x"),
    "null_pointer": ({"size": None}, "a null pointer"),
    "misaligned": ({}, "not a multiple of 16 as its type needs, at test.cu:6 in thread"),
    "divergent_barrier": ({}, "a deadlock: a thread waits in"),
    "two_barriers": ({}, "threads wait at two barriers, test.cu:15 and test.cu:17"),
    "two_operations": ({}, "different operations, .*__syncwarp at test.cu:21"),
    "lane_gone": ({}, "waits for lane 7, which has left the kernel"),
    "lane_outside": ({}, "lane 0 reads lane 16, which takes no part"),
    "no_barrier": ({"threads": 64}, "depends on the order of threads"),
    "no_wait": ({"threads": 64}, "depends on the order of threads"),
    "unordered_sum": ({"threads": 64}, "depends on the order of threads: .* leave different bytes in x"),
    "shared_too_small": ({"threads": 64, "shared": 128}, "byte 128 of the dynamic shared memory was written"),
    "index_outside": ({"threads": 64}, "an index is outside its array, at test.cu:51 in thread .32, 0, 0."),
    "overflow": ({}, "an int overflows in a product, at test.cu:53"),
}
_, WRONG_KERNELS = source_of(WRONG, **{name: "f4* x?" + ", i4 n" * (name == "overflow") for name in MISTAKES})


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_an_error_that_says_where(name):
    settings, message = MISTAKES[name]
    size = settings.get("size", 64)
    x = None if size is None else np.zeros(size, np.float32)
    more = (2**30,) if name == "overflow" else ()
    with emulated(), pytest.raises(EmulatorError, match=message) as caught:
        WRONG_KERNELS[name](2, settings.get("threads", 32), x, *more, shared=settings.get("shared", 0))
    assert name in str(caught.value)
    assert x is None or not x.any()  # a launch that fails changes nothing


def test_shared_memory_is_nan_until_it_is_written():
    text = """
    __global__ void reads(float* x, int n) {
        __shared__ float s[32];
        if (threadIdx.x < n) s[threadIdx.x] = 1;
        x[threadIdx.x] = s[threadIdx.x];
    }"""
    _, kernels = source_of(text, reads="f4* x, i4 n")
    x = np.zeros(32, np.float32)
    with emulated():
        kernels["reads"](1, 32, x, 20)
    np.testing.assert_array_equal(np.isnan(x), np.arange(32) >= 20)


def test_arrays_that_overlap_stay_one_memory():
    """As an update in place has them: the second argument is a part of the first."""
    text = "__global__ void shift(float* x, const float* y, int n) { for (int i = 0; i < n; ++i) x[i] = y[i] + 1; }"
    _, kernels = source_of(text, shift="f4* x, f4* y, i4 n")
    x = np.zeros(9, np.float32)
    with emulated():
        kernels["shift"](1, 1, x[1:], x[:-1], 8)
    np.testing.assert_array_equal(x, np.arange(9))


NEIGHBOURS = """
__global__ void one_write(float* x, float* y, int at) { x[at] = 1.f; }
__global__ void one_read(float* x, float* y, int at) { x[0] = y[at]; }
"""
_, ONE = source_of(NEIGHBOURS, one_write="f4* x, f4* y, i4 at", one_read="f4* x, f4* y, i4 at")


@pytest.mark.parametrize(
    ("kernel", "x", "y", "at", "words"),
    [
        # y lies over the end of x, in one memory: what is behind it is behind y.
        ("one_write", np.s_[:40], np.s_[20:60], 64, "16 bytes behind the end of y"),
        ("one_write", np.s_[20:60], np.s_[:40], -24, "16 bytes before y"),
        ("one_write", np.s_[20:60], np.s_[:40], 41, "4 bytes behind the end of x"),
        ("one_write", np.s_[:40], np.s_[:40], 40, "0 bytes behind the end of x and y"),
        # Apart, and some pages away: it is not the other array that is meant.
        ("one_write", np.s_[:40], np.s_[50:90], 40 + 3 * 1024, f"{3 * 4096} bytes behind the end of x"),
        ("one_read", np.s_[:40], np.s_[50:90], 40 + 3 * 1024, f"{3 * 4096} bytes behind the end of y"),
        ("one_read", np.s_[:40], np.s_[50:90], -5, "20 bytes before y"),
        ("one_read", np.s_[:40], np.s_[50:90], -3 * 1024, f"{3 * 4096} bytes before y"),
    ],
)
def test_a_place_outside_arrays_is_told_from_the_array_that_is_meant(kernel, x, y, at, words):
    memory = np.zeros(100, np.float32)
    with emulated(), pytest.raises(EmulatorError, match=rf"{words}[, ]"):
        ONE[kernel](1, 1, memory[x], memory[y], at)


def test_a_declaration_that_does_not_fit_does_not_compile():
    text = "__global__ void one(float* x, int n) { x[0] = n; }"
    _, kernels = source_of(text, one="f4* x, i8 n")
    with emulated(), pytest.raises(DeviceError, match="the parameters of one are not those that Python declares"):
        kernels["one"](1, 1, np.zeros(1, np.float32), 1)


def test_the_portable_switch_of_stacks():
    """What processors other than x86-64 use."""
    out = np.zeros((32, 10), np.int32)
    with emulate(Emulator([Schedule("forward", True)], extra=("-DEMU_UCONTEXT",))):
        RIGHT_KERNELS["lanes"](1, 32, out)
    expected = np.zeros_like(out)
    with emulated():
        RIGHT_KERNELS["lanes"](1, 32, expected)
    np.testing.assert_array_equal(out, expected)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    _, kernels = source_of("__global__ void nothing(int n) {}", nothing="i4 n")
    with emulate(Emulator()), pytest.raises(DeviceError, match=r"compiles with g\+\+, which was not found"):
        kernels["nothing"](1, 1, 1)
