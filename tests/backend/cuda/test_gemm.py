"""Products of matrices on an emulated GPU: every call of cuBLASLt follows the rules, and the numbers are right."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.cuda.gemm import close_planners, matmul
from minitrain.backend.cuda.products.bindings import use_binding
from minitrain.backend.cuda.products.problem import FORMS
from minitrain.backend.precision import use_precision
from minitrain.errors import ShapeError
from minitrain.ops.contract.products import dot_rows, product
from minitrain.testing.cuda.cublaslt import FakeCublasLt
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device

SIZES = st.integers(1, 9)
BATCHES = st.sampled_from([(), (1,), (3,), (2, 3)])
DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
GAP = {"float32": 2e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}
"""Largest error of a result of this type, relative to sums of absolute products."""


@pytest.fixture(scope="module")
def device() -> Iterator[EmulatedDevice]:
    with emulated_device() as emulated:
        yield emulated


@pytest.fixture(scope="module")
def library(device) -> Iterator[FakeCublasLt]:
    """The stand-in; all that was made there is destroyed in the end."""
    fake = FakeCublasLt()
    with use_binding(fake):
        yield fake
        close_planners()
    assert fake.alive() == []


def stored(draw: st.DrawFn, device: EmulatedDevice, shape: tuple[int, ...], dtype: str) -> tuple[object, np.ndarray]:
    """An array of the device with numbers of ``shape``, and its numbers in float64.

    The array may be a transposed view, have gaps between its rows, begin in the middle of memory, or have its batch
    dimensions in another order in memory.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = rng.uniform(-1, 1, shape).astype(DTYPES[dtype])
    *batch, rows, columns = shape
    flipped, gap, start = draw(st.booleans()), draw(st.sampled_from([0, 3])), draw(st.sampled_from([0, 1, 2]))
    inner = (columns, rows) if flipped else (rows, columns)
    mixed = draw(st.booleans())
    outer = (*batch[::-1],) if mixed else (*batch,)
    whole = device.cupy.asarray(np.zeros((*outer, inner[0], inner[1] + gap + start), DTYPES[dtype]))
    part = whole[..., start : start + inner[1]]
    if mixed and len(batch) == 2:
        part = part.swapaxes(0, 1)
    if flipped:
        part = part.swapaxes(-1, -2)
    part[...] = device.cupy.asarray(numbers)
    return part, numbers.astype(np.float64)


def close(result: object, expected: np.ndarray, scale: np.ndarray | float, dtype: str) -> None:
    np.testing.assert_array_less(np.abs(result.get().astype(np.float64) - expected), GAP[dtype] * (1 + scale))


@st.composite
def calls(draw):
    """Everything that decides a product, apart from numbers."""
    operand = draw(st.sampled_from([*DTYPES]))
    result = draw(st.sampled_from([operand, "float32"] if operand in ("float16", "bfloat16") else [operand]))
    sizes, batch = (draw(SIZES), draw(SIZES), draw(SIZES)), draw(BATCHES)
    return operand, result, sizes, batch, draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([0, 1, 0.5]))


@given(st.data(), calls(), st.booleans(), st.booleans())
def test_products_of_any_layout(device, library, data, call, shared, biased):
    """Transposes, slices, batches in any order, one matrix for a whole batch, beta, a bias."""
    operand, result, (M, K, N), batch, transpose_a, transpose_b, beta = call
    a, numbers_a = stored(data.draw, device, (*batch, *((K, M) if transpose_a else (M, K))), operand)
    of_b = (N, K) if transpose_b else (K, N)
    b, numbers_b = stored(data.draw, device, of_b if shared else (*batch, *of_b), operand)
    left = numbers_a.swapaxes(-1, -2) if transpose_a else numbers_a
    right = numbers_b.swapaxes(-1, -2) if transpose_b else numbers_b
    expected = left @ right
    before = np.full(expected.shape, 2 if beta else np.nan, DTYPES[result])
    out, bias, offset = device.cupy.asarray(before), None, np.zeros(N, DTYPES[result])
    if biased:
        offset = np.arange(N).astype(DTYPES[result]) / 4
        bias = device.cupy.asarray(np.concatenate([np.zeros(1, DTYPES[result]), offset]))[1:]  # not aligned
        bias = bias if data.draw(st.booleans()) else bias.copy()
    returned = matmul(a, b, out=out, beta=beta, bias=bias, transpose_a=transpose_a, transpose_b=transpose_b)
    assert returned is out
    total = expected + offset.astype(np.float64) + (2 * beta if beta else 0)
    close(out, total, np.abs(left) @ np.abs(right) + np.abs(total), result)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(filter(None, FORMS))), st.booleans(), calls())
