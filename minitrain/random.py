"""Counter-based random numbers: a key gives the same numbers on every device, in any order, for any split.

A *key* is two 32-bit words folded from (seed, step, path of the layer). The numbers themselves are a pure function
of the key, the index of the sample in the global batch and the position inside the sample. There is no generator state,
so nothing has to be restored. Micro-batches, recomputation and a GPU see the same dropout mask as one pass on a CPU.

The function is Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011):
ten rounds of two 32x32-bit products turn a counter of four words and a key of two words into four random words.
"""

from __future__ import annotations

import hashlib
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from .backend.arrays import Array
from .errors import ConfigError, DeviceError

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85  # golden ratio, sqrt(3) - 1: the round keys' increments
ROUNDS = 10
WORD = 0xFFFFFFFF


def philox(counter: tuple[Any, Any, Any, Any], k0: int, k1: int) -> tuple[Any, Any, Any, Any]:
    """Philox-4x32-10.

    Args:
        counter: four words below 2**32, each a Python int or a uint64 array; arrays broadcast.
        k0: first word of the key.
        k1: second word of the key.

    Returns:
        Four random words, as Python ints or uint64 arrays below 2**32.
    """
    c0, c1, c2, c3 = counter
    for _ in range(ROUNDS):
        product_0, product_1 = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
        c0, c1, c2, c3 = (product_1 >> 32) ^ c1 ^ k0, product_1 & WORD, (product_0 >> 32) ^ c3 ^ k1, product_0 & WORD
        k0, k1 = (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD
    return c0, c1, c2, c3


class Key(NamedTuple):
    """A key for random numbers, and the index of a batch's first sample in the global batch."""

    k0: int
    k1: int
    sample: int = 0

    @classmethod
    def from_seed(cls, seed: int) -> Key:
        """The root key of a run.

        Args:
            seed: an integer from 0 to 2**64 - 1, of Python or NumPy. Different integers give different keys.

        Raises:
            ConfigError: for anything else.
        """
        seed = checked_seed(seed)
        return cls(seed & WORD, seed >> 32)

    def fold(self, *path: int | str) -> Key:
        """A new key for each element of ``path`` in turn, e.g. ``key.fold(step, "blocks", 3)``.

        Args:
            path: texts, and integers of any type from -2**63 to 2**64 - 1.

        Raises:
            ConfigError: for anything else.
        """
        k0, k1 = self.k0, self.k1
        for part in path:
            low, high, kind = path_words(part)
            k0, k1, _, _ = philox((low, high, kind, WORD), k0, k1)
        return Key(k0, k1, self.sample)

    def at_sample(self, first: int) -> Key:
        """The same key for a batch whose first sample has index ``first`` in the global batch."""
        return Key(self.k0, self.k1, first)

    @property
    def words(self) -> Array | None:
        """Where a kernel of a GPU reads ``k0`` and ``k1``, (2,) uint32; ``None`` if they are numbers of the host.

        A step that is captured in a graph has its keys on the GPU (`minitrain.training.steps.keys`): the graph repeats
        addresses, and what lies there may change.
        """
        return None


def checked_seed(seed: Any, name: str = "seed") -> int:
    """``seed`` as a Python integer.

    Every function with a ``seed`` calls this, so that they all accept the same seeds.

    Args:
        seed: an integer from 0 to 2**64 - 1, of Python or NumPy.
        name: the name of the argument, for the message.

    Raises:
        ConfigError: if it is not such an integer.
    """
    number = _integer(seed)
    if number is None:
        raise ConfigError(f"{name} must be an integer from 0 to 2**64 - 1, got {_brief(seed)}")
    if not 0 <= number < 1 << 64:
        raise ConfigError(f"{name} = {_brief(number)} must be from 0 to 2**64 - 1")
    return number


def _integer(value: Any) -> int | None:
    """An integer of any type as a Python integer; ``None`` for everything else, booleans too."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _brief(value: Any) -> str:
    """A value for a message. Python refuses to print integers of thousands of digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 1 << 128 else f"an integer of {value.bit_length()} bits"
    return f"{value!r:.60} ({type(value).__name__})"


def fold(key: Key | None, *path: int | str) -> Key | None:
    """``key.fold(*path)``, and ``None`` (evaluation) for ``None``.

    Raises:
        ConfigError: if it is neither a key nor ``None``.
    """
    if not isinstance(key, Key | None):
        raise ConfigError(f"key must be a Key or None (evaluation), got {type(key).__name__}; use Key.from_seed(0)")
    return None if key is None else key.fold(*path)


def path_words(part: int | str) -> tuple[int, int, int]:
    """Two 32-bit words for a part of a path, and a third that distinguishes texts, negative and other integers."""
    if isinstance(part, str):  # not hash(): that changes from one Python process to the next
        digest = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
        return digest & WORD, digest >> 32, 1
    number = _integer(part)
    if number is None or not -(1 << 63) <= number < 1 << 64:
        raise ConfigError(f"a key is folded with texts and with integers from -2**63 to 2**64 - 1, got {_brief(part)}")
    return number & WORD, (number >> 32) & WORD, 2 if number < 0 else 0


def random_bits(key: Key, shape: tuple[int, ...], xp: Any = np) -> Array:
    """Uniform 32-bit words; the first axis of ``shape`` counts samples.

    Element ``i`` of a sample (in C order) is word ``i % 4`` of Philox at counter ``(i // 4, 0, sample, 0)``.

    Args:
        key: the key; ``key.sample`` is the global index of the first sample.
        shape: shape of the result, one dimension or more.
        xp: the array library of the result.

    Returns:
        uint32 array of ``shape``.
    """
    refuse_in_capture(xp, key)
    samples, size = shape[0], math.prod(shape[1:])
    blocks = xp.arange(-(-size // 4), dtype=xp.uint64)[None, :]  # (1, blocks)
    sample = (xp.arange(samples, dtype=xp.uint64) + xp.uint64(key.sample))[:, None]  # (samples, 1)
    zero = xp.zeros((1, 1), dtype=xp.uint64)
    words = philox((blocks, zero, sample & xp.uint64(WORD), sample >> xp.uint64(32)), key.k0, key.k1)
    bits = xp.stack(words, axis=-1)  # (samples, blocks, 4): the rounds have mixed all words of the counter
    return bits.reshape(samples, bits.shape[1] * 4)[:, :size].reshape(shape).astype(xp.uint32)  # type: ignore[no-any-return]


def refuse_in_capture(xp: Any, key: Key) -> None:
    """Raise an error if the library's current stream is captured in a graph, and the key is one of the host.

    Raises:
        DeviceError: a graph would repeat the same random numbers in each launch.
    """
    if xp is not np and key.words is None and xp.cuda.get_current_stream().is_capturing():
        raise DeviceError(
            "random numbers inside a captured step would be the same in each launch, for the key is a number of the "
            "host: fold the key of the step that GraphedTrainStep hands on, or train without a graph"
        )


def uniform(key: Key, shape: tuple[int, ...], xp: Any = np) -> Array:
    """Uniform float64 numbers in [0, 1) with 32 random bits; the first axis of ``shape`` counts samples."""
    return random_bits(key, shape, xp) * 2.0**-32


def uniform_number(key: Key) -> float:
    """The one number of ``uniform(key, (1,))``, without an array: faster where numbers are needed one at a time."""
    word, _, _, _ = philox((0, 0, key.sample & WORD, key.sample >> 32), key.k0, key.k1)
    return word * 2.0**-32  # type: ignore[no-any-return]


def normal(key: Key, shape: tuple[int, ...], xp: Any = np) -> Array:
    """Normal float64 numbers of mean 0 and variance 1; the first axis of ``shape`` counts samples.

    Two of them come from four words by the formula of Box and Muller (1958): a radius from 53 random bits, so that none
    is longer than 8.6, and an angle from as many.
    """
    samples, size = shape[0], math.prod(shape[1:])
    pairs = -(-size // 2)
    words = random_bits(key, (samples, pairs, 4), xp).astype(xp.uint64)
    # 53 bits of two words each, in steps of 2**-53
    numbers = ((words[..., 0::2] << xp.uint64(21)) | (words[..., 1::2] >> xp.uint64(11))).astype(xp.float64) * 2.0**-53
    radius = xp.sqrt(-2 * xp.log(1 - numbers[..., 0]))  # 1 - u is never 0
    angle = 2 * math.pi * numbers[..., 1]
    both = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=-1)  # (samples, pairs, 2)
    return both.reshape(samples, 2 * pairs)[:, :size].reshape(shape)  # type: ignore[no-any-return]
