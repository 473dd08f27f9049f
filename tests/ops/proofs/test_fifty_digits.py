"""Every reference backward against differences of its forward, in numbers of seventy digits.

In float64 a difference shows seven digits, so a mistake of 1e-9 would pass. Here it shows more than forty. The code is
the same: the reference runs on arrays of mpmath numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain.testing.cases import CASES, SMALL, Call, Case
from tests.ops.proofs.big_numbers import CONTEXT, big, reference_code

STEP = CONTEXT.mpf("1e-12")
AGREE = 1e-30
TO_SIXTEEN_DIGITS = {
    "cross_entropy": "the smoothed share of a class is a float64 number; they add up to 1 but for rounding",
    "linear_cross_entropy": "the same",
    "supervised_contrastive": "the share of each positive, such as 1/3, is a float64 number",
}
"""Operations with constants in float64, which differences by other arguments show in the seventeenth digit."""


def disagreement(case: Case, call: Call) -> float:
    """The worst relative gap between the gradients and differences along a random direction of each input."""
    # Drawn before: NumPy's generators use numpy.empty, which is another function while the reference runs.
    stream = iter(np.random.default_rng(0).standard_normal(20_000).tolist())

    def normal(shape: tuple[int, ...]) -> Any:
        return big([next(stream) for _ in range(math.prod(shape))]).reshape(shape)

    moving = [i for i, x in enumerate(call.inputs) if getattr(x, "dtype", None) is not None and x.dtype.kind == "f"]
    moving = [i for i in moving if case.arguments[i] not in case.no_gradient] if case.no_gradient else moving
    inputs = [big(x) if i in moving else x for i, x in enumerate(call.inputs)]
    with reference_code():

        def outputs(changed: list[Any]) -> tuple[list[Any], Any]:
            result = case.pair.forward(*changed, **call.options)
            return case.outputs(result), result[-1]

        out, cache = outputs(inputs)
        douts = [normal(np.shape(x)) for x in out]
        gradients = case.pair.backward(*douts, cache)
        gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]

        def total(changed: list[Any]) -> Any:
            return sum(np.asarray((d * big(x)).sum()).item() for d, x in zip(douts, outputs(changed)[0], strict=True))

        worst = 0.0
        for i in moving:
            if gradients[i] is None or inputs[i].size == 0:
                continue
            direction = normal(inputs[i].shape)
            ends = []
            for times in (1, -1, 2, -2):
                changed = list(inputs)
                changed[i] = inputs[i] + times * STEP * direction
                ends.append(total(changed))
            numeric = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12 * STEP)
            terms = (big(gradients[i]) * direction).ravel().tolist()
            scale = max(abs(numeric), CONTEXT.sqrt(sum(x * x for x in terms)))
            gap = abs(sum(terms) - numeric)
            worst = max(worst, float(gap / scale) if scale > 1e-25 else 0.0)
        return worst


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@settings(max_examples=3, phases=[Phase.generate])
@given(data=st.data())
def test_gradients_agree_to_thirty_digits_and_more(case, data):
    bound = 1e-14 if case.name in TO_SIXTEEN_DIGITS else AGREE
    assert disagreement(case, data.draw(case.calls(SMALL))) < bound


def test_a_mistake_in_the_twentieth_digit_is_noticed(monkeypatch):
    case = CASES["softmax"]
    right = case.pair.backward.reference
    monkeypatch.setattr(case.pair.backward, "reference", lambda *a: right(*a) * (1 + CONTEXT.mpf("1e-20")))
    call = Call((np.array([[0.3, -1.0, 2.0]]),), {})
    assert 1e-21 < disagreement(case, call) < 1e-19
