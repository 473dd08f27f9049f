"""Keys of a captured step: folded on the device to the words that the host would fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import to_device, use_kernels
from minitrain.ops.linear.fold_keys import END, fold_keys
from minitrain.random import Key, path_words, random_bits
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training.steps.keys import StepKeys

PARTS = st.one_of(st.text(max_size=6), st.integers(-(2**63), 2**64 - 1))
PATHS = st.lists(st.lists(PARTS, max_size=4).map(tuple), min_size=1, max_size=5, unique=True)
SEEDS = st.integers(0, 2**64 - 1)


def table_of(paths):
    table = np.full((len(paths), max(1, *map(len, paths), 1), 3), END, np.uint32)
    for row, path in enumerate(paths):
        for depth, part in enumerate(path):
            table[row, depth] = path_words(part)
    return table


def check_fold(seed, paths, place):
    root = Key.from_seed(seed)
    words = fold_keys(place(np.array(root[:2], np.uint32)), place(table_of(paths)))
    expected = np.array([root.fold(*path)[:2] for path in paths], np.uint32)
    np.testing.assert_array_equal(words if isinstance(words, np.ndarray) else words.get(), expected)


@given(SEEDS, PATHS)
def test_paths_are_folded_as_on_the_host(seed, paths):
    check_fold(seed, paths, lambda x: x)


@pytest.mark.cuda
@settings(max_examples=20, deadline=None)
@given(SEEDS, PATHS)
def test_so_does_the_kernel(seed, paths):
    with use_kernels("auto"), emulated_device():
        check_fold(seed, paths, lambda x: to_device(x, "cuda"))


@settings(max_examples=15, deadline=None)
@given(SEEDS, PATHS, st.integers(0, 9))
def test_numbers_are_those_of_the_key_of_each_step(seed, paths, first):
    """Noted along the way in one step, and read from the device in the next ones."""
    base = Key.from_seed(seed)
    with use_kernels("reference"), emulated_device() as device:
        keys = StepKeys()

        def drawn(key):
            return [random_bits(key.fold(*path).at_sample(first), (2, 5), device.cupy).get() for path in paths]

        def same(found, step):
            expected = [random_bits(base.fold(step).fold(*path).at_sample(first), (2, 5)) for path in paths]
            np.testing.assert_array_equal(found, expected)

        same(drawn(keys.begin_noting(base.fold(0))), 0)
        keys.end_noting("cuda")
        assert keys.paths == paths
        for step in (1, 2):
            root = to_device(np.array(base.fold(step)[:2], np.uint32), "cuda")
            same(drawn(keys.begin(root)), step)
            keys.end()
