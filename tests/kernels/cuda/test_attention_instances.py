"""Every instance of attention's kernels that Python can ask for fits a device: its tiles, and its registers."""

from __future__ import annotations

from itertools import product

import pytest

from minitrain.backend.cuda.cubin_cache import load_or_compile
from minitrain.kernels.cuda.attention.declared import (
    SPAN,
    WIDTHS,
    backward_kernels,
    decode_kernels,
    forward_kernel,
    tiles,
)
from minitrain.testing.cuda.emulator import SMALLEST_SHARED
from tests.helpers.cuda import needs_nvrtc
from tools.cuda_resources import ARCHS

pytestmark = needs_nvrtc

DTYPES = ("float32", "tf32", "bfloat16", "float16")
SHARED_OF_SM_80 = 163 * 1024


@pytest.mark.parametrize(("itemsize", "D"), product((2, 4), WIDTHS))
def test_tiles_fit_the_smallest_device(itemsize, D):
    """With dropout, on sm_120; two blocks of 16-bit heads of width 64 or less run at a time on sm_80."""
    tile = tiles(itemsize, D)
    forward = tile.shared(1, 2, tile.width, tile.rows * (tile.width + 4))
    width = tile.backward_width
    backward = tile.shared(2, 2, width, 16 * width + max(tile.rows, width) * (max(tile.rows, width) + 4))
    assert max(forward, backward) <= SMALLEST_SHARED
    if itemsize == 2 and D <= 64:
        assert 2 * (max(forward, backward) + 1024) <= SHARED_OF_SM_80
    assert SPAN % tile.width == 0


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("dtype", "D", "drops"), product(DTYPES, WIDTHS, (False, True)))
def test_no_instance_spills(dtype, D, drops, arch):
    kernels = [forward_kernel(dtype, D, drops), backward_kernels(dtype, D, drops).keys]
    if not drops:
        kernels.append(decode_kernels(dtype, D).split)
    for kernel in kernels:
        for name, used in load_or_compile(kernel.source, arch).resources.items():
            assert not used.spills, name
            assert used.registers <= 255, name
