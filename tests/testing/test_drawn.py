"""Checks at drawn shapes, and scripts that repeat a check."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.testing import CheckSettings, GradientMismatch, check_gradients
from minitrain.testing.calls import check_drawn, script_for
from minitrain.testing.calls.drawn import shaped


def square(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


def without_tail(dout, x):
    dx = np.zeros_like(x)
    whole = x.shape[-1] // 4 * 4
    dx[..., :whole] = 2 * x[..., :whole] * dout[..., :whole]
    return dx


def scale(x, weight):
    return x * weight, (x, weight)


def scale_backward(dout, cache):
    x, weight = cache
    return dout * weight, (dout * x).sum(axis=0)


def test_a_mistake_at_some_shapes_is_found_and_shrinks():
    assert check_gradients((square, without_tail), np.ones((3, 4))).worst < 1e-9  # the shape of the test hides it
    with pytest.raises(GradientMismatch) as error:
        check_drawn((square, without_tail), "x: B C")
    assert error.value.mismatches[0].shape == (1, 1)
    assert error.value.__notes__ == ["drawn call: float64 (1, 1)"]
    assert error.value.call[0].shape == (1, 1)


def test_a_right_backward_passes_at_all_shapes():
    report = check_drawn((scale, scale_backward), "x: B C; weight: C", examples=30)
    assert [argument.name for argument in report.arguments] == ["x", "weight"]
    assert report.worst < 1e-7


@pytest.mark.parametrize("limit", [8, 62])
def test_long_rows_are_drawn(limit):
    def backward(dout, x):
        dx = 2 * x * dout
        dx[..., limit:] = 0
        return dx

    with pytest.raises(GradientMismatch):
        check_drawn((square, backward), "x: B C")


def test_equal_sizes_are_drawn():
    def product(x, weight):
        return x @ weight, (x, weight)

    def backward(dout, cache):
        x, weight = cache
        return dout @ (weight if len(set(weight.shape)) == 1 else weight.T), x.T @ dout

    with pytest.raises(GradientMismatch):
        check_drawn((product, backward), "x: B C; weight: C D")


def test_a_strategy_may_draw_the_inputs():
    seen = []

    def forward(x):
        seen.append(x.shape)
        return square(x)

    check_drawn((forward, square_backward), st.integers(1, 3).map(lambda n: (np.ones(n),)), examples=20)
    assert {(1,), (2,), (3,)} == set(seen)


def test_the_seed_chooses_the_calls():
    def shapes_of(seed):
        seen = []

        def forward(x):
            seen.append(x.shape)
            return square(x)

        check_drawn((forward, square_backward), "x: B C", examples=10, seed=seed)
        return seen

    assert shapes_of(0) == shapes_of(0) != shapes_of(1)


@pytest.mark.parametrize("letters", ["x B C", "x: B-C", ": B", "x: B; "])
def test_letters_that_cannot_be_read(letters):
    with pytest.raises(ConfigError, match="write each input as 'name: A B C'"):
        shaped(letters)


def test_numbers_and_nothing_are_shapes():
    x, scalar = _drawn("x: B 3; scalar:")
    assert x.shape[1:] == (3,)
    assert scalar.shape == ()


def _drawn(letters):
    found = []
    from hypothesis import Phase, given, settings

    @settings(max_examples=1, phases=[Phase.generate], database=None)
    @given(shaped(letters))
    def take(arrays):
        found.append(arrays)

    take()
    return found[0]


def run(script, tmp_path):
    (tmp_path / "again.py").write_text(script)
    return subprocess.run([sys.executable, str(tmp_path / "again.py")], capture_output=True, text=True)


def test_a_script_repeats_the_check(tmp_path):
    inputs = np.array([[1.0, -np.inf], [0.5, 2.0]]), np.array([1, 0])
    script = script_for((square, without_tail), inputs[:1], settings=CheckSettings(seed=4))
    assert "from tests.testing.test_drawn import square" in script
    assert "np.inf" in script
    result = run(script.replace("-np.inf", "3.0"), tmp_path)
    assert result.returncode == 1
    assert "GradientMismatch: the gradient of 1 of 1 arguments is wrong" in result.stderr


def test_a_script_has_the_source_of_local_functions_and_a_file_for_large_inputs(tmp_path):
    def forward(x):
        return x * x, x

    def backward(dout, x):
        return 2 * x * dout

    script = script_for((forward, backward), (np.ones((20, 20)),), folder=tmp_path)
    assert "def backward(dout, x):" in script
    assert (tmp_path / "inputs.npz").exists()
    result = run(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "worst relative error" in result.stdout
    assert "had other numbers: 400 are too many" in script_for((forward, backward), (np.ones((20, 20)),))
