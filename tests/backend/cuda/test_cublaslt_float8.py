"""The stand-in for cuBLASLt notices mistakes in products of 8 bits, and minitrain makes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.backend.cuda.float8 import E4M3, E5M2, Float8Format, float8_dtype, float8_scale, to_float8
from minitrain.backend.cuda.float8_gemm import Float8, float8_matmul
from minitrain.backend.cuda.gemm import close_planners
from minitrain.backend.cuda.products import cublaslt, cublaslt_ctypes
from minitrain.backend.cuda.products.bindings import use_binding
from minitrain.backend.precision import half_dtype
from minitrain.errors import DeviceError
from minitrain.testing.cuda.cublaslt import FakeCublasLt, FakeCublasLtError
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from tests.backend.cuda.test_cublaslt_rules import Saboteur, with_argument, without


def operand(device: EmulatedDevice, x: np.ndarray, form: Float8Format) -> Float8:
    scale = np.asarray(float8_scale(x, form))
    codes = (to_float8(x, scale, form) / scale).astype(float8_dtype(form.name)).view(np.uint8)
    return Float8(device.cupy.asarray(codes), device.cupy.asarray(scale), form)


def run(library: Any) -> None:
    """A forward with a bias and a gradient that is added up. Raises if numbers are wrong."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.choice([-3, -1, 0.5, 2], size=shape).astype(np.float32) for shape in ((20, 32), (48, 32), (48, 32)))
    with emulated_device() as device, use_binding(library):
        cp = device.cupy
        try:
            bias = cp.asarray(np.arange(48).astype(half_dtype("bfloat16")))
            out = cp.empty((20, 48), np.float32)
            float8_matmul(operand(device, a, E4M3), operand(device, b, E4M3), out=out, bias=bias, fast=True)
            np.testing.assert_array_equal(out.get(), a @ b.T + np.arange(48))
            float8_matmul(operand(device, 8 * a, E5M2), operand(device, c, E4M3), out=out, beta=1)
            np.testing.assert_array_equal(out.get(), a @ b.T + np.arange(48) + 8 * a @ c.T)
        finally:
            close_planners()


def replaced_layout(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Any:
    return lambda call, args: call(*change(args))


def set_value(number: int, value: int, size: int = 4) -> Any:
    """Set one more attribute with each product."""
    import ctypes

    kinds = {1: ctypes.c_int8, 4: ctypes.c_int32, 8: ctypes.c_void_p}

    def change(call: Any, args: Any) -> None:
        held = kinds[size](value)
        call(args[0], number, ctypes.addressof(held), size)
        call(*args)

    return change


MISTAKES: dict[str, Saboteur] = {
    "the scale of A is not told": Saboteur(matmul_desc_set_attribute=without(17)),
    "the scale of B is not told": Saboteur(matmul_desc_set_attribute=without(18)),
    "A is not transposed": Saboteur(matmul_desc_set_attribute=without(3)),
    "the type of the bias is not told": Saboteur(matmul_desc_set_attribute=without(26)),
    "the bias is float32": Saboteur(matmul_desc_set_attribute=set_value(26, 0)),
    "the flag of fast sums has 4 bytes": Saboteur(
        matmul_desc_set_attribute=lambda call, args: call(*args[:3], 4 if args[1] == 25 else args[3])
    ),
    "both operands are e5m2": Saboteur(matrix_layout_create=with_argument(0, lambda kind: 29 if kind == 28 else kind)),
    "e4m3 for e5m2": Saboteur(matrix_layout_create=with_argument(0, lambda kind: 28 if kind == 29 else kind)),
    "the result is float64": Saboteur(matrix_layout_create=with_argument(0, lambda kind: 1 if kind == 0 else kind)),
    "sums in float64": Saboteur(matmul_desc_create=with_argument(0, lambda kind: 70)),
    "sums in TF32": Saboteur(matmul_desc_create=with_argument(0, lambda kind: 77)),
    "a leading dimension that is no multiple of 16": Saboteur(
        matrix_layout_create=with_argument(3, lambda leading: leading + 4)
    ),
    "a scale for each row": Saboteur(matmul_desc_set_attribute=set_value(31, 3)),
    "a scale of D": Saboteur(matmul_desc_set_attribute=set_value(20, 0x1000, 8)),
    "a scale of C": Saboteur(matmul_desc_set_attribute=set_value(19, 0x1000, 8)),
    "GELU": Saboteur(matmul_desc_set_attribute=set_value(7, 32)),
    "an address that is no multiple of 16": Saboteur(
        matmul_preference_set_attribute=without(5), matmul=with_argument(3, lambda a: a + 4)
    ),
    "the scales are swapped": Saboteur(
        matmul_desc_set_attribute=lambda call, args: call(args[0], {17: 18, 18: 17}.get(args[1], args[1]), *args[2:])
    ),
}


def test_what_minitrain_does_keeps_all_rules() -> None:
    fake = FakeCublasLt()
    run(fake)
    assert fake.alive() == []
    assert {("Desc", 17, 8), ("Desc", 18, 8), ("Desc", 25, 1), ("Desc", 26, 4)} <= fake.attributes


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if name != "the scales are swapped"])
def test_mistakes_are_noticed(mistake: str) -> None:
    """By an error that names the rule, or by wrong numbers."""
    with pytest.raises((FakeCublasLtError, DeviceError, AssertionError)):
        run(MISTAKES[mistake])


