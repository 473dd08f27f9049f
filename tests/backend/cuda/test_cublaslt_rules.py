"""The stand-in for cuBLASLt notices mistakes, and agrees with the real library in what it says without a GPU."""

from __future__ import annotations

import ctypes
import inspect
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from minitrain.backend.cuda.gemm import close_planners, matmul
from minitrain.backend.cuda.products import bindings, cublaslt, cublaslt_ctypes
from minitrain.backend.cuda.products.bindings import binding_report, use_binding
from minitrain.errors import DeviceError
from minitrain.testing.cuda.cublaslt import FakeCublasLt, FakeCublasLtError
from minitrain.testing.cuda.fake import emulated_device

FUNCTIONS = [name for name in vars(FakeCublasLt) if name[0] != "_" and name != "alive"]


class Saboteur:
    """A binding that changes some calls on their way to the stand-in."""

    def __init__(self, **changes: Callable[[Callable[..., Any], tuple[Any, ...]], Any]) -> None:
        self.library = FakeCublasLt()
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name)
        change = self._changes.get(name)
        return function if change is None else lambda *args: change(function, args)


def without(number: int) -> Any:
    """Leave an attribute out."""
    return lambda call, args: None if args[1] == number else call(*args)


def with_argument(place: int, change: Callable[[Any], Any]) -> Any:
    """Change one argument."""
    return lambda call, args: call(*args[:place], change(args[place]), *args[place + 1 :])