def test_epilogues(device, library, seed, name, biased, call):
    """Each epilogue against its formula, with or without cuBLASLt."""
    operand, result, (M, K, N), _, _, _, _ = call
    N = 8 * N
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(-1, 1, shape).astype(DTYPES[operand]) for shape in ((M, K), (K, N)))
    form, wide = FORMS[name], np.float64
    cp = device.cupy
    aux = rng.normal(0, 2, (M, N)).astype(DTYPES[result])
    vector = rng.normal(0, 1, N).astype(DTYPES[result])
    product = a.astype(wide) @ b.astype(wide)
    outputs = {}
    for binding in (library, None):
        on_device = {
            "aux": cp.asarray(aux) if form.aux else None,
            "bias": cp.empty(M if form.sums == "rows" else N, DTYPES[result]) if form.sums
            else cp.asarray(vector) if biased and form.aux != "in" else None,
        }  # fmt: skip
        with use_binding(binding):
            out = matmul(cp.asarray(a), cp.asarray(b), epilogue=name, dtype=result, **on_device)
        outputs[binding] = out, on_device
    for out, arrays in outputs.values():
        sums = product + (vector.astype(wide) if biased and not form.sums and form.aux != "in" else 0)
        expected, scale = sums, np.abs(sums).max()
        if name == "relu":
            expected = np.maximum(sums, 0)
        elif name in ("gelu", "gelu_aux"):
            expected = gelu(sums)
        elif form.aux == "in":
            expected = product * slope(aux.astype(wide))
        close(out, expected, K, result)
        if form.aux == "out":
            close(arrays["aux"], sums, K, result)
        if form.sums:
            of = {"sum_a": a.astype(wide).sum(1), "sum_b": b.astype(wide).sum(0)}
            close(arrays["bias"], of.get(name, expected.sum(0)), scale + M + K, result)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def slope(x: np.ndarray, h: float = 1e-30) -> np.ndarray:
    """The derivative by a complex step, which cancels nothing."""
    return gelu(x + 1j * h).imag / h


def test_tf32_rounds_operands_to_11_bits(device, library):
    cp = device.cupy
    a, b = cp.asarray(np.array([[1 + 2.0**-11, 1 + 2.0**-10]], np.float32)), cp.asarray(np.eye(2, dtype=np.float32))
    exact = matmul(a, b).get()
    with use_precision("tf32"):
        rounded = matmul(a, b).get()
    assert exact.tolist() == [[1 + 2.0**-11, 1 + 2.0**-10]]
    assert rounded.tolist() == [[1 + 2.0**-10, 1 + 2.0**-10]]


def test_16_bit_operands_are_added_in_float32(device, library):
    """1024 ones and a 1/1024: a sum in 16 bits would lose the last."""
    a = np.ones((1, 1025), ml_dtypes.bfloat16)
    a[0, -1] = 2.0**-10
    out = matmul(device.cupy.asarray(a), device.cupy.ones((1025, 1), ml_dtypes.bfloat16))
    assert out.dtype == np.float32
    assert out.get().item() == 1024 + 2.0**-10


def test_parts_of_a_sum_are_added_in_float32(device, library):
    """Even if the result has 16 bits: 257 is no bfloat16, so a half of this sum would lose its 1."""
    a = device.cupy.asarray(np.array([[256, 1, -256, 0]], ml_dtypes.bfloat16))
    out = matmul(a, device.cupy.ones((4, 1), ml_dtypes.bfloat16), dtype="bfloat16")
    assert out.get().astype(np.float32).item() == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([((3, 1), (1, 4)), ((1, 4), (3, 1)), ((4,), (3, 1)), ((3, 4), (4,))]))
