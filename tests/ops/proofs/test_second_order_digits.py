"""Every backward of a backward against differences of the backward, in numbers of seventy digits.

For a direction u, ``sum(u * backward(dout, x))`` is a number. Its change along a random direction of dout and of each
input is what the backward of the backward says, to more than forty digits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain.ops import second_order_registry
from minitrain.testing.cases import CASES, SMALL, Call, Case
from tests.ops.proofs.big_numbers import CONTEXT, big, reference_code
from tests.ops.proofs.test_fifty_digits import AGREE, STEP

SECOND = second_order_registry()
TO_SIXTEEN_DIGITS = {
    "cross_entropy": "the smoothed share of a class is a float64 number",
    "linear_cross_entropy": "the same",
}


def total_of(first: list[Any], second: list[Any]) -> Any:
    """The sum of all products of two lists of arrays of big numbers."""
    pairs = zip(first, second, strict=True)
    return sum(np.asarray((a * big(b)).sum()).item() for a, b in pairs if a is not None and b is not None)


def disagreement(case: Case, call: Call, second: Any) -> float:
    """The worst relative gap between what ``second`` says and differences, by dout and by each input."""
    # Drawn before: NumPy's generators use numpy.empty, which is another function while the reference runs.
    stream = iter(np.random.default_rng(0).standard_normal(20_000).tolist())

    def normal(like: Any) -> Any:
        return big([next(stream) for _ in range(math.prod(np.shape(like)))]).reshape(np.shape(like))

    wanted = case.gradients()
    inputs = [*call.inputs, *(None for _ in range(len(wanted) - len(call.inputs)))]
    moving = [i for i, x in enumerate(inputs) if getattr(x, "dtype", None) is not None and x.dtype.kind == "f"]
    moving = [i for i in moving if wanted[i]]
    inputs = [big(x) if getattr(x, "dtype", None) is not None and x.dtype.kind == "f" else x for x in inputs]
    with reference_code():

        def gradients(given: list[Any], changed: list[Any]) -> list[Any]:
            result = case.pair.backward(*given, case.pair.forward(*changed, **call.options)[-1])
            return list(result) if isinstance(result, tuple) else [result]

        result = case.pair.forward(*inputs, **call.options)
        douts = [normal(out) for out in case.outputs(result)]
        ddxs = [normal(x) if i in moving else None for i, x in enumerate(inputs)]
        found = [*second(*ddxs, *douts, result[-1])]
        arguments = [*douts, *inputs]
        worst = 0.0
        for place in [*range(len(douts)), *(len(douts) + i for i in moving)]:
            if np.size(arguments[place]) == 0:
                continue
            direction = normal(arguments[place])
            ends = []
            for times in (1, -1, 2, -2):
                changed = list(arguments)
                changed[place] = arguments[place] + times * STEP * direction
                ends.append(total_of(ddxs, gradients(changed[: len(douts)], changed[len(douts) :])))
            numeric = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12 * STEP)
            terms = (big(found[place]) * direction).ravel().tolist()
            scale = max(abs(numeric), CONTEXT.sqrt(sum(x * x for x in terms)))
            gap = abs(sum(terms) - numeric)
            worst = max(worst, float(gap / scale) if scale > 1e-25 else 0.0)
        return worst


@pytest.mark.parametrize("case", [CASES[name] for name in sorted(SECOND)], ids=sorted(SECOND))
@settings(max_examples=3, phases=[Phase.generate])
@given(data=st.data())
def test_they_agree_to_thirty_digits_and_more(case, data):
    bound = 1e-13 if case.name in TO_SIXTEEN_DIGITS else AGREE
    assert disagreement(case, data.draw(case.calls(SMALL)), SECOND[case.name].backward) < bound


def test_a_mistake_in_the_twentieth_digit_is_noticed():
    right = SECOND["softmax"].backward

    def wrong(ddx: Any, dout: Any, cache: Any) -> tuple[Any, Any]:
        ddout, dx = right(ddx, dout, cache)
        return ddout, dx * (1 + CONTEXT.mpf("1e-20"))

    call = Call((np.array([[0.3, -1.0, 2.0]]),), {})
    assert 1e-21 < disagreement(CASES["softmax"], call, wrong) < 1e-19
