"""Backwards of backwards: every one against differences of the backward, and as a symmetric map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import is_array
from minitrain.errors import MinitrainError
from minitrain.ops import registry, second_order, second_order_registry
from minitrain.ops.second import Along, NoSecondOrderError, pairs
from minitrain.ops.second.along import carried, direction_of, value_of
from minitrain.random import Key
from minitrain.testing import CheckSettings, GradientCheckError, GradientMismatch
from minitrain.testing import strategies as mt
from minitrain.testing.cases import CASES, EMPTY, SMALL
from minitrain.testing.methods import check_second
from tests.helpers.op_runs import as_list, cotangents, few

NAMES = sorted(second_order_registry())
every_second = pytest.mark.parametrize("case", [CASES[name] for name in NAMES], ids=NAMES)


def drawn_directions(case, call, seed):
    """A normal array for each input with a gradient, ``None`` for the others."""
    rng = np.random.default_rng(seed)
    inputs = [*call.inputs, *(None for _ in range(len(case.gradients()) - len(call.inputs)))]
    moving = zip(inputs, case.gradients(), strict=True)
    return [rng.standard_normal(x.shape) if is_array(x) and has_one else None for x, has_one in moving]


def products(first, second):
    """The sum of all products of two lists of arrays, and their size."""
    found = [(a * b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return sum(p.sum() for p in found), sum(abs(p).sum() for p in found)


def test_the_operations_that_regularisers_need_are_there():
    needed = "linear gelu silu relu tanh sigmoid softplus layer_norm rms_norm softmax cross_entropy attention"
    needed += " conv2d group_norm info_nce"
    assert {*needed.split()} <= {*NAMES}
    for name, pair in second_order_registry().items():
        assert pair.forward is registry()[name].backward
        assert pair.backward.__name__ == f"{pair.forward.__name__}_backward"


@every_second
@few(3)
@given(st.data())
def test_it_is_the_gradient_of_the_backward(case, data):
    call = data.draw(case.calls(SMALL))
    settings = CheckSettings(no_gradient=case.no_gradient, seed=data.draw(mt.seeds()), tolerance=1e-5)
    try:
        check_second(case.pair, None, *call.inputs, settings=settings, **call.options)
    except GradientMismatch as error:
        # One visible key: the backward gives rounded zeros, whose differences are noise.
        if any(abs(m.analytic - m.numeric) > 1e-11 for m in error.mismatches):
            raise


@every_second
@few(8)
@given(st.data())
def test_it_is_symmetric_and_knows_the_jacobian(case, data):
    """``<H u, v> = <u, H v>``, and ``<dout, J u> = <J^T dout, u>``, both to the last digits."""
    call = data.draw(case.calls(SMALL))
    result = case.pair.forward(*call.inputs, **call.options)
    outputs = case.outputs(result)
    douts, second = cotangents(case, outputs), second_order_registry()[case.name].backward
    seed = data.draw(st.integers(0, 1000))
    u, v = drawn_directions(case, call, seed), drawn_directions(case, call, seed + 1)
    first, other = (second(*direction, *douts, result[-1]) for direction in (u, v))
    (a, size), (b, _) = products(first[len(douts) :], v), products(other[len(douts) :], u)
    assert abs(a - b) <= 1e-11 * max(1.0, size)
    gradients = as_list(case.pair.backward(*douts, result[-1]))
    (a, size), (b, _) = products(first[: len(douts)], douts), products(gradients, u)
    assert abs(a - b) <= 1e-11 * max(1.0, size)


@every_second
@few(2)
@given(st.data())
def test_shapes_dtypes_and_an_empty_batch(case, data):
    """In float32 too; the inputs stay as they are."""
    for extent in (SMALL, EMPTY):
        call = data.draw(case.calls(extent)).astype(np.float32)
        result = case.pair.forward(*call.inputs, **call.options)
        douts = [np.asarray(d, np.float32) for d in cotangents(case, case.outputs(result))]
        ddxs = [None if x is None else x.astype(np.float32) for x in drawn_directions(case, call, 0)]
        before = [x.copy() for x in (*ddxs, *douts) if x is not None]
        found = second_order_registry()[case.name].backward(*ddxs, *douts, result[-1])
        assert len(found) == len(douts) + len(ddxs)
        for got, like in zip(found, [*douts, *ddxs], strict=True):
            assert (got is None) == (like is None)
            if got is not None:
                assert (np.shape(got), got.dtype) == (np.shape(like), np.float32)
                assert np.isfinite(got).all()
        for old, new in zip(before, (x for x in (*ddxs, *douts) if x is not None), strict=True):
            np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("name", ["residual_layer_norm", "residual_rms_norm"])
def test_an_unused_output_counts_as_zero(name):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((2, 3, 4), (2, 3, 4), (4,), (4,))]
    arrays = arrays if name == "residual_layer_norm" else arrays[:3]
    *_, cache = registry()[name].forward(*arrays)
    ddxs, dtotal, dout = [rng.standard_normal(x.shape) for x in arrays], *rng.standard_normal((2, 2, 3, 4))
    ddxs[0][0, 0, 0] = 0.0
    second = second_order_registry()[name].backward
    for passed, zeros in [((None, dout), (0 * dout, dout)), ((dtotal, None), (dtotal, 0 * dtotal))]:
        found, expected = second(*ddxs, *passed, cache), second(*ddxs, *zeros, cache)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_row_of_padding_does_not_move():
    tokens, weight = np.array([[0, 2], [1, 1]]), np.arange(8.0).reshape(4, 2)
    _, cache = registry()["embedding"].forward(tokens, weight, padding_idx=1)
    ddout, nothing, dweight = second_order_registry()["embedding"].backward(None, weight + 1, np.ones((2, 2, 2)), cache)
    np.testing.assert_array_equal(ddout, [[[1, 2], [5, 6]], [[0, 0], [0, 0]]])
    assert nothing is None
    np.testing.assert_array_equal(dweight, np.zeros((4, 2)))


def test_what_nothing_changes_is_zero_at_zero_too():
    """A direction of zero is divided by nowhere."""
    x, weight, bias = np.ones((2, 3)), np.ones((4, 3)), np.ones(4)
    _, cache = registry()["linear"].forward(x, weight, bias)
    found = second_order_registry()["linear"].backward(x, weight, 0 * bias, np.ones((2, 4)), cache)
    np.testing.assert_array_equal(found[-1], np.zeros(4))


def test_attention_with_all_its_options():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, t, h, 3)) for t, h in ((3, 4), (5, 2), (5, 2)))
    bias, slopes, mask = rng.standard_normal((4, 1, 5)), np.array([0.5, 0.25, 0.1, 0.0]), rng.random((3, 5)) > 0.2
    options = {"causal": True, "window": 4, "softcap": 3.0, "scale": 0.7, "alibi_slopes": slopes, "mask": mask}
    options |= {"dropout": 0.3, "key": Key.from_seed(3), "key_lengths": np.array([5, 4])}
    check_second(registry()["attention"], None, q, k, v, bias, settings=CheckSettings(tolerance=1e-5), **options)


def test_a_wrong_one_is_refused(monkeypatch):
    right = second_order_registry()["softmax"].backward

    def wrong(ddx, dout, cache):
        ddout, dx = right(ddx, dout, cache)
        return ddout, 1.001 * dx

    monkeypatch.setitem(pairs.FUNCTIONS, "softmax", wrong)
    with pytest.raises(GradientMismatch, match=r"x \(1, 3\): the worst element is"):
        check_second(registry()["softmax"], None, np.array([[0.5, 2.0, -1.0]]))


def test_what_it_refuses():
    with pytest.raises(GradientCheckError, match="hinge has no backward of its backward by name; there are attention"):
        check_second(registry()["hinge"], None, np.ones(3), np.ones(3, int))
    with pytest.raises(TypeError, match="softmax_twice must end in _backward_backward"):

        @second_order
        def softmax_twice():
            """No pair."""


# Directions of whole computations.


def test_directions_go_through_operations_and_the_code_between():
    rng = np.random.default_rng(0)
    x, u, weight = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.standard_normal((5, 4))

    def computation(x):
        """A loss and its gradient by x, with a sum and a slice between."""
        h, first = registry()["linear"].forward(x, weight + 0 * x.sum())
        p, second = registry()["softmax"].forward(h[:, 1:] * h[:, :-1])
        dz = registry()["softmax"].backward(p * p, second)
        dh = np.zeros_like(h)
        dh[:, 1:] += dz * h[:, :-1]
        dh[:, :-1] += dz * h[:, 1:]
        return (p**3).sum(), registry()["linear"].backward(dh, first)[0]

    with Along():
        total, gradient = computation(carried(x, u))
    plain_total, plain = computation(x)
    assert value_of(total) == pytest.approx(plain_total, rel=1e-14)
    np.testing.assert_allclose(value_of(gradient), plain, rtol=1e-13)
    ahead, behind = computation(x + 1e-6 * u), computation(x - 1e-6 * u)
    assert direction_of(total) == pytest.approx((ahead[0] - behind[0]) / 2e-6, rel=1e-7)
    np.testing.assert_allclose(direction_of(gradient), (ahead[1] - behind[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_what_does_not_move_is_left_alone():
    x, sides = np.full((2, 3), 0.5), np.ones((2, 3), int)
    with Along():
        out, cache = registry()["hinge"].forward(x, sides)
        dx, _ = registry()["hinge"].backward(1.0, cache)
    assert out.total == registry()["hinge"].forward(x, sides)[0].total > 0
    assert dx.dtype == np.float64
    assert direction_of(x).tolist() == np.zeros((2, 3)).tolist()
    assert direction_of(np.arange(3)) is None


def test_an_operation_without_a_pair_is_named():
    with (
        Along(),
        pytest.raises(NoSecondOrderError, match=r"hinge has no backward of its backward; there are .*softmax"),
    ):
        registry()["hinge"].forward(np.ones(3) + 0j, np.ones(3, int))
    assert issubclass(NoSecondOrderError, MinitrainError)


def test_a_cast_that_loses_the_direction_is_an_error():
    with Along(), pytest.raises(np.exceptions.ComplexWarning):
        carried(np.ones(3), np.ones(3)).astype(np.float64)


def test_observers_come_back():
    with Along():
        pass
    out, _ = registry()["softmax"].forward(np.zeros((1, 2)))
    np.testing.assert_array_equal(out, [[0.5, 0.5]])


def test_rows_that_are_divided_by_a_constant_do_not_bend():
    """Rows of zeros, below ``eps`` and exactly there."""
    eps = 0.25
    x = np.array([[0.0, 0.0], [eps / 2, 0.0], [0.0, -eps], [3.0, 4.0]])
    u, g = np.array([[1.0, 2.0]] * 4), np.array([[0.5, -1.0]] * 4)
    pair = registry()["l2_normalize"]
    _, cache = pair.forward.reference(x, eps=eps)
    ddout, dx = second_order_registry()["l2_normalize"].backward(u, g, cache)
    assert (dx[:3] == 0).all()
    assert (dx[3] != 0).all()
    np.testing.assert_array_equal(ddout, pair.backward.reference(u, cache))


def test_a_second_derivative_of_a_scale_is_an_array():
    pair = registry()["scale"]
    x, log_scale = np.ones((2, 3)), np.array(0.5)
    _, cache = pair.forward.reference(x, log_scale)
    found = second_order_registry()["scale"].backward(x, np.array(1.0), x, cache)
    assert all(is_array(one) for one in found)
