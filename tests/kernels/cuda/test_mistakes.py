"""Mistakes planted in the text of kernels: each must be noticed by a wrong result or by the emulator."""

from __future__ import annotations

import pytest

import minitrain.kernels.cuda.linear.embedding  # noqa: F401  # each twin's module declares its source
from minitrain.backend.cuda.launch import Source
from minitrain.backend.cuda.source import INCLUDE
from tests.helpers.cuda import needs_compiler
from tests.helpers.cuda.checks import CHECKS, is_noticed
from tools.cuda_resources import sources

pytestmark = [*needs_compiler, pytest.mark.slow]
sources()

NORM, RMS = "norms/layer_norm.cu", "norms/rms_norm.cu"
ENTROPY, SOFTMAX = "classification/cross_entropy.cu", "activations/softmax.cu"
ELEMENTS, ROPE = "activations/elementwise.cu", "attention/rope.cu"
DROPOUT, EMBEDDING = "linear/dropout.cu", "linear/embedding.cu"

# File, what is wrong, the text (it occurs once, in the file or in a header that it includes), and what replaces it.
MISTAKES = [
    (
        "linear/column_sums.cu",
        "no barrier before warps are added",
        "__syncthreads();\n    if (threadIdx.y",
        "if (threadIdx.y",
    ),
    ("linear/column_sums.cu", "a warp is left out", "int warp = 1; warp < 8", "int warp = 2; warp < 8"),
    ("linear/gelu_linear.cu", "the slope is not used", "d.v[k] *= f.slope", "d.v[k] *= 1.f"),
    ("linear/gelu_linear.cu", "dhidden is overwritten, not added to", "if (accumulate) {", "if (false) {"),
    ("classification/linear_cross_entropy.cu", "the factor is not used", "a.v[k] *= times;", ";"),
    (NORM, "a row too many", "if (r >= rows) return;", "if (r > rows) return;"),
    (NORM, "the branch is not added", "a.v[i] += b.v[i];\n            store(total", "store(total"),
    (NORM, "eps is forgotten", "warp_sum(squares) / columns + eps", "warp_sum(squares) / columns"),
    (NORM, "no barrier before the sums of warps are added", "__syncthreads();  // all warps have their sums", ""),
    (NORM, "one warp's sums are left out", "int warp = 0; warp < blockDim.y", "int warp = 1; warp < blockDim.y"),
    (NORM, "the mean of g x is not subtracted", "- (a.v[i] - m) * k * gx_mean", ""),
    (NORM, "the stream's gradient is not added", "result.v[i] += t.v[i];", ";"),
    (NORM, "sums start as garbage", "store(dweight + c, Pack<V>{});", ""),
    (NORM, "two warps share their sums", "sums + threadIdx.y * 2 * columns", "sums + threadIdx.y * columns"),
    (NORM, "the last block's partial sum is left out", "p < parts", "p < parts - 1"),
    (RMS, "the mean is not divided", "gx_mean = warp_sum(gx_sum) / columns", "gx_mean = warp_sum(gx_sum)"),
    (RMS, "a row's sum over half a warp", "int bit = 16;", "int bit = 8;"),
    (RMS, "dx is overwritten, not added to", "if (accumulate) {", "if (false) {"),
    (RMS, "rows are skipped", "r += gridDim.x * blockDim.y", "r += 2 * gridDim.x * blockDim.y"),
    (ENTROPY, "the sum is not scaled down", "sum *= expf(largest - x);", ""),
    (
        ENTROPY,
        "no barrier before scratch is read",
        "__syncthreads();  // the warps' results are there\n    x = reduce_warp<Op>",
        "x = reduce_warp<Op>",
    ),
    (
        ENTROPY,
        "no barrier before scratch is used again",
        "    __syncthreads();  // all warps have read them\n    return x;\n}\n__device__ __forceinline__ float",
        "    return x;\n}\n__device__ __forceinline__ float",
    ),
    (ENTROPY, "an ignored row has a gradient", "if (y == ignore) {", "if (false) {"),
    (ENTROPY, "the target is not subtracted", "if (c == y) g -= hit;", ""),
    (
        ENTROPY,
        "smoothing forgets the class weights",
        "(class_weight ? class_weight[c] : 1.f);\n        if",
        "1.f;\n        if",
    ),
    (ENTROPY, "a last column is left out", "c < V; c += blockDim.x) mine", "c < V - 1; c += blockDim.x) mine"),
    (ENTROPY, "z-loss without its factor of two", "2.f * z_loss", "1.f * z_loss"),
    (SOFTMAX, "the largest is not subtracted", "largest = block_max(largest, scratch);", ""),
    (
        SOFTMAX,
        "a column too many",
        "c < C; c += blockDim.x) probabilities[c] *=",
        "c <= C; c += blockDim.x) probabilities[c] *=",
    ),
    (SOFTMAX, "the sum of dout y is left out", "(dout[at + c] - sum)", "dout[at + c]"),
    (ELEMENTS, "a constant of GELU", "0.044715f", "0.045f"),
    (ELEMENTS, "SiLU's slope", "s * (1.f + x * (1.f - s))", "s * (1.f - x * (1.f - s))"),
    (ELEMENTS, "the gate's gradient lacks up", "d.v[k] * b.v[k] * f.slope", "d.v[k] * f.slope"),
    (ELEMENTS, "elements behind the end", "i < n; i +=", "i <= n; i +="),
    (ROPE, "the angle's direction", "first * c[i] - sign * second", "first * c[i] + sign * second"),
    (
        ROPE,
        "the wrong row of the table",
        "cosines + (size_t)(blockIdx.x % table_rows)",
        "cosines + (size_t)(blockIdx.x / T)",
    ),
    (
        ROPE,
        "angles in single precision",
        "angle = positions[row] / scaling * frequency",
        "angle = (float)(positions[row] / scaling * frequency) + 1e-4f",
    ),
    (ROPE, "the stride of heads", "from[h * x_h + i]", "from[h * 2 * half + i]"),
    (DROPOUT, "a round of Philox is missing", "round < 10", "round < 9"),
    (
        DROPOUT,
        "the sample's index in the batch",
        "(unsigned long long)(first_sample + sample)",
        "(unsigned long long)sample",
    ),
    (DROPOUT, "the elements behind a sample's end", "if (i + part >= n) continue;", ""),
    (DROPOUT, "the upper half of the sample's index", "(unsigned)(sample >> 32), k0", "0, k0"),
    (EMBEDDING, "no barrier before the lines are added", "__syncthreads();  // all lines have their sums", ""),
    (EMBEDDING, "each place counts as a first", "(first > 0 && sorted[first - 1] == row)", "false"),
    (EMBEDDING, "gradients in sorted order", "dout + order[i] * columns", "dout + (long long)i * columns"),
    (EMBEDDING, "padding has a gradient", "row == padding ||", ""),
    (EMBEDDING, "a line is left out", "line < LINES; ++line", "line < LINES - 1; ++line"),
    (
        "clip.cu",
        "a block's sum over its first warp",
        "lane < warps ? scratch[lane] : 0.0",
        "lane < 1 ? scratch[lane] : 0.0",
    ),
    ("clip.cu", "squares in single precision", "(double)x[i] * x[i]", "(float)(x[i] * x[i])"),
    (
        "rules/adam.cu",
        "the moment is read before it is updated",
        "m.v[k] += one_minus_beta1 * (g - m.v[k]);",
        "m.v[k] += one_minus_beta2 * (g - m.v[k]);",
    ),
    ("rules/adam.cu", "eps inside the root", "sqrtf(v.v[k]) * correction + eps", "sqrtf(v.v[k] + eps) * correction"),
    ("rules/lion.cu", "no decay", "w.v[k] * decay - rate", "w.v[k] - rate"),
    (DROPOUT, "the key of a captured step", "if (key) k0 = key[0], k1 = key[1];", ""),
    ("linear/fold_keys.cu", "the kind of a part", "words[2], 0xFFFFFFFFu", "0, 0xFFFFFFFFu"),
    ("linear/fold_keys.cu", "where a path ends", "if (words[2] == 3) break;", ""),
    ("rules/adam.cu", "the rate of a captured step", "rate = (float)late[0], grad_rate", "grad_rate"),
    ("rules/adam.cu", "the root of a captured step", "correction = (float)(1 / late[3]);", ""),
    ("rules/lion.cu", "the decay of a captured step", ", decay = (float)late[1];", ";"),
    ("rules/muon.cu", "the decay of a captured step", ", decay = (float)late[1];", ";"),
    ("rules/muon.cu", "no root", "(float)sqrt(squares[0])", "(float)squares[0]"),
]


def with_headers(path: str, part: str) -> str:
    """The text of a file; the headers that have ``part`` in them stand in place of their include."""
    text = Source.all[path].text
    for header in sorted(INCLUDE.glob("*.cuh")):
        line = f"#include <{header.name}>\n"
        if line in text and part in header.read_text():
            text = text.replace(line, header.read_text().replace("#pragma once\n", ""))
    return text


@pytest.mark.parametrize("path", CHECKS)
def test_the_text_as_it_is_passes_its_checks(path):
    assert is_noticed(path, Source.all[path].text) == ""


@pytest.mark.parametrize(("path", "what", "text", "instead"), MISTAKES, ids=[f"{m[0]}: {m[1]}" for m in MISTAKES])
def test_a_planted_mistake_is_noticed(path, what, text, instead):
    whole = with_headers(path, text)
    assert text in whole, "the kernel has changed: plant the mistake anew"
    assert is_noticed(path, whole.replace(text, instead, 1)) != "", what
