"""What is not finite is named: the array, its sample, and what helps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.backend import to_device
from minitrain.backend.arrays import to_number
from minitrain.backend.deferred import settle
from minitrain.data import Batch
from minitrain.errors import BadSampleError, DataError, NonFiniteError
from minitrain.nn import Linear
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training.nonfinite import (
    as_double,
    check_total,
    first_bad_activation,
    first_bad_sample,
    named_arrays,
    why_not_finite,
    with_advice,
)

GOOD, BAD = np.ones((3, 2)), np.array([[1, 2], [3, np.nan], [np.inf, 4]])


class Cache(NamedTuple):
    """Of a layer."""

    x: Any
    inner: Any


def test_arrays_are_found_at_any_depth_with_their_paths_in_order():
    cache = {"a": Cache(GOOD, [BAD, (GOOD, None, 3.0, "text")]), 7: {"b": GOOD}}
    found = list(named_arrays(cache))
    assert [path for path, _ in found] == ["a.x", "a.inner.0", "a.inner.1.0", "7.b"]
    assert [array is BAD for _, array in found] == [False, True, False, False]
    assert list(named_arrays(GOOD)) == [("", GOOD)]
    assert next(iter(named_arrays([GOOD])))[0] == "0"
    assert list(named_arrays(None)) == []


def test_the_first_bad_activation_is_named():
    assert first_bad_activation({"a": Cache(GOOD, [GOOD, BAD]), "b": BAD}) == "activation a.inner.1 holds NaN"
    assert first_bad_activation({"a": GOOD}) is None


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 3)])
@pytest.mark.parametrize("first", [0, 12])
@pytest.mark.parametrize("row", [0, 2, 3])
def test_the_sample_is_counted_from_the_first_of_the_whole_batch(shape, first, row):
    bad = np.ones(shape)
    bad[row:] = np.inf
    text = f"of the batch holds infinity, first in its sample {first + row}"
    assert first_bad_sample(Batch(bad, np.arange(4)), first) == f"inputs {text}"
    assert first_bad_sample((np.ones(4), bad), first) == f"array 1 {text}"
    assert first_bad_sample({"x": bad}, first) == f"x {text}"
    assert first_bad_sample({"x1": bad}, first) == f"x1 {text}"
    assert first_bad_sample(bad, first) == f"array {text}"
    assert first_bad_sample({"x": np.ones(shape), "y": np.array(np.nan)}, first) is None  # no samples in that


@pytest.mark.parametrize("weights_are_bad", [False, True])
@pytest.mark.parametrize("batch_is_bad", [False, True])
@pytest.mark.parametrize("cache_is_bad", [False, True])
def test_a_parameter_comes_before_a_sample_and_a_sample_before_an_activation(
    weights_are_bad, batch_is_bad, cache_is_bad
):
    model = Linear(2, 3, np.random.default_rng(0))
    if weights_are_bad:
        model.weight.data[0] = np.nan
    error = why_not_finite(math.nan, model, (BAD if batch_is_bad else GOOD,), {"h": BAD if cache_is_bad else GOOD}, 5)
    assert isinstance(error, BadSampleError) is (batch_is_bad and not weights_are_bad)
    reason = (
        "parameter weight holds NaN"
        if weights_are_bad
        else "array 0 of the batch holds NaN, first in its sample 6"
        if batch_is_bad
        else "activation h holds NaN"
        if cache_is_bad
        else "no single array is at fault"
    )
    assert str(error) == f"the loss is nan: {reason}"


def test_advice_fits_the_error():
    for kind, words in ((NonFiniteError, "Try a lower optimizer.learning_rate"), (BadSampleError, "Repair or remove")):
        cause = kind("the loss is nan")
        for kept, said in ((None, "there is no checkpoint yet"), ("step-3", "the last checkpoint, step-3, is intact")):
            advised = with_advice(cause, kept)  # type: ignore[arg-type]
            assert type(advised) is kind
            assert advised.__cause__ is cause
            assert str(advised).startswith(f"the loss is nan; {said}. {words}")


def test_nothing_that_counts_is_an_error():
    check_total(0.0, 1)
    check_total(np.float32(math.nan), 3.0)  # on a CPU the loop looks at the loss itself
    with pytest.raises(DataError, match="no target of this batch counts"):
        check_total(0.0, 0)


def test_on_a_gpu_both_are_told_with_the_next_transfer():
    with emulated_device() as gpu:
        one, none, bad = (gpu.cupy.asarray(x) for x in (1.0, 0.0, math.nan))
        check_total(one, one)
        settle(0)
        check_total(bad, one)
        with pytest.raises(NonFiniteError, match="the loss was NaN or infinite in an update since"):
            settle(0)
        check_total(one, none)
        with pytest.raises(DataError, match="no target of this batch counts"):
            settle(0)


def test_numbers_become_doubles_where_they_are():
    assert type(as_double(np.float32(0.1))) is float
    assert as_double(np.float32(0.1)) == float(np.float32(0.1))
    with emulated_device():
        there = as_double(to_device(np.array(0.5, np.float32), "cuda"))
        assert there.dtype == np.float64
        assert to_number(there) == 0.5
