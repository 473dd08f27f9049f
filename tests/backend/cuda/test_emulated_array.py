"""The emulated GPU itself: it computes as NumPy does, refuses what would move data silently, and counts the rest."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import device_of, gpu_status, is_array, to_device, to_numpy
from minitrain.errors import ConfigError
from minitrain.testing import strategies as mt
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from minitrain.testing.cuda.fake.functions import NAMESPACE
from minitrain.testing.cuda.fake.names import METHODS
from minitrain.testing.cuda.fake.record import Counts
from tests.test_cupy_namespace import all_uses, library_uses, method_uses, parameters, problems

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)

REFUSED: dict[str, Callable[[Any], Any]] = {
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x[0, 0] > 0 else 2,
    "index": lambda x: [1, 2, 3][x[0, 1].astype("int64")],
    "range": lambda x: range(x[0, 1].astype("int64")),
    "item": lambda x: x[0, 0].item(),
    "tolist": lambda x: x.tolist(),
    "tobytes": lambda x: x.tobytes(),
    "asarray": np.asarray,
    "np.array": np.array,
    "format": lambda x: f"{x[0, 0]:.3f}",
    "iteration": lambda x: list(x[0]),
    "in": lambda x: 3 in x,
    "pickle": pickle.dumps,
    "plus NumPy": lambda x: x + NUMBERS,
    "NumPy plus": lambda x: NUMBERS + x,
    "NumPy in place": lambda x: np.add(NUMBERS, 1, out=x),
    "where": lambda x: np.where(x > 1, NUMBERS, x),
    "where NumPy": lambda x: np.where(NUMBERS > 1, x, x),
    "assigned": lambda x: x.__setitem__(slice(0, 3), NUMBERS),
    "list assigned": lambda x: x.__setitem__(0, [1, 2, 3, 4]),
    "list as index": lambda x: x[[0, 1]],
    "NumPy as index": lambda x: x[np.array([0, 1])],
    "unknown function": lambda x: np.linalg.svd(x),
    "hash": hash,
}


def test_it_computes_like_numpy(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    y = 2 * x.T @ x - np.float32(1)
    assert (y.dtype, y.shape, device_of(y)) == (np.float32, (4, 4), "cuda:0")
    np.testing.assert_array_equal(to_numpy(y), 2 * NUMBERS.T @ NUMBERS - 1)
    assert to_numpy(x.sum()).shape == ()  # an array, where NumPy has a number
    assert is_array(x.sum())


@pytest.mark.parametrize("name", REFUSED)
def test_what_moves_data_silently_is_refused(gpu: EmulatedDevice, name: str) -> None:
    x = to_device(NUMBERS, "cuda")
    with gpu.counting() as counts, pytest.raises((TypeError, ValueError)):
        REFUSED[name](x)
    assert (counts.to_host, counts.to_device, counts.synchronisations) == (0, 0, 0)


def test_a_refusal_says_where_and_what_to_do(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    with pytest.raises(TypeError, match=r"test_emulated_array.py:\d+: float\(\) of an array of shape \(\).*to_numpy"):
        float(x.sum())


def test_transfers_and_waits_are_counted(gpu: EmulatedDevice) -> None:
    cupy = gpu.cupy
    with gpu.counting() as counts:
        x = to_device(NUMBERS, "cuda")
        rows = to_device(np.array([2, 0]), "cuda")
        found = x[rows] + x[:2]  # neither waits: sizes are known
        assert (counts.synchronisations, counts.to_device, counts.bytes_to_device) == (0, 2, 48 + 16)
        found[found > 3] = 0  # one number, wherever it goes
        assert counts.synchronisations == 0
        x[x > 3]
        cupy.nonzero(x)
        cupy.bincount(rows)
        assert counts.synchronisations == 3
        to_numpy(found)
        cupy.cuda.Stream.null.synchronize()
    assert (counts.synchronisations, counts.to_host, counts.bytes_to_host) == (5, 1, 32)
    assert sum(counts.where.values()) == 5
    assert {place.partition(":")[0] for place in counts.where} == {"test_emulated_array.py"}
    with gpu.counting() as counts:
        pass
    assert counts == Counts()


def test_calls_are_recorded_with_their_results(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    with gpu.counting() as counts:
        y = (x[1:].reshape(-1)[:4] * 2).sum()  # views launch nothing
        y += 1
    assert counts.calls == ["multiply float32[4]", "sum float32[]", "add float32[]"]


def test_views_share_memory_and_results_do_not(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    for view in (x[1:], x.T, x.reshape(-1), x[..., 0], x[1, 2], x.view("int32"), x.swapaxes(0, 1), x[:, None]):
        assert np.shares_memory(x, view)
        assert view.base is x
    for other in (x + 0, x.copy(), copy.deepcopy(x), x.astype("float32"), x.T.reshape(-1), x[x > -1]):
        assert not np.shares_memory(x, other)
        assert other.base is None
    x[1, 2] = 100
    assert to_numpy(x.reshape(-1)[6:7])[0] == 100
    assert (x[1:].data.ptr - x.data.ptr, x.data.ptr % 512) == (16, 0)


def test_fresh_memory_is_not_a_number(gpu: EmulatedDevice) -> None:
    assert np.isnan(to_numpy(gpu.cupy.empty((2, 3), "float32"))).all()


def test_indices_wrap_around_as_in_cupy(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    np.testing.assert_array_equal(to_numpy(x[to_device(np.array([3, -1]), "cuda")]), NUMBERS[[0, 2]])
    columns = to_device(np.array([5, 1]), "cuda")
    np.testing.assert_array_equal(to_numpy(x[..., columns]), NUMBERS[..., [1, 1]])


def test_two_values_for_one_element_are_an_error(gpu: EmulatedDevice) -> None:
    x, twice = to_device(NUMBERS, "cuda"), to_device(np.array([1, 1]), "cuda")
    x[twice] = 5  # the same value
    with pytest.raises(RuntimeError, match="which one stays is not known"):
        x[twice, 0] = to_device(np.array([1.0, 2.0], np.float32), "cuda")


def test_sums_in_no_order_are_counted(gpu: EmulatedDevice) -> None:
    x, places = gpu.cupy.zeros(3, "float32"), to_device(np.array([1, 1]), "cuda")
    with gpu.counting() as counts:
        gpu.cupy.add.at(x, places, 0.5)
        gpu.cupy.add.at(gpu.cupy.zeros(3, "int32"), places, 1)  # integers have one sum
    assert counts.unordered == 1
    np.testing.assert_array_equal(to_numpy(x), [0, 1, 0])


def test_nothing_warns(gpu: EmulatedDevice) -> None:
    x = to_device(NUMBERS, "cuda")
    with np.errstate(all="raise"):
        y = to_numpy(gpu.cupy.log(x - 1) / 0)
    assert np.isnan(y[0, 0])


def test_arrays_of_two_devices_do_not_meet() -> None:
    with emulated_device(devices=2):
        x = to_device(NUMBERS, "cuda")
        y = to_device(x, "cuda:1")
        assert (device_of(x), device_of(y)) == ("cuda:0", "cuda:1")
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            x + y
        np.testing.assert_array_equal(to_numpy(y + y), 2 * NUMBERS)


def test_it_takes_cupys_place_and_leaves_it() -> None:
    status = gpu_status()
    before = sys.modules.get("cupy")
    with emulated_device() as device:
        assert sys.modules["cupy"] is device.cupy
        assert gpu_status()[0] is device.cupy
        with pytest.raises(ConfigError, match="emulated already"), emulated_device():
            pass
        assert gpu_status()[0] is device.cupy
    assert (sys.modules.get("cupy"), gpu_status()) == (before, status)


def test_it_has_all_that_minitrain_calls(gpu: EmulatedDevice) -> None:
    assert problems([use._replace(keywords=frozenset()) for use in all_uses(library_uses)], gpu.cupy) == []
    lacking = problems([use._replace(keywords=frozenset()) for use in all_uses(method_uses)], gpu.cupy.ndarray)
    assert {line.partition(": ")[2] for line in lacking} <= {f"{name} does not exist" for name in OF_OTHERS}


def test_cupy_has_all_that_it_has() -> None:
    """Otherwise code could pass here and fail on a device."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: its names cannot be asked")
    assert [name for name in NAMESPACE if not hasattr(cupy, name)] == []
    assert [name for name in METHODS if not hasattr(cupy.ndarray, name)] == []
    for name in ("empty", "full", "arange", "asarray", "bincount", "eye", "linspace", "zeros_like"):
        known = parameters(getattr(cupy, name))
        ours = set(inspect.signature(NAMESPACE[name]).parameters)
        assert known is None or ours <= known | {"x", "copy", "blocking"}, name


