"""Near duplicates by MinHash (Broder, 1997), found through bands (locality-sensitive hashing).

The signature of a text is the smallest of the hashed runs of words under each of some permutations. The share of equal
places in two signatures estimates the Jaccard similarity of their runs: what both have, of what one has. Signatures
that agree in all places of one band are compared; datasketch makes the signatures and chooses the bands.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .filters import needed
from .words import ngrams, normalised, words

_AT_ONCE = 4096
"""Runs that are hashed at once: each takes 4 bytes for each permutation."""
_WEIGHTS = (0.05, 0.95)
"""The cost of bands: a pair that is compared in vain, and a pair that is missed."""


@dataclass(frozen=True)
class NearDuplicates:
    """How near duplicates are found.

    Attributes:
        threshold: texts with at least this estimated similarity are near duplicates.
        shingle: words in a run; a text with fewer has one run.
        permutations: places in a signature. The estimate's standard error is at most ``0.5 / sqrt(permutations)``.

    Raises:
        ConfigError: if datasketch is not installed, or a number is out of range.
    """

    threshold: float = 0.8
    shingle: int = 5
    permutations: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold={self.threshold} must be above 0 and at most 1, such as 0.8")
        if self.shingle < 1:
            raise ConfigError(f"shingle={self.shingle} must be at least 1; 5 words are usual")
        if not 16 <= self.permutations <= 4096:
            raise ConfigError(f"permutations={self.permutations} must be from 16 to 4096; 128 are usual")
        _datasketch()

    @functools.cached_property
    def bands(self) -> tuple[int, int]:
        """The number of bands, and the places in each."""
        if self.threshold == 1:
            return 1, self.permutations
        index = _datasketch().MinHashLSH(threshold=self.threshold, num_perm=self.permutations, weights=_WEIGHTS)
        return index.b, index.r

    def probability(self, similarity: float) -> float:
        """The probability that two texts of this similarity are compared at all."""
        number, places = self.bands
        return float(1 - (1 - similarity**places) ** number)

    def signature(self, text: str) -> bytes:
        """The signature of a text, 4 bytes for each permutation; empty if it has no words."""
        parts = words(text)
        if not parts:
            return b""
        size = min(self.shingle, len(parts))
        hashed = _datasketch().MinHash(
            self.permutations, scheme="affine32", permutations=_permutations(self.permutations)
        )
        runs = (run.encode() for run in ngrams(parts, size))
        while some := list(islice(runs, _AT_ONCE)):
            hashed.update_batch(some)
        return np.asarray(hashed.hashvalues, "<u4").tobytes()

    def keys(self, signature: bytes) -> Iterator[bytes]:
        """A key for each band of a signature; texts with a common key are compared."""
        number, places = self.bands
        for band in range(number):
            part = signature[4 * places * band : 4 * places * (band + 1)]
            yield blake2b(part, digest_size=8, salt=band.to_bytes(2, "little")).digest()


def similarity(signature: bytes, others: list[bytes]) -> NDArray[np.float64]:
    """(N,) estimated similarities of one signature to N others."""
    own = np.frombuffer(signature, "<u4")
    rows = np.frombuffer(b"".join(others), "<u4").reshape(len(others), -1)
    return np.asarray((rows == own).mean(axis=1), np.float64)


def digest_of(text: str) -> bytes:
    """16 bytes that are equal for exact duplicates: texts that are the same when they are normalised."""
    return blake2b(normalised(text).encode(), digest_size=16).digest()


def _datasketch() -> Any:
    return needed("datasketch", "datasketch", "finding near duplicates")


@functools.cache
def _permutations(count: int) -> Any:
    return _datasketch().MinHash(count, scheme="affine32").permutations
