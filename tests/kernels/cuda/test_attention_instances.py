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
from tools.cuda_resources import ARCHS, TABLE

pytestmark = needs_nvrtc

HUNGRIEST, LIMIT, MARGIN = "sm_100", 255, 40
DTYPES = ("float32", "tf32", "bfloat16", "float16")
SHARED_OF_SM_80 = 163 * 1024


@pytest.mark.parametrize(("itemsize", "D"), list(product((2, 4), WIDTHS)))
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
@pytest.mark.parametrize(("dtype", "D", "drops"), list(product(DTYPES, WIDTHS, (False, True))))
def test_no_instance_spills(dtype, D, drops):
    """Every instance is compiled for the kind of GPU that takes most registers, and for all where few are left.

    In ``resources.txt``, which has some instances for all kinds, another kind never takes ``MARGIN`` registers more.
    """
    kernels = [forward_kernel(dtype, D, drops), backward_kernels(dtype, D, drops).keys]
    if not drops:
        kernels.append(decode_kernels(dtype, D).split)
    for kernel in kernels:
        most = 0
        for arch in (HUNGRIEST, *(other for other in ARCHS if other != HUNGRIEST)):
            if arch != HUNGRIEST and most + MARGIN <= LIMIT:
                break
            for name, used in load_or_compile(kernel.source, arch).resources.items():
                assert not used.spills, (name, arch)
                assert used.registers <= LIMIT, (name, arch)
                most = max(most, used.registers)


def test_no_other_gpu_takes_many_more_registers():
    """What ``test_no_instance_spills`` relies on, in the table that ``test_resources.py`` compares."""
    lines = [line.split() for line in TABLE.read_text().splitlines() if line.startswith("    attention_")]
    assert len(lines) > 30
    for *_, sm_80, sm_90, sm_100, sm_120 in (line[: -len(ARCHS)] for line in lines):
        assert max(map(int, (sm_80, sm_90, sm_120))) < int(sm_100) + MARGIN
