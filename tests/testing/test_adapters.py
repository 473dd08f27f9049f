"""Functions that are no pairs over arrays: numba, C, kernels that write into arrays, float32 code."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numba
import numpy as np
import pytest

from minitrain.nn import LayerNorm
from minitrain.testing import SINGLE, CheckSettings, GradientCheckError, GradientMismatch, check_gradients, check_module
from minitrain.testing.adapters import c_function, raw_kernel, writing_pair

X = np.random.default_rng(3).standard_normal((3, 4))


@numba.njit
def cube(x):
    return x**3, x


@numba.njit
def cube_backward(dout, x):
    return 3 * x**2 * dout


@numba.njit
def cube_backward_wrong(dout, x):
    return 2 * x**2 * dout


def test_numba_functions_are_checked_as_they_are():
    assert check_gradients((cube, cube_backward), X).worst < 1e-9
    with pytest.raises(GradientMismatch, match=r"every element is 0\.66"):
        check_gradients((cube, cube_backward_wrong), X)


@numba.njit
def write_scaled(out, x, weight, rows, columns):
    for i in range(rows):
        for j in range(columns):
            out[i, j] = x[i, j] * weight[j]


@numba.njit
def add_scaled_gradients(dx, dweight, dout, x, weight, rows, columns):
    for i in range(rows):
        for j in range(columns):
            dx[i, j] += dout[i, j] * weight[j]
            dweight[j] += dout[i, j] * x[i, j]


@numba.njit
def forget_last_row(dx, dweight, dout, x, weight, rows, columns):
    add_scaled_gradients(dx, dweight, dout, x, weight, rows - 1, columns)


@numba.njit
def write_all_but_one(out, x, weight, rows, columns):
    write_scaled(out, x, weight, rows, columns)
    out[0, 0] = np.nan


def scaled_pair(forward=write_scaled, backward=add_scaled_gradients, **changed):
    words = {
        "inputs": "x weight",
        "forward_takes": "out x weight rows columns",
        "backward_takes": "dx dweight dout x weight rows columns",
        "outputs": lambda x, weight: {"out": x.shape},
        "sizes": lambda x, weight: {"rows": x.shape[0], "columns": x.shape[1]},
    }
    return writing_pair(forward, backward, **(words | changed))


def test_kernels_that_write_into_arrays():
    report = check_gradients(scaled_pair(), X, np.arange(4.0))
    assert [argument.name for argument in report.arguments] == ["x", "weight"]
    assert report.worst < 1e-9
    with pytest.raises(GradientMismatch, match=r"along axis 0, only 2 of 3 indices are wrong|4 elements are zero") as e:
        check_gradients(scaled_pair(backward=forget_last_row), X, np.arange(1.0, 5.0))
    assert [mismatch.name for mismatch in e.value.mismatches] == ["x", "weight"]


def test_an_output_that_is_never_written_is_noticed():
    def lazy(out, x, weight, rows, columns):
        out[1:] = x[1:] * weight

    with pytest.raises(GradientCheckError, match="NaN or infinity"):
        check_gradients(scaled_pair(lazy), X, np.arange(4.0))


def test_an_unknown_name_is_told():
    with pytest.raises(GradientCheckError, match="forward_takes names w, which is no input, output, size or gradient"):
        check_gradients(scaled_pair(forward_takes="out x w rows columns"), X, np.arange(4.0))
    with pytest.raises(GradientCheckError, match="names the gradient of no output: with an output named out, call it"):
        check_gradients(scaled_pair(backward_takes="dx dweight x weight rows columns"), X, np.arange(4.0))


def test_an_output_without_a_gradient_is_only_saved():
    """As llm.c's layer norm does with the mean."""

    def forward(out, mean, x):
        mean[...] = x.mean(axis=-1)
        out[...] = x - mean[:, None]

    def backward(dx, dout, mean):
        assert mean.shape == (3,)
        dx += dout - dout.mean(axis=-1, keepdims=True)

    pair = writing_pair(
        forward,
        backward,
        inputs="x",
        forward_takes="out mean x",
        backward_takes="dx dout mean",
        outputs=lambda x: {"out": x.shape, "mean": x.shape[:1]},
    )
    assert check_gradients(pair, X).worst < 1e-9


def test_a_backward_may_need_memory_of_its_own():
    """As llm.c's attention does for the gradient of its scores."""

    def forward(out, y, x):
        y[...] = np.tanh(x)
        out[...] = y**2

    def backward(dx, dy, dout, x, y):
        assert not dy.any()
        dy += 2 * y * dout
        dx += dy * (1 - y * y)

    words = {
        "inputs": "x",
        "forward_takes": "out y x",
        "backward_takes": "dx dy dout x y",
        "outputs": lambda x: {"out": x.shape, "y": x.shape},
    }
    assert check_gradients(writing_pair(forward, backward, scratch="dy", **words), X).worst < 1e-9