def test_swapped_scales_change_nothing() -> None:
    """The product is multiplied by both: which one comes first cannot be seen, so no test can ask for it."""
    run(MISTAKES["the scales are swapped"])


def test_an_old_card_has_no_algorithm() -> None:
    with pytest.raises(DeviceError, match=r"no algorithm for .* in float8_e4m3 and float8_e4m3 -> float32"):
        run(FakeCublasLt(capability=lambda: "86"))


def test_scales_are_for_8_bits_alone() -> None:
    from minitrain.backend.cuda.gemm import matmul

    library = Saboteur(matmul_desc_set_attribute=set_value(17, 0x1000, 8))
    with emulated_device() as device, use_binding(library):
        try:
            with pytest.raises(FakeCublasLtError, match="a scale of A without operands of 8 bits"):
                matmul(device.cupy.ones((16, 16), np.float32), device.cupy.ones((16, 16), np.float32))
        finally:
            close_planners()


def test_scales_are_read_when_the_product_runs() -> None:
    """A graph that is replayed multiplies with the scale that its own kernels have just written."""
    with emulated_device() as device:
        cp, x = device.cupy, np.ones((16, 16), np.float32)
        a, b = operand(device, x, E4M3), operand(device, x, E4M3)
        out, stream = cp.empty((16, 16), np.float32), cp.cuda.Stream(non_blocking=True)
        cp.cuda.get_current_stream().synchronize()
        with stream:
            float8_matmul(a, b, out=out)
            stream.begin_capture()
            float8_matmul(a, b, out=out)
            graph = stream.end_capture()
            a.scale[...] = a.scale * 4
            graph.launch(stream)
            stream.synchronize()
        assert (out.get() == 16 * 4).all()


def test_the_real_library_takes_every_attribute() -> None:
    """Descriptors need no GPU: the library refuses unknown numbers and sizes that are not the attribute's."""
    import ctypes

    try:
        cublaslt_ctypes.load()
    except OSError as error:
        pytest.skip(str(error))
    fake = FakeCublasLt()
    run(fake)
    for kind, attribute, nbytes in sorted(fake.attributes):
        if kind != "Desc":
            continue
        made, value = cublaslt_ctypes.matmul_desc_create(68, 0), ctypes.c_uint64(0)
        cublaslt_ctypes.matmul_desc_set_attribute(made, attribute, ctypes.addressof(value), nbytes)
        with pytest.raises(cublaslt_ctypes.CublasLtError, match="invalid value"):
            cublaslt_ctypes.matmul_desc_set_attribute(made, attribute, ctypes.addressof(value), nbytes + 4)
        cublaslt_ctypes.matmul_desc_destroy(made)
    for name in ("FLOAT8_E4M3", "FLOAT8_E5M2"):
        layout = cublaslt_ctypes.matrix_layout_create(int(cublaslt.DataType[name]), 16, 16, 16)
        cublaslt_ctypes.matrix_layout_destroy(layout)