def run(library: Any, **options: Any) -> np.ndarray:
    """Two products that need most of what there is: a batch, and a fused layer. Raises if numbers are wrong."""
    with emulated_device() as device, use_binding(library):
        cp = device.cupy
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 3, 5)).astype(np.float32), rng.normal(size=(2, 16, 5)).astype(np.float32)
        try:
            batch = matmul(cp.asarray(a), cp.asarray(b), transpose_b=True)
            aux = cp.empty((3, 16), np.float32)
            bias = cp.asarray(np.arange(16, dtype=np.float32))
            fused = matmul(
                cp.asarray(a[0]), cp.asarray(b[0]), transpose_b=True, bias=bias, epilogue="gelu_aux", aux=aux
            )
            np.testing.assert_allclose(batch.get(), a @ b.swapaxes(1, 2), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(aux.get(), a[0] @ b[0].T + np.arange(16), rtol=1e-4, atol=1e-5)
            assert np.isfinite(fused.get()).all()
        finally:
            close_planners()


MISTAKES: dict[str, Saboteur] = {
    "a transpose is forgotten": Saboteur(matmul_desc_set_attribute=without(3)),
    "the bias is not told": Saboteur(matmul_desc_set_attribute=without(8)),
    "the auxiliary matrix is not told": Saboteur(matmul_desc_set_attribute=without(11)),
    "its leading dimension is not told": Saboteur(matmul_desc_set_attribute=without(12)),
    "the batch is not told": Saboteur(matrix_layout_set_attribute=without(5)),
    "the strides are not told": Saboteur(matrix_layout_set_attribute=without(6)),
    "an attribute has 8 bytes instead of 4": Saboteur(matmul_desc_set_attribute=with_argument(3, lambda size: 8)),
    "an attribute is unknown": Saboteur(matrix_layout_set_attribute=with_argument(1, lambda number: 99)),
    "rows and columns are swapped": Saboteur(
        matrix_layout_create=lambda call, args: call(args[0], args[2], args[1], args[3])
    ),
    "the leading dimension is too small": Saboteur(matrix_layout_create=with_argument(3, lambda leading: leading - 1)),
    "float64 for float32": Saboteur(matrix_layout_create=with_argument(0, lambda kind: 1)),
    "the sums are float64": Saboteur(matmul_desc_create=with_argument(0, lambda kind: 70)),
    "a and b are swapped": Saboteur(
        matmul=lambda call, args: call(*args[:3], args[5], args[6], args[3], args[4], *args[7:])
    ),
    "the addresses of a and b are swapped": Saboteur(
        matmul=lambda call, args: call(*args[:3], args[5], args[4], args[3], *args[6:])
    ),
    "beta is 1": Saboteur(matmul=lambda call, args: call(*args[:7], args[2], *args[8:])),
    "C is elsewhere": Saboteur(matmul=with_argument(8, lambda c: c + 4)),
    "the algorithm is left to cuBLASLt": Saboteur(matmul=with_argument(12, lambda algo: 0)),
    "no workspace": Saboteur(matmul=with_argument(13, lambda workspace: 0)),
    "a workspace of another alignment": Saboteur(matmul=with_argument(13, lambda workspace: workspace + 16)),
    "a workspace that is too small": Saboteur(matmul=with_argument(14, lambda size: size - 1)),
    "a promise of alignment that is not kept": Saboteur(matmul=with_argument(3, lambda a: a + 4)),
    "a layout is used after it was destroyed": Saboteur(
        matrix_layout_create=lambda call, args: 0x1000 if args[1:3] == (16, 3) else call(*args)
    ),
    "a descriptor is never destroyed": Saboteur(matmul_desc_destroy=lambda call, args: None),
    "a layout is destroyed twice": Saboteur(matrix_layout_destroy=lambda call, args: (call(*args), call(*args))),
    "the preferences are never destroyed": Saboteur(matmul_preference_destroy=lambda call, args: None),
}


def test_what_minitrain_does_keeps_all_rules():
    fake = FakeCublasLt()
    run(fake)
    assert fake.alive() == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_noticed(mistake):
    """By an error that names the rule, by wrong numbers, or by what is left in the end."""
    saboteur = MISTAKES[mistake]
    try:
        run(saboteur)
    except (FakeCublasLtError, DeviceError, AssertionError):
        return
    assert saboteur.library.alive(), f"nothing noticed that {mistake}"


@pytest.mark.parametrize("shared", [False, True])
def test_each_stream_has_a_workspace(shared):
    """Products on two streams run at the same time."""
    with emulated_device() as device:
        x, mine = device.cupy.ones((4, 4), np.float32), device.cupy.empty(1 << 16, np.uint8)
        library = Saboteur(matmul=with_argument(13, lambda workspace: mine.data.ptr)) if shared else FakeCublasLt()
        streams = [device.cupy.cuda.Stream(), device.cupy.cuda.Stream()]
        with use_binding(library):
            with streams[0]:
                matmul(x, x)
            with streams[1], pytest.raises(FakeCublasLtError, match="share") if shared else nullcontext():
                matmul(x, x)
            close_planners()


class Block:
    """Stands for memory."""


@pytest.mark.parametrize("freed", [True, False])
def test_a_workspace_that_was_freed_is_nobodys(freed):
    """New memory may have its address, and another stream may use that."""
    blocks = [Block()]
    with emulated_device() as device:
        x, mine = device.cupy.ones((4, 4), np.float32), device.cupy.empty(1 << 16, np.uint8)
        library = Saboteur(matmul=with_argument(13, lambda workspace: mine.data.ptr))
        library.library = FakeCublasLt(memory_at=lambda address: blocks[-1])
        first, second = device.cupy.cuda.Stream(), device.cupy.cuda.Stream()
        with use_binding(library):
            with first:
                matmul(x, x)
            if freed:
                blocks[0] = Block()
            with second, nullcontext() if freed else pytest.raises(FakeCublasLtError, match="share a workspace"):
                matmul(x, x)
            close_planners()


def test_a_new_product_in_a_capture_is_an_error_that_says_what_to_do():
    with emulated_device() as device, use_binding(FakeCublasLt()):
        x, stream = device.cupy.ones((4, 4), np.float32), device.cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(device.cupy.cuda.Stream.null.record())
        with stream:
            matmul(x, x)
            stream.begin_capture()
            matmul(x, x)
            with pytest.raises(
                DeviceError, match=r"\(4, 2\) @ \(2, 4\).*is new while a graph is captured.*run the step"
            ):
                matmul(x[:, :2], x[:2])
            stream.end_capture()
        close_planners()


def test_the_report_says_what_multiplies():
    with use_binding(FakeCublasLt()):
        assert binding_report() == "FakeCublasLt (chosen by the caller)"


@pytest.fixture
def undecided():
    """Which binding there is has not been found out yet, neither before nor after the test."""
    bindings._found.cache_clear()
    cublaslt_ctypes.load.cache_clear()
    yield
    bindings._found.cache_clear()
    cublaslt_ctypes.load.cache_clear()


def test_without_nvmath_the_library_is_called_by_ctypes(undecided, monkeypatch):
    """And without the library CuPy multiplies; the reason says what was missing."""
    monkeypatch.setitem(sys.modules, "nvmath", None)
    monkeypatch.setattr(cublaslt_ctypes, "load", lambda: None)
    assert bindings.binding() is cublaslt_ctypes
    assert "nvmath-python cannot be used: ModuleNotFoundError" in binding_report()


def test_without_the_library_cupy_multiplies(undecided, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath", None)
    monkeypatch.setattr(cublaslt_ctypes, "_places", lambda: iter(["libnowhere.so.1"]))
    assert bindings.binding() is None
    assert re.fullmatch(
        r"cupy.matmul, because nvmath-python cannot be used: .*, and libcublasLt was not found "
        r"\(libnowhere.so.1: .*\); "
        "install it with: pip install nvidia-cublas",
        binding_report(),
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bindings_take_the_same_arguments(name):
    """The stand-in, the binding by ctypes and nvmath-python: as many arguments, in the same order."""
    fake = [*inspect.signature(getattr(FakeCublasLt, name)).parameters][1:]
    assert len([*inspect.signature(getattr(cublaslt_ctypes, name)).parameters]) == len(fake)
    nvmath = pytest.importorskip(
        "nvmath.bindings.cublasLt", reason="nvmath-python is not installed", exc_type=ImportError
    )
    signature = re.match(r"\w+\((.*?)\)", getattr(nvmath, name).__doc__)
    assert signature is not None
    assert len(list(filter(None, signature[1].split(",")))) == len(fake)


def test_constants_are_those_of_nvmath():
    nvmath = pytest.importorskip(
        "nvmath.bindings.cublasLt", reason="nvmath-python is not installed", exc_type=ImportError
    )
    d, layout, wish = nvmath.MatmulDescAttribute, nvmath.MatrixLayoutAttribute, nvmath.MatmulPreferenceAttribute
    assert list(cublaslt.DescAttribute) == [
        d.TRANSA,
        d.TRANSB,
        d.EPILOGUE,
        d.BIAS_POINTER,
        d.EPILOGUE_AUX_POINTER,
        d.EPILOGUE_AUX_LD,
        d.A_SCALE_POINTER,
        d.B_SCALE_POINTER,
        d.FAST_ACCUM,
        d.BIAS_DATA_TYPE,
    ]
    assert list(cublaslt.LayoutAttribute) == [layout.BATCH_COUNT, layout.STRIDED_BATCH_OFFSET]
    assert [wish.MAX_WORKSPACE_BYTES, wish.REDUCTION_SCHEME_MASK, *list(wish)[3:7]] == list(
        cublaslt.PreferenceAttribute
    )
    for form in cublaslt.Epilogue:
        assert nvmath.Epilogue[form.name] == form
    assert nvmath.matmul_algo_dtype.itemsize == cublaslt.ALGO_BYTES
    assert nvmath.matmul_heuristic_result_dtype.itemsize == cublaslt.RESULT_BYTES
    fields = nvmath.matmul_heuristic_result_dtype.fields
    assert [fields[name][1] for name in ("workspace_size", "state")] == [cublaslt.ALGO_BYTES, cublaslt.ALGO_BYTES + 8]


def test_the_real_library_takes_every_attribute():
    """Descriptors need no GPU: the library refuses unknown numbers and sizes that are not the attribute's."""
    try:
        cublaslt_ctypes.load()
    except OSError as error:
        pytest.skip(str(error))
    fake = FakeCublasLt()
    run(fake)
    make = {
        "Desc": (lambda: cublaslt_ctypes.matmul_desc_create(68, 0), "matmul_desc"),
        "Layout": (lambda: cublaslt_ctypes.matrix_layout_create(0, 4, 4, 4), "matrix_layout"),
        "Preference": (cublaslt_ctypes.matmul_preference_create, "matmul_preference"),
    }
    assert len(fake.attributes) > 12
    for kind, attribute, nbytes in sorted(fake.attributes):
        create, name = make[kind]
        made, value = create(), ctypes.c_uint64(0)
        change = getattr(cublaslt_ctypes, f"{name}_set_attribute")
        change(made, attribute, ctypes.addressof(value), nbytes)
        with pytest.raises(cublaslt_ctypes.CublasLtError, match="invalid value") as caught:
            change(made, attribute, ctypes.addressof(value), nbytes + 4)
        assert caught.value.status == 7
        getattr(cublaslt_ctypes, f"{name}_destroy")(made)