OF_OTHERS = {"put", "dump", "round"}
"""Names of methods that are called on queues, files and numbers; no array has to have them."""

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda xp, x: (x * 2 - x / 3) ** 2 % 5 // 2,
    "comparison": lambda xp, x: (x > 0) & (x <= 1) | ~(x != 0),
    "reductions": lambda xp, x: [x.sum(axis=0), x.mean(axis=-1, keepdims=True), x.max(), x.var(axis=0), x.argmax()],
    "shapes": lambda xp, x: [x.T.reshape(-1), xp.stack([x, x]), xp.concatenate([x, -x]), xp.pad(x, 1), x[None, ::-1]],
    "functions": lambda xp, x: [xp.exp(x), xp.tanh(x), xp.where(x > 0, x, 0), xp.clip(x, -1, 1), xp.maximum(x, 0.5)],
    "orders": lambda xp, x: [xp.argsort(x, kind="stable"), x.cumsum(axis=1), xp.take_along_axis(x, x.argsort(0), 0)],
    "products": lambda xp, x: [x @ x.T, xp.einsum("ij,kj->ik", x, x), xp.matmul(x[None], x.T[None])],
    "types": lambda xp, x: [x.astype("float16"), x.astype("int32") << 2, xp.square(x, dtype="float64"), x.astype(bool)],
    "made": lambda xp, x: [xp.zeros_like(x), xp.full(2, 3.0, x.dtype), xp.arange(3, dtype="uint64"), xp.eye(3)],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@given(st.data())
def test_functions_are_numpys(name: str, data: Any) -> None:
    x = data.draw(mt.arrays((3, 4))).astype(np.float32)
    with np.errstate(all="ignore"):
        here = FUNCTIONS[name](np, x)
    with emulated_device() as device:
        there = FUNCTIONS[name](device.cupy, to_device(x, "cuda"))
        for a, b in zip(*(value if isinstance(value, list) else [value] for value in (there, here)), strict=True):
            assert not isinstance(a, np.ndarray)
            host = to_numpy(a)
            assert host.dtype == b.dtype
            np.testing.assert_array_equal(host, b)
