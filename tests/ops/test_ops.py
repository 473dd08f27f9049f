"""Properties that hold for every operation, over the calls that ``minitrain.testing.cases`` draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minitrain.backend import gpu_status, is_array
from minitrain.ops import SKIP, Into, registry
from minitrain.testing import CheckSettings, check_gradients, with_layout
from minitrain.testing import strategies as mt
from minitrain.testing.cases import CASES, EMPTY, SMALL, TILES
from minitrain.testing.pairs import cotangent_count
from tests.helpers.op_runs import (
    MODES,
    WITH_KERNELS,
    Result,
    as_list,
    assert_close,
    cotangents,
    every_op,
    every_op_in_each_mode,
    every_op_with_kernels,
    few,
    kernels,
    run,
    tolerance,
    with_each,
)
from tests.helpers.own_product import skip_without_own_product

WRITEABLE = ("contiguous", "transposed", "strided", "reversed", "offset")


def test_every_operation_has_a_case():
    assert CASES.keys() == registry().keys()


def test_the_operations_with_kernels_are_known():
    """For the others all modes and numbers of threads are the same code, and are tried once."""
    twins = {name for name, case in CASES.items() if case.pair.forward.twin() or case.pair.backward.twin()}
    assert {case.name for case in WITH_KERNELS} == twins | {
        "float8_linear",
        "info_nce",
        "router_z_loss",
        "top_k_routing",
    }


@every_op
@few(25)
@given(st.data())
def test_backward_is_the_gradient(case, data):
    call = data.draw(case.calls(SMALL))
    settings = CheckSettings(no_gradient=case.no_gradient, seed=data.draw(mt.seeds()))
    report = check_gradients(case.pair, *call.inputs, settings=settings, **call.options)
    floating = [x for x in call.inputs if is_array(x) and x.dtype.kind == "f"]
    assert len(report.arguments) >= len(floating) - len(case.no_gradient)


@every_op_in_each_mode
@few(8)
@given(st.data())
def test_nothing_is_changed(case, mode, data):
    """Inputs, options, cotangents and the cache keep their bytes."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(mode):
        before = [x.tobytes() for x in call.arrays()]
        result = case.pair.forward(*call.inputs, **call.options)
        assert [x.tobytes() for x in call.arrays()] == before
        outputs, cache = case.outputs(result), result[-1]
        given = cotangents(case, outputs)
        watched = [*call.arrays(), *outputs, *given, *(x for x in cache if is_array(x))]
        before = [x.tobytes() for x in watched]
        case.pair.backward(*given, cache)
        assert [x.tobytes() for x in watched] == before


@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@few(12)
@given(st.data(), mt.layouts(), mt.layouts())
def test_memory_layout_makes_no_difference(case, dtype, data, layout, cotangent_layout):
    call = data.draw(case.calls(SMALL)).astype(dtype)
    expected = run(case, call)
    result = case.pair.forward(*call.laid_out(layout).inputs, **call.laid_out(layout).options)
    outputs = case.outputs(result)
    given = [with_layout(c, cotangent_layout) for c in cotangents(case, outputs)]
    gradients = as_list(case.pair.backward(*given, result[-1]))
    assert_close(Result(outputs, gradients), expected, tolerance(dtype))


@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_a_broadcast_cotangent(case, dtype):
    """The gradient of a sum: one number seen everywhere, through strides of 0, read-only."""

    @few(5)
    @given(st.data())
    def check(data):
        call = data.draw(case.calls(SMALL)).astype(dtype)
        result = case.pair.forward(*call.inputs, **call.options)
        ones = [np.broadcast_to(np.asarray(1, dtype), out.shape) for out in case.outputs(result)]
        gradients = as_list(case.pair.backward(*ones, result[-1]))
        expected = as_list(case.pair.backward(*(one.copy() for one in ones), result[-1]))
        assert_close(Result([], gradients), Result([], expected), tolerance(dtype))

    check()


@every_op_in_each_mode
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@few(5)
@given(st.data())
def test_dtype_follows_the_inputs(case, mode, dtype, data):
    call = data.draw(case.calls(SMALL)).astype(dtype)
    result = run(case, call, mode)
    assert {x.dtype for x in result.arrays()} == {np.dtype(dtype)}
    for x, gradient, has_one in zip(call.inputs, result.gradients, case.gradients(), strict=False):
        if is_array(x) and has_one:
            assert gradient.shape == x.shape
        else:
            assert gradient is None


