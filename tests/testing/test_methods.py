"""Forward mode, the complex step, second derivatives, batches, and functions of very many inputs."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.testing import CheckSettings, GradientCheckError, GradientMismatch
from minitrain.testing.methods import check_batches, check_complex_step, check_jvp, check_large, check_second
from minitrain.testing.methods.large import groups_for

rng = np.random.default_rng(8)
X, W = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))


def product(x, weight):
    return np.tanh(x @ weight), (x, weight, np.tanh(x @ weight))


def product_backward(dout, cache):
    x, weight, y = cache
    d = dout * (1 - y * y)
    return d @ weight.T, x.T @ d


def product_jvp(inputs, tangents):
    x, weight = inputs
    y = np.tanh(x @ weight)
    return (1 - y * y) * (tangents[0] @ weight + x @ tangents[1])


def slightly_wrong(dout, cache):
    dx, dweight = product_backward(dout, cache)
    return dx, dweight * (1 + 1e-9)


# Forward mode.


def test_the_dot_product_test_sees_nine_digits():
    report = check_jvp((product, product_backward), product_jvp, X, W)
    assert [argument.name for argument in report.arguments] == ["x", "weight"]
    assert report.worst < 1e-13
    with pytest.raises(GradientMismatch, match=r"<d, J v> is .* forwards and .* backwards") as error:
        check_jvp((product, slightly_wrong), product_jvp, X, W)
    assert [mismatch.name for mismatch in error.value.mismatches] == ["weight"]


def test_the_dot_product_test_leaves_out_what_has_no_gradient():
    def lookup(weight, ids):
        return weight[ids], ids

    def backward(dout, ids):
        dweight = np.zeros((4, 2))
        np.add.at(dweight, ids, dout)
        return dweight, None

    report = check_jvp((lookup, backward), lambda inputs, t: t[0][inputs[1]], W, np.array([0, 1, 0]))
    assert [argument.name for argument in report.arguments] == ["weight"]


# Complex step.


def test_the_complex_step_sees_nine_digits():
    assert check_complex_step((product, product_backward), X, W).worst < 1e-13
    with pytest.raises(GradientMismatch, match="by the complex step") as error:
        check_complex_step((product, slightly_wrong), X, W)
    assert error.value.worst.name == "weight"


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: (abs(x), x), "drops the imaginary part"),
        (lambda x: (np.sqrt(x * np.conj(x)), x), "not analytic"),
        (lambda x: (x.astype(np.float64) ** 2, x), "drops the imaginary part"),
        (lambda x: (np.floor(x), x), "does not run on complex numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_a_forward_that_is_not_analytic_is_refused(forward, message):
    with pytest.raises(GradientCheckError, match=message):
        check_complex_step((forward, lambda dout, x: dout * np.sign(x)), X)


def test_a_kink_by_the_real_part_is_fine():
    pair = (lambda x: (np.where(x.real > 0, x, 0), x)), (lambda dout, x: dout * (x > 0))
    assert check_complex_step(pair, X).worst < 1e-14


# Second order.


def product_second(ddx, ddweight, dout, cache):
    x, weight, y = cache
    slope = 1 - y * y
    d = dout * slope
    u = ddx @ weight + x @ ddweight  # what multiplies d
    ddout = u * slope
    dslope_dz = -2 * y * slope
    through = u * dout * dslope_dz  # by the slope, to z = x @ weight
    return ddout, d @ ddweight.T + through @ weight.T, ddx.T @ d + x.T @ through


def test_a_backward_of_the_backward():
    report = check_second((product, product_backward), product_second, X, W)
    assert [argument.name for argument in report.arguments] == ["dout", "x", "weight"]
    assert report.worst < 1e-7

    def wrong(ddx, ddweight, dout, cache):
        ddout, dx, dweight = product_second(ddx, ddweight, dout, cache)
        return ddout, dx, 2 * dweight

    with pytest.raises(GradientMismatch, match="every element is 2 times") as error:
        check_second((product, product_backward), wrong, X, W)
    assert error.value.worst.name == "weight"


def test_second_order_leaves_out_integers():
    def gather(weight, ids):
        return weight[ids] ** 2, (weight, ids)

    def backward(dout, cache):
        weight, ids = cache
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, 2 * weight[ids] * dout)
        return dweight, None

    def second(ddweight, dout, cache):
        weight, ids = cache
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, 2 * dout * ddweight[ids])
        return 2 * weight[ids] * ddweight[ids], dweight, None

    assert check_second((gather, backward), second, W, np.array([0, 1, 0])).worst < 1e-8


# Batches.


def test_a_batch_is_put_together_from_its_samples():
    assert check_batches((product, product_backward), X, W, batched=["x"]).worst < 1e-12


def test_a_mean_over_the_batch_is_found():
    def mean(dout, cache):
        dx, dweight = product_backward(dout, cache)
        return dx, dweight / len(dx)

    with pytest.raises(GradientMismatch, match="hint: a mean over the batch in place of a sum"):
        check_batches((product, mean), X, W, batched=["x"])


def test_a_sample_that_changes_another_is_found():
    def centred(x):
        return x - x.mean(axis=0), None

    with pytest.raises(GradientMismatch, match=r"the gradient of the batch is .*, and that of its 3 samples"):
        check_batches((centred, lambda dout, _: dout - dout.mean(axis=0)), X, batched=["x"])


def test_what_a_batch_must_be():
    with pytest.raises(GradientCheckError, match="there is no input y; there are x, weight"):
        check_batches((product, product_backward), X, W, batched=["y"])
    with pytest.raises(GradientCheckError, match=r"the batched inputs have \[3, 4\] samples: give one size"):
        check_batches((product, product_backward), X, W, batched=["x", "weight"])
    with pytest.raises(GradientCheckError, match=r"an output has shape \(4, 3\), but the batch has 3 samples"):
        check_batches((lambda x: (x.T, None), lambda dout, _: dout.T), X, batched=["x"])


# Very many inputs.


def square(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


@pytest.mark.parametrize("place", [0, 31_415, 99_999])
@pytest.mark.parametrize("factor", [0.0, 1.02])
def test_one_wrong_element_of_many_is_found_and_named(place, factor):
    x = 1 + rng.random(100_000)

    def backward(dout, x):
        dx = 2 * x * dout
        dx[place] = factor * dx[place] if abs(dout[place]) > 0.5 else dx[place] + 1.0
        return dx

    with pytest.raises(GradientMismatch, match=rf"element \[{place}\] is wrong"):
        check_large((square, backward), x)


def test_what_would_be_missed_is_stated():
    (report,) = check_large((square, square_backward), rng.random((300, 100)), sampled=30)
    assert report.missed == pytest.approx(1 - 30 / 30_000)
    assert report.smallest == pytest.approx(1e-6 * 30_000**0.5)
    assert "is missed with probability 0.999" in str(report)
    (report,) = check_large((square, square_backward), rng.random(1000), noticed=1e-5, sampled=1000)
    assert report.smallest <= 1e-5
    assert report.missed == 0


def test_more_groups_for_smaller_errors():
    assert groups_for(10**8, 0.01, 1e-6) == 1
    assert groups_for(10**8, 1e-3, 1e-6) == 100
    assert groups_for(10, 1e-9, 1e-6) == 10


def test_the_input_is_put_back_and_settings_count():
    x = rng.random(500)
    before = x.copy()
    mask = rng.random(500)

    def forward(x, mask):
        return x * mask, (x, mask)

    def backward(dout, cache):
        return dout * cache[1], None

    reports = check_large((forward, backward), x, mask, settings=CheckSettings(no_gradient=("mask",)))
    assert [report.name for report in reports] == ["x"]
    np.testing.assert_array_equal(x, before)
    with pytest.raises(GradientMismatch, match=r"the gradient of mask has shape \(\)"):
        check_large((forward, backward), x, mask)
