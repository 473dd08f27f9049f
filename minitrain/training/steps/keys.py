"""Random keys of a captured step: their paths are fixed, and their words are computed on the GPU in each replay.

A graph repeats the numbers that Python passed to kernels, a key's two words among them, so it would drop the same
elements in each step. So a captured step gets a `TracedKey`. In the first run, which is a plain one, it notes along
which paths the model folds it: ``blocks``, 0, ``dropout1``. From then on, one launch at the beginning of the step folds
the key of the step along all of these paths (``fold_keys``), and kernels read the words of their layer there. The
words are those of the host, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array, to_device
from ...errors import DeviceError
from ...ops.linear.fold_keys import END, fold_keys
from ...random import Key, path_words

KeyPath = tuple[int | str, ...]


class StepKeys:
    """The keys of one captured step.

    Attributes:
        paths: along which the key of the step was folded to draw from it, in the order of their first use.
    """

    def __init__(self) -> None:
        self.paths: list[KeyPath] = []
        self._rows: dict[KeyPath, int] = {}
        self._table: Array | None = None  # (K, depth, 3) uint32 on the GPU: the words of the paths
        self._words: Array | None = None  # (K, 2) uint32 on the GPU, of the run at hand

    def begin_noting(self, key: Key) -> TracedKey:
        """The key of the step for a plain run that shows which keys are drawn from.

        Args:
            key: of the step at hand.
        """
        self.paths.clear()
        self._rows.clear()
        self._table = self._words = None
        return TracedKey(self, key, (), key.sample)

    def end_noting(self, device: str) -> None:
        """The plain run is over: put the paths on the GPU."""
        if not self.paths:
            return
        table = np.zeros((len(self.paths), max(1, *map(len, self.paths)), 3), np.uint32)
        table[..., 2] = END
        for row, path in enumerate(self.paths):
            for depth, part in enumerate(path):
                table[row, depth] = path_words(part)
        self._table = to_device(table, device)

    def begin(self, root: Array) -> TracedKey:
        """The key of a run that is recorded or captured; computes all keys that are drawn from.

        Args:
            root: (2,) uint32 on the GPU, the words of the key of the step.
        """
        self._words = None if self._table is None else fold_keys(root, self._table)
        return TracedKey(self, None, (), 0)

    def end(self) -> None:
        """The run is over: keep nothing of it."""
        self._words = None

    def note(self, path: KeyPath) -> None:
        """The key at the end of a path is drawn from."""
        if path not in self._rows:
            self._rows[path] = len(self.paths)
            self.paths.append(path)

    def words(self, path: KeyPath) -> Array:
        """The words of the key at the end of a path, (2,) uint32 on the GPU.

        Raises:
            DeviceError: if the plain run drew nothing there.
        """
        row = self._rows.get(path)
        if row is None or self._words is None:
            raise DeviceError(
                f"a captured step draws random numbers for {'.'.join(map(str, path)) or 'the whole step'}, where its "
                "first run drew none: it must take the same branches each time"
            )
        found: Array = self._words[row]
        return found


class TracedKey(Key):
    """The key of a captured step, or one that was folded from it. Its two words are arrays () on the GPU.

    Args:
        keys: knows the paths.
        known: the key itself, in the plain run that comes first; ``None`` later.
        path: along which the key of the step was folded.
        sample: see `Key`.
    """

    def __new__(cls, keys: StepKeys, known: Key | None, path: KeyPath, sample: int) -> TracedKey:
        """A tuple whose first two entries mean nothing."""
        traced = super().__new__(cls, -1, -1, sample)
        traced._keys, traced._known, traced._path = keys, known, path
        return traced

    _keys: StepKeys
    _known: Key | None
    _path: KeyPath

    def fold(self, *path: int | str) -> TracedKey:
        """See `Key.fold`."""
        known = None if self._known is None else self._known.fold(*path)
        return TracedKey(self._keys, known, self._path + path, self.sample)

    def at_sample(self, first: int) -> TracedKey:
        """See `Key.at_sample`."""
        return TracedKey(self._keys, self._known, self._path, first)

    @property
    def words(self) -> Array | None:
        """See `Key.words`."""
        if self._known is None:
            return self._keys.words(self._path)
        self._keys.note(self._path)
        return None

    @property
    def k0(self) -> Any:
        """The first word."""
        return self._word(0)

    @property
    def k1(self) -> Any:
        """The second word."""
        return self._word(1)

    def _word(self, number: int) -> Any:
        words = self.words
        if words is not None:
            return words[number].astype("uint64")
        assert self._known is not None
        return self._known[number]
