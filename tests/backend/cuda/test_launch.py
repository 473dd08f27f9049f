"""Launches are checked before they reach a device."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend.cuda.launch import Source, record_launches, set_launcher, shared_memory_limit
from minitrain.errors import ConfigError, DeviceError, ShapeError


class Recorder:
    """A launcher that only notes what reaches it."""

    takes_host_arrays = True

    def __init__(self):
        self.seen = []

    def shared_memory_limit(self):
        return 1000

    def launch(self, kernel, grid, block, arguments, shared):
        self.seen.append((kernel.name, grid, block, arguments, shared))


@pytest.fixture
def launcher():
    recorder = Recorder()
    before = set_launcher(recorder)
    yield recorder
    set_launcher(before)


KERNEL = Source("test.cu", "").kernel("scale<float>", "f4* x, f4* bias?, f4@ out, i4 n, f4 factor")
x = np.zeros((3, 4), np.float32)


def test_a_launch_reaches_the_launcher_as_it_was_given(launcher):
    KERNEL(2, (32, 4), x, None, x.T, 12, 0.5, shared=64)
    ((name, grid, block, arguments, shared),) = launcher.seen
    assert (name, grid, block, shared) == ("scale<float>", (2, 1, 1), (32, 4, 1), 64)
    assert arguments[0] is x
    assert arguments[1] is None
    assert arguments[3:] == (12, 0.5)
    assert shared_memory_limit() == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((x, None, x, 12), r"takes 5 arguments \(x, bias, out, n, factor\), got 4"),
        ((None, None, x, 12, 1.0), "x is missing"),
        ((x.astype(np.float64), None, x, 12, 1.0), "x has dtype float64, expected float32"),
        ((x.T, None, x, 12, 1.0), r"x of shape \(4, 3\) is not C-contiguous"),
        ((x, x[::-1][:1].T[::2], x, 12, 1.0), "bias of shape .* is not C-contiguous"),
        ((x, None, x[::-1], 12, 1.0), "out has negative strides"),
        (([1.0], None, x, 12, 1.0), "x must be a device array, got list"),
        ((x, None, x, x, 1.0), "n must be a number, got ndarray"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(launcher, arguments, message):
    with pytest.raises(ShapeError, match=f"scale<float>:? {message}"):
        KERNEL(1, 32, *arguments)
    assert not launcher.seen


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        (1, 1025, 0, "up to 1024"),
        (1, (32, 33), 0, "up to 1024"),
        (1, (1, 1, 65), 0, "up to 1024"),
        (1, 0, 0, "up to 1024"),
        ((1, 65536), 32, 0, r"up to \(2147483647, 65535, 65535\)"),
        (2**31, 32, 0, "a grid of"),
        (1, 32, 1001, "1001 bytes of shared memory; this device has 1000 for a block"),
    ],
)
def test_a_launch_that_is_too_large_is_refused(launcher, grid, block, shared, message):
    with pytest.raises(DeviceError, match=message):
        KERNEL(grid, block, x, None, x, 12, 1.0, shared=shared)
    assert not launcher.seen


def test_a_block_keeps_to_its_launch_bounds(launcher):
    """A device refuses more threads, for the registers are chosen for so many."""
    text = """
    template <class T> __global__ void __launch_bounds__(128, 2)
    scale(T* x) {}
    __global__ void __launch_bounds__(32 * 32) plain(float* x) {}"""
    source = Source("test.cu", text)
    bounded, plain = source.kernel("scale<float>", "f4* x"), source.kernel("plain", "f4* x")
    bounded(1, (32, 4), x)
    plain(1, 1024, x)
    with pytest.raises(DeviceError, match=r"its __launch_bounds__ in test.cu allow 128 in all"):
        bounded(1, 129, x)


def test_a_grid_without_blocks_launches_nothing(launcher):
    KERNEL(0, 32, x, None, x, 12, 1.0)
    assert not launcher.seen


def test_host_arrays_are_refused_by_a_device(launcher):
    launcher.takes_host_arrays = False
    with pytest.raises(ShapeError, match="x must be a device array, got ndarray"):
        KERNEL(1, 32, x, None, x, 12, 1.0)


def test_launches_are_recorded_with_the_bytes_of_their_arrays(launcher):
    with record_launches() as launches:
        KERNEL(2, 32, x, None, x, 12, 0.5)
        with record_launches() as inner:
            KERNEL(3, 64, x, x, x, 12, 0.5, shared=8)
    KERNEL(1, 32, x, None, x, 12, 0.5)
    assert [(launch.name, launch.grid, launch.bytes) for launch in launches] == [("scale<float>", (2, 1, 1), 96)]
    assert [(launch.block, launch.shared, launch.bytes) for launch in inner] == [((64, 1, 1), 8, 144)]


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("f5* x", "'f5\\* x' is no parameter"),
        ("f4", "is no parameter"),
        ("bf16 x", "write bf16\\* x"),
        ("f4 x?", "must be an array"),
    ],
)
def test_a_signature_that_makes_no_sense_is_refused(signature, message):
    with pytest.raises(ConfigError, match=f"wrong: .*{message}"):
        Source("test.cu", "").kernel("wrong", signature)
