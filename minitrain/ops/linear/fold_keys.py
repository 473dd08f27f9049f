"""Folds one random key along many paths on the device that the key is on, as ``Key.fold`` does on the host.

A training step that is captured in a graph repeats numbers of the host. So the key of the step is an array, and the
keys of all layers follow from it inside the graph.
"""

from __future__ import annotations

from functools import partial

from ...backend.arrays import Array, array_module
from ...random import WORD, philox
from ..contract.op import with_twin

END = 3
"""In the third word of a part: the path has ended before. ``path_words`` gives 0, 1 or 2."""


@partial(with_twin, dtype="uint32")
def fold_keys(root: Array, paths: Array) -> Array:
    """The keys at the ends of all paths.

    Args:
        root: (2,) uint32, the two words of the key that is folded.
        paths: (K, depth, 3) uint32, the words of each part of a path (`minitrain.random.path_words`); the third word
            is ``END`` behind the last part of a shorter path.

    Returns:
        (K, 2) uint32, the two words of each key.
    """
    xp = array_module(root)
    k0, k1 = (xp.full((len(paths),), 0, "uint64") + root[i].astype("uint64") for i in range(2))  # (K,) each
    for depth in range(paths.shape[1]):
        low, high, kind = (paths[:, depth, i].astype("uint64") for i in range(3))  # (K,) each
        new0, new1, _, _ = philox((low, high, kind, WORD), k0, k1)
        k0, k1 = xp.where(kind == END, k0, new0), xp.where(kind == END, k1, new1)
    return xp.stack([k0, k1], axis=-1).astype("uint32")  # type: ignore[no-any-return]  # (K, 2)
