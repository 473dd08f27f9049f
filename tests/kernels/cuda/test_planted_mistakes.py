"""``tools/cuda_mutants``: which mistakes it makes, that each has its switch, and that checks notice them."""

from __future__ import annotations

import math
import re

import pytest

from tests.helpers.cuda import needs_compiler
from tools.cuda_mutants.code import Code
from tools.cuda_mutants.expressions import wrong_number
from tools.cuda_mutants.switches import Mutated
from tools.cuda_mutants.trial import try_unit
from tools.cuda_mutants.units import mutated_files, unchecked, units

pytestmark = needs_compiler

SMALL = """\
#include <reduce.cuh>
constexpr int SIZE = 8;

// x[i] = 2 x[i]
template <int V>
__global__ void __launch_bounds__(256) twice(float* __restrict__ x, int n) {
    __shared__ float scratch[32];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n || !x) return;
    for (int k = 0; k < V; ++k) x[i * V + k] *= 2.f;
    __syncthreads();  // all have written
    const float y = x[i] < 0.f ? -x[i] : fmaxf(x[i], scratch[i % 32]);
    x[i] += y;
}
"""


def mistakes_of(text: str) -> list[tuple[str, str]]:
    return [(mistake.kind, mistake.after) for mistake in Mutated("test.cu", text, 100).mistakes]


def test_the_mistakes_of_a_kernel():
    found = mistakes_of(SMALL)
    for expected in [
        ("constant", "constexpr int SIZE = 9;"),
        ("index", "const int i = blockIdx.y * blockDim.x + threadIdx.x;"),
        ("operator", "const int i = blockIdx.x * blockDim.x - threadIdx.x;"),
        ("term", "const int i = threadIdx.x;"),
        ("comparison", "if (i > n || !x) return;"),
        ("condition", "if (false) return;"),
        ("term", "if (i >= n) return;"),
        ("constant", "for (int k = 1; k < V; ++k) x[i * V + k] *= 2.f;"),
        ("condition", "for (int k = 0; false; ++k) x[i * V + k] *= 2.f;"),
        ("statement", "for (int k = 0; k < V; ++k) ;"),
        ("barrier", "; // all have written"),
        ("sign", "const float y = x[i] < 0.f ? x[i] : fmaxf(x[i], scratch[i % 32]);"),
        ("condition", "const float y = true ? -x[i] : fmaxf(x[i], scratch[i % 32]);"),
        ("extreme", "const float y = x[i] < 0.f ? -x[i] : fminf(x[i], scratch[i % 32]);"),
        ("operator", "x[i] -= y;"),
        ("statement", ";"),
    ]:
        assert expected in found
    assert len(found) == len(set(found))
    assert not any("scratch[33]" in after or "__launch_bounds__" in after for _, after in found)


def test_a_barrier_may_come_too_late():
    late = next(m for m in Mutated("test.cu", SMALL, 100).mistakes if m.kind == "barrier" and m.after[0] != ";")
    assert re.fullmatch(r"// all have written const float y = .*; __syncthreads\(\);", late.after)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("0", "1"), ("1", "0"), ("16", "17"), ("0.f", "1.0f"), ("1.f", "2.0f"), ("0xffffffffu", "0x7fffffffu")],
)
def test_numbers_that_are_wrong(right, wrong):
    assert wrong_number(right) == wrong


def test_every_mistake_of_every_kernel_is_behind_a_switch_or_compiled_apart():
    files = mutated_files()
    assert sum(len(file.mistakes) for file in files.values()) > 5000
    for path, file in files.items():
        text = file.with_switches()
        assert text.count("\n") == file.text.count("\n"), path
        switches = {int(n) - file.base for n in re.findall(r"(?:mut::\w+(?:<long long>)?|MUT_WITHOUT)\((\d+)", text)}
        for site in file._sites:
            assert site.numbers[0] in switches, (path, file.mistakes[site.numbers[0]])
        for number in range(len(file.mistakes)):
            assert file.with_mistake(number) != file.text


def test_every_kernel_has_checks():
    assert unchecked() == []


def test_code_that_is_no_expression_is_left_alone():
    code = Code("test.cu", SMALL)
    assert [part.name for part in code.parts] == ["declarations", "twice"]


@pytest.mark.slow
def test_mistakes_in_a_kernel_are_noticed():
    unit, files = next(unit for unit in units() if unit.path == "rules/lion.cu"), mutated_files()
    todo = [(unit.path, n) for n, m in enumerate(files[unit.path].mistakes) if m.kind in ("sign", "statement")]
    found = list(try_unit(unit, files, todo, 2, math.inf))
    assert len(found) == len(todo) > 5
    assert all(result.killer for result in found)
