"""Mistakes planted in the text of attention's kernels: the emulator and the values must notice each of them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pytest

from minitrain.backend.cuda.source import INCLUDE, KERNELS
from minitrain.kernels.cuda.attention import declared
from minitrain.random import Key
from minitrain.testing.cuda import EmulatorError
from tests.helpers.cuda import needs_compiler
from tests.helpers.cuda.attention_runs import Problem, check, problem

pytestmark = [*needs_compiler, pytest.mark.slow]

FORWARD, BACKWARD, DECODE = declared.FORWARD, declared.BACKWARD, declared.DECODE
SIGHT, TILES, SOFTMAX = (f"attention_{name}.cuh" for name in ("sight", "tiles", "softmax"))
KEYS, QUERIES = "attention_backward_keys", "attention_backward_queries"
GETTERS = ("forward_kernel", "backward_kernels", "decode_kernels")


class Mutant(NamedTuple):
    """A planted mistake: the text ``old`` of a file becomes ``new``, once, after ``within`` (a kernel's name)."""

    file: str
    old: str
    new: str
    within: str = ""
    kind: str = "bfloat16"  # the problems that can show it


MUTANTS = (
    # Barriers and waits.
    Mutant(FORWARD, "__syncthreads();     // the tile has arrived", ""),
    Mutant(FORWARD, "__syncthreads();  // the tile may be overwritten", ""),
    Mutant(FORWARD, "cp_async_wait<1>()", "cp_async_wait<2>()"),
    Mutant(FORWARD, "cp_async_wait<1>();", ""),
    Mutant(FORWARD, "buffer ^ 1);", "buffer);"),
    Mutant(BACKWARD, "__syncthreads();  // the tile has arrived", "", KEYS),
    Mutant(BACKWARD, "__syncthreads();  // the tile may be overwritten", "", KEYS),
    Mutant(BACKWARD, "cp_async_wait<1>()", "cp_async_wait<2>()", KEYS),
    Mutant(BACKWARD, "__syncthreads();  // the tile has arrived", "", QUERIES),
    Mutant(BACKWARD, "__syncthreads();  // the tile may be overwritten", "", QUERIES),
    Mutant(BACKWARD, "cp_async_wait<1>()", "cp_async_wait<2>()", QUERIES),
    # A block of decoding is one warp. The emulator's lanes wait for each other in every product, so values do not show
    # whether its two barriers are there; on a device they order memory.
    Mutant(DECODE, "cp_async_wait<1>()", "cp_async_wait<2>()", kind="decode"),
    Mutant(DECODE, "buffer ^ 1);", "buffer);", kind="decode"),
    # What a query sees.
    Mutant(SIGHT, "t + lead - back + 1", "t + lead - back", kind="window"),
    Mutant(SIGHT, "t + lead + ahead)", "t + lead + ahead + 1)"),
    Mutant(SIGHT, "min(keys, t + lead + ahead)", "t + lead + ahead", kind="lengths"),
    Mutant(SIGHT, "key >= first(t_last)", "key >= first(t)", kind="window"),
    Mutant(SIGHT, "key_last < end(t)", "key_last < end(t_last)"),
    Mutant(SIGHT, "key - ahead - lead + 1", "key - ahead - lead + 64"),
    Mutant(SIGHT, "last - lead + back - 1", "last - lead + back - 65", kind="window"),
    Mutant(FORWARD, "key < first || key >= end", "key < first || key > end"),
    Mutant(FORWARD, "sight.first(t0) / WIDTH * WIDTH", "sight.first(t_last) / WIDTH * WIDTH", kind="window"),
    Mutant(FORWARD, "stop = sight.end(t_last)", "stop = sight.end(t0)"),
    Mutant(FORWARD, "t_last = min(t0 + ROWS, T) - 1", "t_last = t0"),
    Mutant(BACKWARD, "tile % tiles * WIDTH;\n        load", "tile % tiles * WIDTH + 1;\n        load", KEYS),
    Mutant(BACKWARD, "blockIdx.y * group + tile / tiles, t0", "blockIdx.y * group, t0", KEYS),
    Mutant(DECODE, "min(span + SPAN, sight.end(T - 1))", "sight.end(T - 1)", kind="decode"),
    Mutant(DECODE, "(lane / 4 + 8 * half) / group", "(lane / 4 + 8 * half)", kind="decode"),
    # Softmax.
    Mutant(SOFTMAX, "scale * LOG2E", "scale"),
    Mutant(SOFTMAX, "return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2))", "return x"),
    Mutant(SOFTMAX, "row.total[half] * rescale", "row.total[half]"),
    Mutant(SOFTMAX, "sum[j][2 * half + 1] *= rescale", ""),
    Mutant(SOFTMAX, "top == -infinity() ? 0.f : top * factor", "top * factor", kind="lengths"),
    Mutant(SOFTMAX, "top * scale + logf(total)", "top + logf(total)"),
    Mutant(SOFTMAX, "total == 0.f ? 0.f : 1.f / total", "1.f / total", kind="lengths"),
    Mutant(FORWARD, "row_sum(row.total[half])", "row.total[half]"),
    # Tiles and fragments.
    Mutant(TILES, "row + r < end && c < d", "c < d"),
    Mutant(TILES, "row + r < end && c < d", "row + r < end", kind="narrow"),
    Mutant(TILES, "LD = D + VECTOR", "LD = D + VECTOR / 2"),
    Mutant(
        TILES,
        "lane % 8 + lane / 16 * 8) * LD + d + lane / 8 % 2 * 8",
        "lane % 8 + lane / 8 % 2 * 8) * LD + d + lane / 16 * 8",
    ),
    Mutant(TILES, "ldmatrix_x4_trans", "ldmatrix_x4"),
    Mutant(TILES, "p[j + i / 2][i % 2 * 2],", "p[j + i % 2][i / 2 * 2],"),
    Mutant(TILES, "lane / 4 * 4 + k / 2", "lane / 4 * 4 + k % 4", kind="float32"),
    Mutant(TILES, "fmaf(a1.w, x.w", "fmaf(a0.w, x.w", kind="float32"),
    Mutant(TILES, "mma_f16(d, a, b0, b1)", "mma_bf16(d, a, b0, b1)", kind="float16"),
    Mutant(TILES, "{upper[0], lower[0], upper[4], lower[4]}", "{upper[0], upper[4], lower[0], lower[4]}", kind="tf32"),
    Mutant(TILES, "multiply(out[c], fp, x[0], x[LD])", "multiply(out[c], fp, x[0], x[4 * LD])", kind="tf32"),
    # Formulas of the backward.
    Mutant(BACKWARD, "e * (ds[j][i] * m - row_tile[2 * c + 1])", "e * (ds[j][i] * m)", KEYS),
    Mutant(BACKWARD, "e * (ds[j][i] * m - delta[i / 2])", "e * (ds[j][i] * m + delta[i / 2])", QUERIES),
    Mutant(BACKWARD, "dk_sum, s0 + own, S, d, scale", "dk_sum, s0 + own, S, d, 1.f", KEYS),
    Mutant(BACKWARD, "dv_sum, s0 + own, S, d, 1.f", "dv_sum, s0 + own, S, d, scale", KEYS),
    Mutant(BACKWARD, "float delta = 0.f, L = 0.f", "float delta = 1.f, L = 0.f"),
    Mutant(BACKWARD, "* LOG2E;\n    }", ";\n    }"),
    Mutant(BACKWARD, "if (t < T) {", "{"),
    Mutant(BACKWARD, "(add ? *place : 0.f)", "0.f", kind="into"),
    Mutant(BACKWARD, "p[j][i] = e * m", "p[j][i] = e", KEYS, "dropout"),
    Mutant(BACKWARD, "keep[c * (ROWS + 4) + r]", "keep[r * (WIDTH + 4) + c]", KEYS, "dropout"),
    Mutant(BACKWARD, "keep[r * (WIDTH + 4) + c]", "keep[r * (WIDTH + 4) + c + 1]", QUERIES, "dropout"),
    Mutant(FORWARD, "s[j][i] * dropout.factor", "s[j][i]", kind="dropout"),
    Mutant(SIGHT, "COLUMNS / 4 + 1", "COLUMNS / 4", kind="dropout"),
    Mutant(SIGHT, "words.w[e] >= dropout", "words.w[e] < dropout", kind="dropout"),
    Mutant(
        SIGHT, "dropout.sample, dropout.key0", "static_cast<unsigned>(dropout.sample), dropout.key0", kind="dropout"
    ),
    # Parts of decoding.
    Mutant(DECODE, "fmaf(weight, parts[part * d + c], sum)", "sum + parts[part * d + c]", kind="decode"),
    Mutant(DECODE, "total += weight", "total += 1.f", kind="decode"),
    Mutant(DECODE, "r % group * q_head", "r * q_head", kind="decode"),
)


def problems(kind: str) -> list[tuple[Problem, str]]:
    """Small calls that can show a mistake, and their precision."""
    plain = problem(1, 130, 140, 2, 1, 16, causal=True)
    return {
        "bfloat16": [(plain, "bfloat16"), (problem(1, 67, 70, 1, 1, 16), "bfloat16")],
        "float16": [(plain, "float16")],
        "float32": [(problem(1, 67, 70, 1, 1, 16, causal=True), "float32")],
        "tf32": [(problem(1, 67, 70, 1, 1, 16, causal=True), "tf32")],
        "narrow": [(problem(1, 20, 30, 2, 2, 8), "bfloat16")],
        "window": [
            (problem(1, 200, 200, 1, 1, 16, causal=True, window=65), "bfloat16"),
            (problem(1, 130, 200, 1, 1, 16, window=3), "bfloat16"),
        ],
        "lengths": [
            (problem(2, 67, 70, 1, 1, 16, key_lengths=np.array([0, 66])), "bfloat16"),
            (problem(1, 100, 30, 1, 1, 16, causal=True), "bfloat16"),  # most queries of a tile see nothing
        ],
        "decode": [
            (problem(2, 3, 300, 4, 2, 16, causal=True), "bfloat16"),
            (problem(1, 1, 200, 1, 1, 16, key_lengths=np.array([40])), "bfloat16"),
        ],
        "dropout": [(problem(2, 67, 71, 2, 1, 16, dropout=0.4, key=Key.from_seed(3).at_sample(2**33 + 5)), "bfloat16")],
        "into": [(plain, "bfloat16")],
    }[kind]


def expanded(path: str, mutant: Mutant | None) -> str:
    """The text of a file with its attention headers written out, one of them with a mistake."""
    seen: set[str] = set()

    def text_of(name: str, text: str) -> str:
        if mutant is not None and name == mutant.file:
            at = text.index(mutant.within + "(") if mutant.within else 0
            assert mutant.old in text[at:], f"{mutant.old!r} is not in {name}"
            text = text[:at] + text[at:].replace(mutant.old, mutant.new, 1)
        return re.sub(r"#include <(attention_\w+\.cuh)>", included, text.replace("#pragma once", ""))

    def included(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return text_of(name, (INCLUDE / name).read_text())

    return text_of(path, (KERNELS / path).read_text())


def plant(monkeypatch: pytest.MonkeyPatch, mutant: Mutant | None) -> None:
    """Let attention use the changed text, in kernels of its own."""
    monkeypatch.setattr(declared, "text_of", lambda path: expanded(path, mutant))
    for name in GETTERS:
        getattr(declared, name).cache_clear()


@pytest.fixture(autouse=True)
def right_kernels_afterwards():
    yield
    for name in GETTERS:
        getattr(declared, name).cache_clear()


def notice(kind: str) -> str | None:
    """What notices a mistake, or ``None``."""
    from tests.kernels.cuda.test_attention import test_into

    try:
        for p, precision in problems(kind):
            check(p, precision)
        if kind == "into":
            test_into("bfloat16")
    except (EmulatorError, AssertionError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "kind", ["bfloat16", "float16", "float32", "narrow", "window", "lengths", "decode", "dropout", "into"]
)
def test_the_right_kernels_pass(kind, monkeypatch):
    plant(monkeypatch, None)
    assert notice(kind) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file.partition('.')[0].rpartition('/')[2]}-{m.old[:40]}")
def test_a_mistake_is_noticed(mutant, monkeypatch):
    plant(monkeypatch, mutant)
    assert notice(mutant.kind) is not None