SOURCE = """
#include <math.h>
void forward(NUMBER* out, const NUMBER* x, int n) { for (int i = 0; i < n; i++) out[i] = sin(x[i]); }
void backward(NUMBER* dx, const NUMBER* dout, const NUMBER* x, int n) {
    for (int i = 0; i < n; i++) dx[i] += FACTOR * cos(x[i]) * dout[i];
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles the C code for a type of number, with a factor in its backward."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder: Path = tmp_path_factory.mktemp("c")
    (folder / "code.c").write_text(SOURCE)

    def build(number: str, factor: str) -> ctypes.CDLL:
        library = folder / f"{number}{factor}.so"
        options = [f"-DNUMBER={number}", f"-DFACTOR={factor}", "-O1", "-shared", "-fPIC", "-lm"]
        subprocess.run([compiler, str(folder / "code.c"), "-o", str(library), *options], check=True)
        loaded = ctypes.CDLL(str(library))
        pointer = ctypes.POINTER(ctypes.c_double if number == "double" else ctypes.c_float)
        loaded.forward.argtypes = [pointer, pointer, ctypes.c_int]
        loaded.backward.argtypes = [pointer, pointer, pointer, ctypes.c_int]
        return loaded

    return build


def c_pair(library):
    return writing_pair(
        library.forward,
        library.backward,
        inputs="x",
        forward_takes="out x n",
        backward_takes="dx dout x n",
        outputs=lambda x: {"out": x.shape},
        sizes=lambda x: {"n": x.size},
    )


def test_c_functions(compiled):
    assert check_gradients(c_pair(compiled("double", "1")), X).worst < 1e-9
    with pytest.raises(GradientMismatch, match=r"every element is 1\.00001 times"):
        check_gradients(c_pair(compiled("double", "1.00001")), X)


def test_c_functions_in_float32_only(compiled):
    with pytest.raises(GradientCheckError, match=r"argument 0 of forward points to float32, not float64: compile it"):
        check_gradients(c_pair(compiled("float", "1")), X)
    assert check_gradients(c_pair(compiled("float", "1")), X, settings=SINGLE).worst < 2e-3
    with pytest.raises(GradientMismatch, match=r"every element is 1\.01 times|1\.0099|1\.0100"):
        check_gradients(c_pair(compiled("float", "1.01")), X, settings=SINGLE)


def test_a_c_function_must_say_what_it_takes(compiled):
    library = compiled("double", "1")
    call = c_function(library.forward)
    with pytest.raises(GradientCheckError, match="takes 3 arguments and gets 1"):
        call(X)
    with pytest.raises(GradientCheckError, match="argument 1 of forward is not in C order"):
        call(np.empty((4, 3)), X.T, 12)
    plain = ctypes.CDLL(library._name).forward
    plain.argtypes = None
    with pytest.raises(GradientCheckError, match="forward has no argtypes: without them ctypes guesses"):
        c_function(plain)


def test_a_cuda_kernel_gets_its_grid_and_typed_numbers():
    calls = []

    def kernel(grid, block, arguments, **extra):
        calls.append((grid, block, [type(x) for x in arguments], extra))
        out, x, _ = arguments
        out[...] = 2 * x

    def backward(dx, dout):
        dx += 2 * dout

    pair = writing_pair(
        raw_kernel(kernel, threads=5, shared_mem=64),
        backward,
        inputs="x",
        forward_takes="out x n",
        backward_takes="dx dout",
        outputs=lambda x: {"out": x.shape},
        sizes=lambda x: {"n": x.size},
    )
    assert check_gradients(pair, X).worst < 1e-9
    assert calls[0] == ((3,), (5,), [np.ndarray, np.ndarray, np.int32], {"shared_mem": 64})
    raw_kernel(lambda grid, block, arguments: calls.append(grid), elements=lambda x: 1000)(X)
    assert calls[-1] == (4,)


# Code in float32.


def single_softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return np.float32(y), np.float32(y)


def single_softmax_backward(dout, y):
    return np.float32(y * (dout - (dout * y).sum(axis=-1, keepdims=True)))


def test_float32_code_is_checked_to_three_digits():
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((3, 5))
        settings = CheckSettings(precision="float32", step=SINGLE.step, tolerance=SINGLE.tolerance, seed=seed)
        assert check_gradients((single_softmax, single_softmax_backward), x, settings=settings).worst < 2e-3
        with pytest.raises(GradientMismatch, match="wrong"):
            wrong = (single_softmax, lambda dout, y: np.float32(1.01) * single_softmax_backward(dout, y))
            check_gradients(wrong, x, settings=settings)


def test_float32_code_is_told_about_the_setting():
    with pytest.raises(
        GradientCheckError, match=r"returns float32 for float64 inputs; .* settings=minitrain\.testing\.SING"
    ):
        check_gradients((single_softmax, single_softmax_backward), X)
    with pytest.raises(GradientCheckError, match=r"returns float64 for float32 inputs$"):
        check_gradients((lambda x: (x.astype(np.float64), None), lambda dout, _: dout), X, settings=SINGLE)


def test_a_module_in_float32():
    module = LayerNorm(8, eps=0.1)
    assert check_module(module, np.random.default_rng(0).standard_normal((2, 8)), settings=SINGLE).worst < 2e-3


def test_a_gradient_that_was_rounded_to_float32_on_the_way():
    def square(x):
        return x * x, x

    def backward(dout, x):
        return (2 * x * dout).astype(np.float32).astype(np.float64)

    with pytest.raises(GradientMismatch, match="every element of the gradient is a float32 number") as error:
        check_gradients((square, backward), X)
    assert "rounded to single precision" in str(error.value)
    assert check_gradients((square, lambda dout, x: 2 * x * dout), X).worst < 1e-9


def test_what_cancels_to_rounding_has_few_digits_but_was_not_rounded():
    """A bias before centring: its gradient is zero but for the last digits of some sums."""

    def forward(x, bias):
        y = x + bias
        return y - y.mean(axis=0), None

    def backward(dout, _):
        dx = dout - dout.mean(axis=0)
        return dx, dx.sum(axis=0)

    for seed in range(10):
        check_gradients((forward, backward), X, np.ones(4), settings=CheckSettings(seed=seed))