def test_leading_dimensions_are_broadcast(device, library, seed, shapes):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(*lead, 5, 5)).astype(np.float32) for lead in shapes)
    out = matmul(device.cupy.asarray(a), device.cupy.asarray(b))
    np.testing.assert_allclose(out.get(), a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", [0, 1])
@pytest.mark.parametrize("start", [0, 1, 4, 8])
def test_a_bias_may_begin_anywhere(device, library, start, beta):
    """cuBLASLt takes it if it is aligned to 16 bytes; each alignment is a choice of its own. Otherwise it is added."""
    cp = device.cupy
    bias = cp.asarray(np.arange(16, dtype=np.float32))[start : start + 8]
    out = cp.ones((2, 8), np.float32)
    matmul(cp.ones((2, 3), np.float32), cp.ones((3, 8), np.float32), bias=bias, out=out, beta=beta)
    np.testing.assert_array_equal(out.get(), np.tile(3 + beta + np.arange(start, start + 8), (2, 1)))


def test_equal_products_share_a_plan(device, library):
    """The heuristic is asked once for a shape, and again if a pointer is less aligned."""
    memory = device.cupy.zeros(1000, np.float32)
    a, b = memory[:64].reshape(8, 8), memory[64:128].reshape(8, 8)
    matmul(a, b)
    before = library.heuristics
    for _ in range(3):
        matmul(a, b)
    assert library.heuristics == before
    matmul(memory[1:65].reshape(8, 8), b)
    assert library.heuristics == before + 1


def test_a_linear_layer_is_one_product(device, library):
    """(B, T, C) times a shared matrix is one product with B T rows; heads of attention are one batch per sample."""
    cp = device.cupy
    before = library.products
    matmul(cp.ones((3, 5, 8), np.float32), cp.ones((16, 8), np.float32), transpose_b=True)
    assert library.products == before + 1
    q = cp.ones((2, 5, 4, 8), np.float32).swapaxes(1, 2)  # (B, H, T, D) in the memory of (B, T, H, D)
    matmul(q, q, transpose_b=True)
    assert library.products == before + 3


@given(st.data(), st.booleans())
def test_reference_code_multiplies_through_the_same_product(device, library, data, mixed):
    """Arrays of any strides and of two dtypes; no product of CuPy, which a graph could not hold."""
    a, numbers_a = stored(data.draw, device, (2, 3, 4), "bfloat16")
    b, numbers_b = stored(data.draw, device, (2, 4, 5), "float32" if mixed else "bfloat16")
    before = library.products
    found = product(a, b)
    assert library.products > before
    assert found.dtype == np.float32
    close(found, numbers_a @ numbers_b, 4, "float32")
    wide = device.cupy.asarray(np.arange(64, dtype=np.float32)).reshape(8, 8)
    np.testing.assert_array_equal(product(wide[::2, ::2], wide[::2, 1::2]).get(), host(wide, 0) @ host(wide, 1))
    rows = dot_rows(a, a)
    close(rows, numbers_a.swapaxes(-1, -2) @ numbers_a, 4, "float32")


def host(x: object, start: int) -> np.ndarray:
    return x.get()[::2, start::2]


def test_what_cublaslt_does_not_offer_is_an_error_that_names_the_product(device):
    fake = FakeCublasLt(unsupported=lambda product: True)
    x = device.cupy.ones((4, 4), np.float32)
    with use_binding(fake):
        for _ in range(2):
            with pytest.raises(Exception, match=r"no algorithm for \(4, 4\) @ \(4, 4\) in float32 -> float32"):
                matmul(x, x)
        close_planners()
    assert fake.alive() == []
    assert fake.heuristics == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": (3, 3)}, r"out has shape \(3, 3\), the product has \(4, 6\)"),
        ({"beta": 1.0}, "there is no out"),
        ({"transpose_a": True}, r"\(5, 4\) @ \(5, 6\): the inner sizes differ"),
        ({"bias": (5,)}, r"bias must be a contiguous \(6,\) vector"),
        ({"epilogue": "tanh"}, "no epilogue 'tanh'; choose from None, relu"),
        ({"epilogue": "sum_a"}, r"needs bias, a vector \(4,\)"),
        ({"epilogue": "dgelu"}, "needs aux"),
        ({"epilogue": "dgelu", "bias": (6,)}, "'dgelu_sum' writes sums to it"),
        ({"aux": (4, 6)}, "takes no aux"),
        ({"epilogue": "dgelu", "aux": (4, 6)}, "divisible by 8"),
        ({"epilogue": "relu", "beta": 1.0, "out": (4, 6)}, "cannot add to out"),
        ({"dtype": "float16"}, "operands of float32 give float32, not float16"),
    ],
)
def test_errors_say_what_to_change(device, library, options, message):
    given_arrays = {
        name: device.cupy.zeros(value, np.float32) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    a, b = device.cupy.zeros((4, 5), np.float32), device.cupy.zeros((5, 6), np.float32)
    with pytest.raises(ShapeError, match=message):
        matmul(a, b, **given_arrays)


def test_matrices_with_gaps_in_rows_and_columns_are_refused(device, library):
    x = device.cupy.zeros((8, 8), np.float32)[::2, ::2]
    with pytest.raises(ShapeError, match=r"steps 16 and 2.*pass a contiguous copy"):
        matmul(x, x)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty_products(device, library, shape):
    M, K, N = shape
    out = matmul(device.cupy.ones((M, K), np.float32), device.cupy.ones((K, N), np.float32))
    np.testing.assert_array_equal(out.get(), np.zeros((M, N), np.float32))
