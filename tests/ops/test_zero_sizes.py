"""Any dimension of an operation may be 0: results are empty, or sums over nothing, or the call is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import is_array
from minitrain.errors import ShapeError, TokenError
from minitrain.ops import linear_forward, softmax_forward
from minitrain.ops.contract.sums import row_mean
from minitrain.testing import CheckSettings, check_gradients
from minitrain.testing.cases import CASES, SMALL, Call, Case
from tests.helpers.op_runs import MODES, assert_close, few, run

REFUSED = {
    ("attention", "G"): "no key heads for the query heads",
    ("conv2d", "C"): "weight has channels that the image lacks",
    ("conv2d", "H"): "no window fits",
    ("conv2d", "I"): "the image has channels that weight lacks",
    ("conv2d", "W"): "no window fits",
    ("conv2d", "kh"): "an empty window",
    ("conv2d", "kw"): "an empty window",
    ("avg_pool2d", "H"): "no window fits",
    ("avg_pool2d", "W"): "no window fits",
    ("max_pool2d", "H"): "no window fits",
    ("max_pool2d", "W"): "no window fits",
    ("cross_entropy", "V"): "targets are no classes",
    ("embedding", "V"): "tokens are no rows",
    ("focal", "V"): "targets are no classes",
    ("group_norm", "C"): "x has channels that weight lacks",
    ("linear_cross_entropy", "V"): "targets are no classes",
    ("load_balancing", "E"): "experts that do not exist were chosen",
    ("unlikelihood", "V"): "no other class",
    ("pointer", "V"): "source tokens are not in the vocabulary",
    ("router_z_loss", "E"): "no log-sum-exp",
    ("top_k_routing", "E"): "nothing to choose from",
}
"""What has no meaning, and why."""
MAY_NOT_FIT = {
    ("concat", "*X"): "the other array is as it was",
    ("concat", "*Y"): "the other array is as it was",
    ("group_norm", "*N"): "the last of two axes is that of the channels",
    ("rope", "*N"): "positions belong to samples and places of x",
    ("rope", "B"): "positions may belong to samples of x",
    ("rope", "T"): "positions belong to places of x",
    ("rope", "D"): "there may be a frequency for each point",
    ("split", "*N"): "the place of the cut is outside",
}
"""What is refused in some calls, since another input or an option is left as it was."""


def dimensions(case: Case) -> list[str]:
    """Names of the dimensions of a call, the leading ones with a star."""
    spec = case.pair.forward.spec
    named = [dim for entry in spec for dim in entry.dims if not dim.isdecimal()]
    return list(dict.fromkeys([f"*{entry.lead}" for entry in spec if entry.lead not in (None, "any")] + named))


def without(call: Call, case: Case, dim: str) -> Call:
    """The call with one dimension cut to 0; options and inputs that broadcast are left out."""
    inputs = []
    for x, entry in zip(call.inputs, case.pair.forward.spec, strict=False):
        if x is None or entry.lead == "any":
            inputs.append(None)
            continue
        lead = x.ndim - len(entry.dims)
        axes = [lead + i for i, name in enumerate(entry.dims) if name == dim]
        if dim == f"*{entry.lead}" and lead:
            axes.append(lead - 1)
        inputs.append(np.asarray(x[tuple(slice(0) if axis in axes else slice(None) for axis in range(x.ndim))]))
    return replace(call, inputs=tuple(inputs), options={k: v for k, v in call.options.items() if not is_array(v)})


@pytest.mark.parametrize(
    ("case", "dim"),
    [pytest.param(case, dim, id=f"{name}-{dim}") for name, case in CASES.items() for dim in dimensions(case)],
)
@few(10)
@given(st.data())
def test_a_dimension_of_size_0(case, dim, data):
    call = without(data.draw(case.calls(SMALL)), case, dim)
    if (case.name, dim) in REFUSED:
        for mode in MODES:
            with pytest.raises((ShapeError, TokenError), match=f"{case.name}_forward"):
                run(case, call.astype(np.float32), mode)
        return
    try:
        exact = run(case, call, "reference")
    except ShapeError:
        assert (case.name, dim) in MAY_NOT_FIT
        return
    for x, gradient in zip(call.inputs, exact.gradients, strict=False):
        assert gradient is None or gradient.shape == x.shape
    assert all(np.isfinite(x).all() for x in exact.arrays())
    check_gradients(case.pair, *call.inputs, settings=CheckSettings(no_gradient=case.no_gradient), **call.options)
    for mode in MODES:
        single = run(case, call.astype(np.float32), mode)
        assert {x.dtype for x in single.arrays()} <= {np.dtype(np.float32)}
        assert_close(single, exact, 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_over_nothing(dtype):
    """A map from nothing gives its bias, and a softmax over nothing nothing."""
    x, weight, bias = np.empty((3, 0), dtype), np.empty((2, 0), dtype), np.array([1, 2], dtype)
    np.testing.assert_array_equal(linear_forward(x, weight, bias)[0], [[1, 2]] * 3)
    np.testing.assert_array_equal(linear_forward(x, weight)[0], np.zeros((3, 2)))
    assert softmax_forward(x)[0].shape == (3, 0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_a_mean_over_nothing_is_0_for_every_row(shape, keepdims, dtype):
    x = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    found = row_mean(x, keepdims=keepdims)
    assert found.dtype == dtype
    assert found.shape == ((*shape[:-1], 1) if keepdims else tuple(shape[:-1]))
    np.testing.assert_array_equal(found * shape[-1], x.sum(axis=-1, keepdims=keepdims))
    assert shape[-1] or not found.any()


def test_no_reason_is_left_of_what_is_no_longer_refused():
    assert {
        (case.name, dim) for case in CASES.values() for dim in dimensions(case)
    } >= REFUSED.keys() | MAY_NOT_FIT.keys()