@every_op_in_each_mode
@few(15)
@given(st.data())
def test_into(case, mode, data):
    """Each gradient on its own: fresh, skipped, written over garbage, or added to what is there."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(mode):
        result = case.pair.forward(*call.inputs, **call.options)
        given = cotangents(case, case.outputs(result))
        plain = as_list(case.pair.backward(*given, result[-1]))
        targets, before = [], []
        for gradient in plain:
            kind = data.draw(st.sampled_from(["fresh", "skip", "overwrite", "accumulate"]))
            old = None
            if gradient is None:
                targets.append(data.draw(st.sampled_from([None, SKIP])))
            elif kind in ("fresh", "skip"):
                targets.append(None if kind == "fresh" else SKIP)
            else:
                old = data.draw(mt.arrays(gradient.shape, np.float32)) if kind == "accumulate" else gradient * np.nan
                buffer = with_layout(old, data.draw(st.sampled_from(WRITEABLE)))
                targets.append(Into(buffer, accumulate=kind == "accumulate"))
            before.append(old)
        delivered = as_list(case.pair.backward(*given, result[-1], into=targets))
    assert len(delivered) == len(plain)
    for gradient, target, old, got in zip(plain, targets, before, delivered, strict=True):
        if gradient is None or target is SKIP:
            assert got is None
        elif target is None:
            np.testing.assert_array_equal(got, gradient)
        else:
            assert got is target.buffer
            expected = gradient + (old if target.accumulate else 0)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(1, abs(expected).max(initial=0)))


@every_op_in_each_mode
@few(5)
@given(st.data())
def test_a_layer_can_be_used_twice(case, mode, data):
    """Two forwards before the two backwards, and a backward called again: each call stands for itself."""
    calls = [data.draw(case.calls(SMALL)).astype(np.float32) for _ in range(2)]
    alone = [run(case, call, mode).copy() for call in calls]
    with kernels(mode):
        results = [case.pair.forward(*call.inputs, **call.options) for call in calls]
        for i in (0, 1, 0):
            outputs = case.outputs(results[i])
            gradients = as_list(case.pair.backward(*cotangents(case, outputs), results[i][-1]))
            assert_same_bytes(Result(outputs, gradients), alone[i])


def assert_same_bytes(one: Result, other: Result) -> None:
    for a, b in zip(one.arrays(), other.arrays(), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)  # equal bytes but for the sign of zero


@with_each("threads", [1, 2], [1])
@few(6)
@given(st.data())
def test_the_same_call_gives_the_same_bytes(case, threads, data):
    call = data.draw(case.calls(TILES)).astype(np.float32)
    assert_same_bytes(run(case, call, threads=threads), run(case, call, threads=threads))


@every_op_with_kernels
@few(6)
@given(st.data())
def test_the_number_of_threads_changes_no_byte(case, data):
    skip_without_own_product(case)
    call = data.draw(case.calls(TILES)).astype(np.float32)
    one = run(case, call, threads=1).copy()
    for threads in (2, 3, 7):
        assert_same_bytes(run(case, call, threads=threads), one)


@every_op_with_kernels
@pytest.mark.parametrize("threads", [1, 2])
@few(15)
@given(st.data())
def test_twin_equals_reference(case, threads, data):
    """A twin may be about as far from the exact result as the reference in single precision is."""
    call = data.draw(case.calls(TILES)).astype(np.float32)
    exact = run(case, call.astype(np.float64), "reference")
    reference, twin = run(case, call, "reference"), run(case, call, "auto", threads)
    for i, (e, r, t) in enumerate(zip(exact.arrays(), reference.arrays(), twin.arrays(), strict=True)):
        # 3e-6 is some 25 units in the last place: sums of hundreds of terms in another order.
        allowed = max(4 * abs(r - e).max(initial=0), 3e-6 * max(1.0, abs(e).max(initial=0)))
        gap = abs(t - e).max(initial=0)
        assert gap <= allowed, f"array {i} of outputs and gradients: off by {gap:.2e}, allowed {allowed:.2e}"


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if cotangent_count(c.pair.backward) > 1], ids=lambda c: c.name
)
@pytest.mark.parametrize("mode", MODES)
@few(10)
@given(st.data())
def test_a_cotangent_of_none_counts_as_zero(case, mode, data):
    """An output that nobody used."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(mode):
        result = case.pair.forward(*call.inputs, **call.options)
        given = cotangents(case, case.outputs(result))
        unused = data.draw(st.lists(st.booleans(), min_size=len(given), max_size=len(given)).filter(any))
        absent = [None if skip else c for skip, c in zip(unused, given, strict=True)]
        zero = [0 * c if skip else c for skip, c in zip(unused, given, strict=True)]
        actual = as_list(case.pair.backward(*absent, result[-1]))
        expected = as_list(case.pair.backward(*zero, result[-1]))
    assert_close(Result([], actual), Result([], expected), 1e-6)


