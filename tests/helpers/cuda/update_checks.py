"""Checks of updates of weights, and of the numbers that a captured step reads from memory: keys, and its norm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minitrain.ops import dropout_backward, dropout_forward
from minitrain.ops.linear.dropout import DropoutCache
from minitrain.ops.linear.fold_keys import END, fold_keys
from minitrain.optim.clip import sum_of_squares
from minitrain.optim.rules.adam import adam_update
from minitrain.optim.rules.lion import lion_update
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from minitrain.random import Key, path_words

RATES = {"lr": 1e-2, "weight_decay": 0.1, "grad_scale": 0.5}
FLAT = (1, 31, 1024, 2053)
LATE = np.array([0.02, 0.003, 0.9, 0.6])
"""Numbers of an update as a captured step reads them from memory; those that are given besides do not count then."""


def check_update(update: Any, count: int, sizes: tuple[Any, ...], signed: int, **options: Any) -> None:
    """An optimizer's update changes its arrays as the reference does, with a factor of the host and of the device.

    Args:
        update: the operation.
        count: of its arrays.
        sizes: of the arrays, for each call.
        signed: how many arrays may have negative numbers; all others are squares.
        options: of the update.
    """
    for size in sizes:
        given_ = _state(count, size, signed)
        expected, found = [x.astype(np.float64) for x in given_], [x.copy() for x in given_]
        update.reference(*expected, **options)
        update.twin("cuda")(*found, **options)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
        with _factors_on_device(update):
            again = [x.copy() for x in given_]
            update.twin("cuda")(*again, **options)
            for a, b in zip(again, found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
            for factor in (np.nan, np.inf):  # nobody of the host has seen it: nothing may change
                kept = [x.copy() for x in given_]
                with np.errstate(all="ignore"):  # of numbers that nobody uses
                    update.twin("cuda")(*kept, **{**options, "grad_scale": factor})
                for a, b in zip(kept, given_, strict=True):
                    np.testing.assert_array_equal(a, b)


def _state(count: int, size: Any, signed: int) -> list[Any]:
    """Weights, gradients and moments; where there is room, some gradients and moments are 0."""
    rng = np.random.default_rng(0)
    found = [rng.standard_normal(size, np.float32) for _ in range(count)]
    for x in found[1:signed]:
        x.reshape(-1)[3:6] = 0
    return [x if i < signed else abs(x) + 0.1 for i, x in enumerate(found)]


@contextmanager
def _factors_on_device(update: Any) -> Iterator[None]:
    """The factor of the gradients reaches the kernels of an update as it does on a device."""
    module = sys.modules[update.twin("cuda").__module__]
    before = module.scale_arguments
    module.scale_arguments = lambda scale: (1.0, np.array([scale], np.float32))
    try:
        yield
    finally:
        module.scale_arguments = before


def check_adam() -> None:
    for kind in ({"decoupled": True}, {"mix": (1.1, 0.3)}, {"decoupled": True, "mix": (1.1, 0.3), "late": LATE}):
        check_update(adam_update, 4, FLAT, 3, step=3, beta1=0.9, beta2=0.99, eps=1e-3, **kind, **RATES)


def check_lion() -> None:
    for more in ({}, {"late": LATE}):
        check_update(lion_update, 3, FLAT, 3, beta1=0.9, beta2=0.99, **more, **RATES)


def check_muon() -> None:
    for nesterov in (True, False):
        more = {"ns_steps": 3, "coefficients": COEFFICIENTS, "eps": 1e-7, "scale": 1.5}
        late = {} if nesterov else {"late": LATE}
        check_update(muon_update, 3, ((5, 7), (33, 8)), 3, momentum=0.9, nesterov=nesterov, **more, **late, **RATES)


class KeyInMemory(Key):
    """A key whose words a kernel must read where they are; its numbers are wrong."""

    at: Any

    @property
    def words(self) -> Any:
        """See `Key.words`."""
        return self.at


def check_key_in_memory() -> None:
    x, key, late = np.ones((3, 9), np.float32), Key.from_seed(3), KeyInMemory(1, 2)
    late.at = np.array(key[:2], np.uint32)
    expected, _ = dropout_forward.reference(x, p=0.5, key=key)  # type: ignore[attr-defined]
    found, cache = dropout_forward.twin("cuda")(x, p=0.5, key=late)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, expected)
    dx = dropout_backward.twin("cuda")(x, DropoutCache(*cache), into=(None,))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(dx, expected)


def check_fold_keys() -> None:
    root, paths = Key.from_seed(2**40 + 7), [("blocks", 1, "dropout"), (-5,), (), (2**40, "a")] * 20
    table = np.full((len(paths), 3, 3), END, np.uint32)
    for row, path in enumerate(paths):
        table[row, : len(path)] = [path_words(part) for part in path] or np.empty((0, 3))
    found = fold_keys.twin("cuda")(np.array(root[:2], np.uint32), table)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, [root.fold(*path)[:2] for path in paths])


def check_norm() -> None:
    for size in (1, 300, 2053, 70_000):  # the last: several numbers for each thread
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        np.testing.assert_allclose(float(sum_of_squares.twin("cuda")(x)), (x.astype(np.float64) ** 2).sum(), rtol=1e-12)  # type: ignore[attr-defined]
