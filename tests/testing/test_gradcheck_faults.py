"""What the gradient checker says about impure functions, unusual inputs, points without a derivative, and faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.losses import CrossEntropyLoss
from minitrain.nn import Module, Parameter
from minitrain.testing import GradientCheckError, GradientMismatch, check_gradients, check_module

rng = np.random.default_rng(5)
X = rng.standard_normal((3, 4))


def square(x):
    return x * x, x


def square_backward(dout, cache):
    return 2 * cache * dout


# Functions that write to what is not theirs.


def clamped_in_place(x):
    x[x < 0] = 0.5
    return x**2, x


def softmax_in_place(x):
    x -= x.max(axis=-1, keepdims=True)
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


@pytest.mark.parametrize("forward", [clamped_in_place, softmax_in_place])
def test_an_input_that_changes_in_place_is_seen_even_if_the_change_repeats(forward):
    before = X.copy()
    with pytest.raises(GradientCheckError, match=r"the forward must not write to its inputs: it changed \d+ of 12"):
        check_gradients((forward, square_backward), X)
    np.testing.assert_array_equal(X, before)


def test_an_option_that_changes_in_place_is_seen():
    def forward(x, *, mask):
        mask[0] = True
        return x * mask, mask.copy()

    with pytest.raises(GradientCheckError, match=r"1 of 4 elements of mask, the first of them \[0\] from 0 to 1"):
        check_gradients((forward, lambda dout, mask: dout * mask), X, mask=np.zeros(4, bool))


def overwrite_dout(dout, cache):
    dout *= 2 * cache
    return dout


def overwrite_cache(dout, cache):
    cache *= 2
    return dout * cache


def copied_cache(x):
    return x * x, {"x": [x.copy()]}


def overwrite_nested_cache(dout, cache):
    (x,) = cache["x"]
    x *= 2
    return dout * x


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (square, overwrite_dout, "write to the gradients of the outputs: it changed 12 of 12 elements of dout"),
        (square, overwrite_cache, "write to the inputs of its forward: it changed 12 of 12 elements of x"),
        (copied_cache, overwrite_nested_cache, r"to its cache: it changed 12 of 12 elements of cache\['x'\]\[0\]"),
    ],
)
def test_a_backward_that_overwrites_what_it_was_given_is_seen(forward, backward, message):
    with pytest.raises(GradientCheckError, match=message):
        check_gradients((forward, backward), X)


def test_a_backward_may_take_its_cache_apart():
    def forward(x):
        return x * x, [x]

    assert check_gradients((forward, lambda dout, cache: 2 * dout * cache.pop()), X).worst < 1e-9


class Shrinking(Module):
    """Writes to its own weight."""

    def __init__(self) -> None:
        self.weight = Parameter(np.array([0.5, -2.0, 1.0, 3.0]))

    def forward(self, x):
        np.clip(self.weight.data, -1, 1, out=self.weight.data)
        return x * self.weight.data, x

    def backward(self, dout, x):
        self.weight.grad[...] += (dout * x).sum(axis=0)
        return dout * self.weight.data


def test_a_forward_that_changes_its_parameters_is_seen():
    with pytest.raises(GradientCheckError, match="2 of 4 elements of the parameter weight"):
        check_module(Shrinking(), X)


# Inputs.


def test_complex_inputs_are_told():
    with pytest.raises(GradientCheckError, match=r"z is complex: .* real and the imaginary part as two inputs"):
        check_gradients((lambda z: (abs(z), z), lambda dout, z: dout * z / abs(z)), X + 1j)


def test_a_python_float_is_told():
    pair = (lambda x, scale: (x * scale, (x, scale)), lambda dout, cache: (dout * cache[1], (dout * cache[0]).sum()))
    with pytest.raises(GradientMismatch, match=r"scale, which is a Python float and is not moved: pass np.array"):
        check_gradients(pair, X, 2.5)
    assert len(check_gradients(pair, X, np.array(2.5)).arguments) == 2


def test_infinite_inputs_keep_a_gradient_of_zero():
    x = np.array([0.5, -np.inf, 1.0])

    def forward(x):
        e = np.exp(x)
        return e / e.sum(), e / e.sum()

    def backward(dout, y):
        return y * (dout - (dout * y).sum())

    assert check_gradients((forward, backward), x).worst < 1e-9
    with pytest.raises(GradientMismatch, match=r"element is \[1\]: analytic 1, numeric 0, relative error inf"):
        check_gradients((forward, lambda dout, y: np.where(np.isneginf(x), 1, backward(dout, y))), x)


def test_an_output_that_is_not_finite_names_the_input():
    with pytest.raises(GradientCheckError, match=r"returns NaN or infinity here: .* \(x\[1\] is -inf\)"):
        check_gradients((lambda x: (x * 2, None), lambda dout, _: 2 * dout), np.array([0.0, -np.inf]))


def only_single(x):
    if x.dtype != np.float32:
        raise TypeError(f"expected float32, got {x.dtype}")
    return x * x, x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_forward_for_float32_alone_is_told(dtype):
    with pytest.raises(
        GradientCheckError, match=r"runs with float32 arrays only .*got float64.* let it accept float64"
    ):
        check_gradients((only_single, square_backward), X.astype(dtype))


def test_other_errors_of_the_forward_are_its_own():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_gradients((fails, square_backward), X)


# Points without a derivative.


def relu(x):
    return np.maximum(x, 0), x


def test_kinks_are_named_with_what_is_possible_there():
    report = check_gradients((relu, lambda dout, x: dout * (x > 0)), np.array([-1.0, 0.0, 2.0]))
    (note,) = report.arguments[0].notes
    assert note.startswith("[1]: a kink, where any derivative from ")
    assert note.endswith("is right; the gradient is 0") or note.endswith("the gradient is -0")
    assert note in str(report)


def test_a_gradient_beyond_both_sides_of_a_kink_is_wrong():
    with pytest.raises(GradientMismatch) as caught:
        check_gradients((relu, lambda dout, x: dout * np.where(x == 0, 5, x > 0)), np.array([-1.0, 0.0, 2.0]))
    assert caught.value.worst.index == (1,)
    assert "[1] is a kink, where any derivative from " in caught.value.worst.hint


def test_a_tie_whose_gradient_is_lost_is_wrong():
    """Each element alone may have a gradient of 0; both together must not."""

    def backward(dout, cache):
        return dout[..., None] * (cache == cache.max(axis=-1, keepdims=True)) * 0.0

    with pytest.raises(GradientMismatch, match=r"not all together: \[0, 0\], \[0, 1\] lie on a kink"):
        check_gradients((lambda x: (x.max(axis=-1), x), backward), np.array([[1.0, 1.0, 0.5]]))


def test_an_infinite_derivative_is_named():
    pair = (lambda x: (np.sqrt(x), x), lambda dout, x: dout * np.where(x > 0, 0.5 / np.sqrt(x + (x == 0)), 0))
    (note,) = check_gradients(pair, np.array([0.0, 1.0])).arguments[0].notes
    assert note == "[0]: the derivative is infinite, or the function jumps; the gradient is 0"


def test_what_no_step_can_differentiate_is_told():
    def forward(x):
        if (x != X).any():
            raise ValueError("no other input")
        return x * 1, None

    with pytest.raises(GradientCheckError, match=r"by x\[0, 0\] = .* steps .*\(ValueError: no other input\)"):
        check_gradients((forward, lambda dout, _: dout), X)


def test_messages_name_the_step():
    with pytest.raises(GradientMismatch, match=r"numeric [-\d.e]+ \(step [\d.]+e-\d+\), relative error"):
        check_gradients((square, lambda dout, x: 2.1 * x * dout), X)


# Faults that are easy to miss.


def sizes(wrong: str) -> Any:
    def backward(dout, x):
        dx = dout * (1 / (1 + x * x))
        if wrong == "large inputs":
            return np.where(abs(x) > 1e3, 1.001 * dx, dx)
        if wrong == "small inputs":
            return np.where(abs(x) < 1e-3, 1.001 * dx, dx)
        if wrong == "one element":
            dx[3] *= 1.001
        if wrong == "negative inputs":
            return np.where(x < 0, 0.999 * dx, dx)
        return dx

    return lambda x: (np.arctan(x), x), backward


MIXED = np.array([1e-6, -1e-4, 0.3, -2.0, 7.0, 40.0, -1e4, 1e5])


@pytest.mark.parametrize("wrong", ["large inputs", "small inputs", "one element", "negative inputs"])
def test_a_fault_for_some_inputs_alone_is_seen(wrong):
    assert check_gradients(sizes(""), MIXED).worst < 1e-6
    with pytest.raises(GradientMismatch):
        check_gradients(sizes(wrong), MIXED)


def test_a_fault_in_a_few_small_elements_of_a_large_array_is_seen():
    x = rng.standard_normal(4000)
    x[::500] *= 1e-7
    pair = (lambda x: (x**3, x), lambda dout, x: 3 * dout * x**2)
    assert check_gradients(pair, x).worst < 1e-6
    with pytest.raises(GradientMismatch):
        check_gradients((pair[0], lambda dout, x: np.where(abs(x) < 1e-5, 1.5, 1) * 3 * dout * x**2), x)


def test_a_small_term_beside_a_large_constant_is_seen():
    """Differences with a fixed step lose it: a change of 1e-4 in 1e8 leaves four digits."""
    with pytest.raises(GradientMismatch):
        check_gradients((lambda x: (x + 1e8, None), lambda dout, _: 1.001 * dout), X)


def test_a_gradient_of_a_narrow_function_is_seen_to_be_missing():
    """A fixed step of 1e-4 jumps over it, and sees a constant."""
    pair = (lambda x: (np.exp(-((1e8 * x) ** 2)), x), lambda dout, x: 0 * dout)
    with pytest.raises(GradientMismatch):
        check_gradients(pair, np.array([1e-9, -5e-9, 0.3]))


def test_small_finite_gradients_are_not_lost_in_a_softmax():
    def softmax(x):
        e = np.exp(x - x.max())
        return e / e.sum(), e / e.sum()

    def backward(dout, y):
        return y * (dout - (dout * y).sum())

    x = np.array([0.0, 1.0, -40.0])
    assert check_gradients((softmax, backward), x).worst <= 1e-6
    with pytest.raises(GradientMismatch):
        check_gradients((softmax, lambda dout, y: np.where(y < 1e-10, 0, backward(dout, y))), x)


class Swish(Module):
    """x sigmoid(s x), with a slope to learn."""

    def __init__(self) -> None:
        self.slope = Parameter(np.ones(1, np.float32))

    def forward(self, x: Any) -> Any:
        gate = 1 / (1 + np.exp(-self.slope.data * x))
        return x * gate, (x, gate)

    def backward(self, dout: Any, cache: Any) -> Any:
        x, gate = cache
        dlogit = dout * x * gate * (1 - gate)
        self.slope.grad += (dlogit * x).sum()
        return dout * gate + dlogit * self.slope.data


def test_a_forward_without_a_cache_is_not_taken_for_one_in_float32() -> None:
    class Forgetful(Swish):
        def forward(self, x: Any) -> Any:
            return super().forward(x)[0]

    with pytest.raises(GradientCheckError, match=r"^the forward returns a ndarray: let it return \(out, cache\)$"):
        check_gradients(Forgetful(), np.ones((2, 3)))


def test_a_gradient_may_be_added_to_and_not_replaced() -> None:
    check_gradients(Swish(), np.random.default_rng(0).standard_normal((2, 3)))

    class Replacing(Swish):
        def backward(self, dout: Any, cache: Any) -> Any:
            self.slope.grad = np.ones(1)

    with pytest.raises(AttributeError, match=r"added to in place: parameter.grad\[...\] \+= ..."):
        check_gradients(Replacing(), np.ones((2, 3)))


def test_a_loss_needs_no_gradient_of_its_classes() -> None:
    logits, classes = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 1, 1])
    assert check_gradients(CrossEntropyLoss(), logits, classes).worst < 1e-6

    class Wrong(CrossEntropyLoss):
        def backward(self, dloss: Any, cache: Any) -> Any:
            return 2 * super().backward(dloss, cache)

    with pytest.raises(GradientMismatch, match="every element is 2 times what it should be"):
        check_gradients(Wrong(), logits, classes)
    with pytest.raises(GradientCheckError, match=r"returns 1 gradients for 2 inputs: .* None for one"):
        check_gradients((lambda a, b: (a * b, b), lambda dout, b: dout * b), logits, logits)
