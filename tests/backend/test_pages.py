"""Memory that is given back is no longer there, its neighbours are, and it can be written again."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from minitrain.backend.cpu.pages import give_back

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep the pages")


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


@needs_linux
def test_pages_within_an_array_are_given_back():
    array = np.ones(16 << 20, np.uint8)
    before = resident()
    give_back(array[1 << 20 : 15 << 20])
    assert before - resident() > 13 << 20
    assert array[: 1 << 20].all()
    assert array[15 << 20 :].all()
    array[:] = 2
    assert (array == 2).all()


@needs_linux
@pytest.mark.parametrize("start", [0, 1, 100])
def test_neighbours_keep_their_values(start):
    array = np.ones(4 * mmap.PAGESIZE, np.uint8)
    for stop in (start, start + 1, start + mmap.PAGESIZE, array.size - 1):
        array[:] = 1
        give_back(array[start:stop])
        assert array[:start].all()
        assert array[stop:].all()
