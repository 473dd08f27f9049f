"""CUDA twins against the reference, over the calls that ``minitrain.testing.cases`` draws, in the emulator.

Each launch runs in two orders of threads, which must leave the same bytes: every test here is one of determinism too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import is_array
from minitrain.ops import SKIP, Into
from minitrain.testing import strategies as mt
from minitrain.testing import with_layout
from minitrain.testing.cases import CASES, SMALL, TILES
from minitrain.testing.cases.base import EMPTY
from tests.helpers.cuda import WITH_CUDA, backward, emulated, every_cuda_op, forward, needs_compiler, run_cuda
from tests.helpers.cuda.checks import check_operation, special_calls
from tests.helpers.cuda.kernel_checks import check_packed_heads
from tests.helpers.op_runs import Result, assert_close, cotangents, run

pytestmark = needs_compiler

EXPECTED = {
    "cross_entropy", "dropout", "embedding", "geglu", "gelu", "layer_norm", "residual_layer_norm", "residual_rms_norm",
    "rms_norm", "rope", "silu", "softmax", "swiglu",
}  # fmt: skip


def few(examples):
    return settings(max_examples=examples)


def test_these_operations_have_cuda_kernels():
    assert {case.name for case in WITH_CUDA} >= EXPECTED


@every_cuda_op
@few(12)
@given(st.data())
def test_twin_equals_reference(case, data):
    """A twin may be about as far from the exact result as the reference in single precision is."""
    call = data.draw(case.calls(TILES)).astype(np.float32)
    exact, reference = run(case, call.astype(np.float64), "reference"), run(case, call, "reference")
    with emulated():
        twin = run_cuda(case, call)
    assert twin is not None or case.left_to_reference(call)
    if twin is None:
        return
    for i, (e, r, t) in enumerate(zip(exact.arrays(), reference.arrays(), twin.arrays(), strict=True)):
        # 3e-6 is some 25 units in the last place: sums of hundreds of terms in another order.
        allowed = max(4 * abs(r - e).max(initial=0), 3e-6 * max(1.0, abs(e).max(initial=0)))
        assert t.shape == e.shape
        assert t.dtype == np.float32
        gap = abs(t - e).max(initial=0)
        assert gap <= allowed, f"array {i} of outputs and gradients: off by {gap:.2e}, allowed {allowed:.2e}"


@pytest.mark.parametrize("name", [name for name in sorted(EXPECTED) if special_calls(name)])
def test_sizes_that_cases_do_not_draw(name):
    """Rows for several warps, more rows than there are warps, late samples."""
    with emulated():
        check_operation(name, drawn=False)


def test_rotary_positions_on_packed_heads():
    with emulated():
        check_packed_heads()


@every_cuda_op
@few(8)
@given(st.data())
def test_into(case, data):
    """Each gradient on its own: fresh, skipped, written over garbage, or added to what is there."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    result = case.pair.forward.reference(*call.inputs, **call.options)
    given_ = cotangents(case, case.outputs(result))
    with emulated():
        plain = backward(case, given_, result[-1])
        if plain is NotImplemented:
            return
        targets, olds = [], []
        for gradient in plain:
            kind = data.draw(st.sampled_from(["fresh", "skip", "overwrite", "accumulate"]))
            old = None
            if gradient is None or kind == "skip":
                targets.append(SKIP)
            elif kind == "fresh":
                targets.append(None)
            else:
                old = data.draw(mt.arrays(gradient.shape, np.float32)) if kind == "accumulate" else gradient * np.nan
                layout = data.draw(st.sampled_from(["contiguous", "transposed", "strided"]))
                targets.append(Into(with_layout(old, layout), accumulate=kind == "accumulate"))
            olds.append(old)
        delivered = backward(case, given_, result[-1], targets)
    for gradient, target, old, got in zip(plain, targets, olds, delivered, strict=True):
        if target is SKIP:
            assert got is None
        elif target is None:
            np.testing.assert_array_equal(got, gradient)
        else:
            assert got is target.buffer
            expected = gradient + (old if target.accumulate else 0)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(1, abs(expected).max(initial=0)))


@every_cuda_op
@few(5)
@given(st.data(), mt.layouts(), mt.layouts())
def test_memory_layout_makes_no_difference(case, data, layout, cotangent_layout):
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    expected = run(case, call, "reference")
    with emulated():
        result = forward(case, call.laid_out(layout))
        if result is NotImplemented:
            return
        outputs = case.outputs(result)
        given_ = [with_layout(c, cotangent_layout) for c in cotangents(case, outputs)]
        gradients = backward(case, given_, result[-1])
    if gradients is not NotImplemented:
        assert_close(Result(outputs, gradients), expected, 1e-5)


@every_cuda_op
@few(5)
@given(st.data())
def test_nothing_is_changed(case, data):
    """Inputs, cotangents and the cache keep their bytes."""
    call = data.draw(case.calls(SMALL)).astype(np.float32)
    before = [x.tobytes() for x in call.arrays()]
    with emulated():
        result = forward(case, call)
        assert [x.tobytes() for x in call.arrays()] == before
        if result is NotImplemented:
            return
        given_ = cotangents(case, case.outputs(result))
        watched = [*call.arrays(), *given_, *(x for x in result[-1] if is_array(x))]
        before = [x.tobytes() for x in watched]
        backward(case, given_, result[-1])
    assert [x.tobytes() for x in watched] == before


@every_cuda_op
@few(3)
@given(st.data())
def test_an_empty_batch_is_left_to_the_reference_or_empty(case, data):
    call = data.draw(case.calls(EMPTY)).astype(np.float32)
    with emulated():
        result = run_cuda(case, call)
    assert result is None or not any(x.any() for x in result.arrays())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_twin_takes_plain_calls(name):
    """A twin that always declined would pass every comparison with the reference."""
    case, taken = CASES[name], []

    @few(6)
    @given(st.data())
    def check(data):
        call = data.draw(case.calls(TILES)).astype(np.float32)
        if not case.left_to_reference(call):
            with emulated():
                taken.append(run_cuda(case, call) is not None)

    check()
    assert any(taken)
    assert name == "dropout" or all(taken)  # dropout without a key is left to the reference