@every_op_with_kernels
@few(8)
@given(st.data())
def test_twin_accumulates_like_the_reference(case, data):
    """``into`` at sizes where the work is split over threads and tiles."""
    call = data.draw(case.calls(TILES)).astype(np.float32)
    seed = data.draw(mt.seeds())
    results = []
    for mode in MODES:
        with kernels(mode, 2):
            result = case.pair.forward(*call.inputs, **call.options)
            given = cotangents(case, case.outputs(result))
            fresh = as_list(case.pair.backward(*given, result[-1]))
            rng = np.random.default_rng(seed)
            olds = [None if g is None else rng.standard_normal(g.shape).astype(np.float32) for g in fresh]
            targets = [None if old is None else Into(old, accumulate=True) for old in olds]
            results.append(Result([], as_list(case.pair.backward(*given, result[-1], into=targets))))
    assert_close(results[1], results[0], 1e-5)


@every_op_with_kernels
@pytest.mark.parametrize("modes", [MODES, MODES[::-1]], ids=["reference to twin", "twin to reference"])
@few(6)
@given(st.data())
def test_caches_are_interchangeable(case, modes, data):
    """A forward of one kind and a backward of the other."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    with kernels(modes[0]):
        result = case.pair.forward(*call.inputs, **call.options)
    outputs = case.outputs(result)
    with kernels(modes[1]):
        gradients = as_list(case.pair.backward(*cotangents(case, outputs), result[-1]))
    assert_close(Result(outputs, gradients), run(case, call, "reference"), 1e-5)
    assert type(result[-1]) is type(case.pair.forward(*call.inputs, **call.options)[-1])


@every_op
def test_twin_takes_plain_calls(case):
    """A twin that always declined would pass every comparison with the reference."""
    declined = []

    @few(10)
    @given(st.data())
    def check(data):
        call = data.draw(case.calls(TILES)).astype(np.float32)
        inputs = (*call.inputs, *(None for _ in range(len(case.gradients()) - len(call.inputs))))
        forward, backward = case.pair.forward.twin(), case.pair.backward.twin()
        assume(not call.options.get("each") and not case.left_to_reference(call))
        result = case.pair.forward.reference(*call.inputs, **call.options)
        declined.append(forward is not None and forward(*inputs, **call.options) is NotImplemented)
        if backward is not None:
            given = cotangents(case, case.outputs(result))
            gradients = backward(*given, result[-1], into=(None,) * len(case.gradients()))
            declined.append(gradients is NotImplemented)

    if case.pair.forward.twin() is None and case.pair.backward.twin() is None:
        pytest.skip("has no twin")
    check()
    assert declined
    assert not any(declined)


@every_op_in_each_mode
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@few(3)
@given(st.data())
def test_an_empty_batch(case, mode, dtype, data):
    """No rows: empty results, and gradients of weights that are zero."""
    call = data.draw(case.calls(EMPTY)).astype(dtype)
    result = run(case, call, mode)
    assert all(out.size == 0 or out == 0 for out in result.outputs)
    for gradient in result.gradients:
        assert gradient is None or not gradient.any()


@pytest.mark.skipif(gpu_status()[0] is None, reason=f"no GPU: {gpu_status()[1]}")
@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@few(15)
@given(st.data())
def test_cupy_equals_numpy(case, dtype, data):
    call = data.draw(case.calls(SMALL)).astype(dtype)
    expected = run(case, call, "reference")
    there = call.to("cuda")
    result = case.pair.forward(*there.inputs, **there.options)
    outputs = case.outputs(result)
    library = gpu_status()[0]
    given = [library.asarray(c) for c in cotangents(case, outputs)]
    gradients = as_list(case.pair.backward(*given, result[-1]))
    assert all(not isinstance(x, np.ndarray) for x in Result(outputs, gradients).arrays())
    assert_close(Result(outputs, gradients).copy(), expected, tolerance(dtype))
