"""Sums over many rows keep their digits: gradients of weights, over 100,000 samples and over texts as long.

One running float32 sum over so many numbers is off by 6e-6 of its value; with millions of rows by 1e-3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain.testing.cases import Call, Case, Extent
from tests.helpers.op_runs import MODES, as_list, cotangents, every_op, has_kernels, kernels

MANY = 100_000
NARROW = st.sampled_from([2, 3, 5, 8])
COUPLED = {"attention", "info_nce", "siglip", "supervised_contrastive"}
"""Each row meets each other one, so work and memory grow with the square of their number."""


def many(case: Case) -> st.SearchStrategy[Extent]:
    """Many samples, or long ones."""
    number = 500 if case.name in COUPLED else 4000 if case.family == "images" else MANY
    short = st.integers(1, 2)
    return st.sampled_from([Extent(st.just(number), short, NARROW), Extent(short, st.just(number), NARROW)])


def draw_call(data: Any, case: Case) -> Call:
    call = data.draw(case.calls(data.draw(many(case))))
    if "chunk" in call.options:  # a Python loop over chunks of a row or two would take minutes
        call = replace(call, options=call.options | {"chunk": 1024})
    return call


def sums(case: Case, call: Call, mode: str) -> list[Any]:
    """The outputs and gradients that are sums over many rows, for cotangents above 0: each row adds to them."""
    with kernels(mode):
        result = case.pair.forward(*call.inputs, **call.options)
        outputs = case.outputs(result)
        gradients = as_list(case.pair.backward(*map(abs, cotangents(case, outputs, seed=2**20)), result[-1]))
    return [x for x in [*outputs, *gradients] if x is not None and 100 * x.size < largest(call)]


def largest(call: Call) -> int:
    """Elements of the largest input."""
    return max(x.size for x in call.arrays())


@every_op
@settings(max_examples=4, phases=[Phase.generate])  # shrinking such arrays would take hours
@given(st.data())
def test_sums_over_many_rows_are_as_exact_as_double_precision(case, data):
    call = draw_call(data, case).astype(np.float32)
    noise = 1e-7 * np.sqrt(largest(call))  # the terms of a sum, which are about 1, are rounded
    exact = sums(case, call.astype(np.float64), "reference")
    if not exact:
        return  # nothing was added up: other tests compare the values
    for mode in MODES if has_kernels(case) else MODES[:1]:
        for a, e in zip(sums(case, call, mode), exact, strict=True):
            gap, scale = abs(a - e).max(initial=0), abs(e).max(initial=0)
            assert gap <= 2e-6 * scale + noise, f"{mode}, {a.shape}: off by {gap:.1e} on a scale of {scale:.1e}"
