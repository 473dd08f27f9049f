"""Data sets for every kind of model: a text, arrays, pairs of sequences.

Each has a length and returns samples by index. ``loader`` makes endless, resumable batches for training; ``batches``
goes through one epoch, for evaluation or a loop of your own.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import check_plain
from ...errors import ConfigError, DataError, TokenError
from ...random import Key
from ..ids import as_int32
from ..loading.batches import Batch, Loader, checked_batch_size
from ..loading.order import EpochOrder
from ..text.bpe import BOS, EOS, PAD, BPETokenizer
from ..text.corpus import read_corpus
from ..text.tokenizers import Tokenizer
from ..tokens.loader import TokenLoader
from ..tokens.token_array import TokenArray
from .collate import Pair, pair_collate, stack_collate
from .samples import SampleLoader, ShuffledSamples


class SampleDataset(ABC):
    """The base of data sets. A subclass defines ``__len__``, ``__getitem__`` and, unless samples stack, ``collate``."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Sample ``index``, a named tuple; raises ``IndexError`` past the last one."""

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch of ``samples``."""
        return stack_collate(samples)

    def loader(self, batch_size: int, *, seed: int = 0) -> Loader:
        """Endless training batches in an order that is a function of the seed and the step.

        Raises:
            ConfigError: if ``batch_size`` is below 1.
            DataError: if the data set is empty.
        """
        sequence = ShuffledSamples(self, Key.from_seed(seed).fold("samples"))
        return SampleLoader(sequence, batch_size, collate=self.collate)

    def batches(self, batch_size: int, *, seed: int | None = None, epoch: int = 0) -> Iterator[Any]:
        """Every sample once; the last batch may be smaller.

        Args:
            batch_size: samples in a batch.
            seed: seed of the order; ``None`` keeps the order of the data set.
            epoch: which of the seed's orders.

        Raises:
            ConfigError: if ``batch_size`` is below 1.
        """
        order = np.arange(len(self))
        if seed is not None:
            order = EpochOrder(len(self), Key.from_seed(seed).fold("samples")).of_epoch(epoch)
        cuts = range(0, len(self), checked_batch_size(batch_size))
        return (self.collate([self[i] for i in order[cut : cut + batch_size].tolist()]) for cut in cuts)

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")
        return int(index) % len(self)


class Dataset(SampleDataset):
    """A text as windows ``(x, y)``: tokens, and for each the next token.

    Windows are adjacent; tokens at the end that do not fill a window are dropped.

    Attributes:
        tokens: ``(N,)`` token ids.
        tokenizer: the tokenizer that made them.
        block_size: T, tokens in a window.

    Examples:
        >>> from minitrain.data import ByteTokenizer
        >>> dataset = Dataset.from_tokens(ByteTokenizer().encode("abcdefg"), ByteTokenizer(), block_size=3)
        >>> x, y = dataset[1]
        >>> len(dataset), x.tolist(), y.tolist()
        (2, [100, 101, 102], [101, 102, 103])
    """

    def __init__(self, file: str | os.PathLike[str] | None, tokenizer: Tokenizer, *, block_size: int = 64) -> None:
        """Read the text.

        Args:
            file: a text file, a folder of them, or ``None`` for Python's language reference; see `read_corpus`.
            tokenizer: turns it into ids.
            block_size: T, tokens in a window.

        Raises:
            DataError: if there is no text, or too little for a window.
            ConfigError: if ``block_size`` is below 1.
        """
        self._fill(tokenizer.encode(read_corpus(file)), tokenizer, block_size)

    @classmethod
    def from_tokens(cls, tokens: TokenArray, tokenizer: Tokenizer, *, block_size: int = 64) -> Dataset:
        """The data set of existing ids, such as those of `TokenShards`.

        Raises:
            DataError: if there are too few for a window.
            ConfigError: if ``block_size`` is below 1.
        """
        dataset = cls.__new__(cls)
        dataset._fill(tokens, tokenizer, block_size)
        return dataset

    def _fill(self, tokens: TokenArray, tokenizer: Tokenizer, block_size: int) -> None:
        TokenLoader(tokens, block_size, 1, 0)  # raises an error if the text is too short
        self.tokens, self.tokenizer, self.block_size = tokens, tokenizer, block_size

    def __len__(self) -> int:
        return (self.tokens.size - 1) // self.block_size

    def __getitem__(self, index: int) -> Batch:
        """Window ``index``: x and y, int32 ``(T,)`` each.

        Raises:
            TokenError: if a token id does not fit into 32 bits.
        """
        start = self._checked(index) * self.block_size
        window = as_int32(np.array(self.tokens[start : start + self.block_size + 1]))  # a copy
        return Batch(window[:-1], window[1:])

    def loader(self, batch_size: int, *, seed: int = 0) -> TokenLoader:
        """Endless training batches; see `TokenLoader`, whose windows are shifted in every epoch.

        Raises:
            ConfigError: if ``batch_size`` is below 1.
        """
        return TokenLoader(self.tokens, self.block_size, batch_size, seed)

    def batches(
        self, batch_size: int, block_size: int | None = None, seed: int | None = None, *, epoch: int = 0
    ) -> Iterator[Batch]:
        """Every window once, as batches ``(x, y)`` of ``(B, T)`` each; the last one may be smaller.

        Args:
            batch_size: windows in a batch.
            block_size: T, by default that of the data set.
            seed: seed of the order; ``None`` keeps the order of the text.
            epoch: which of the seed's orders.

        Raises:
            ConfigError: if a size is below 1.
            DataError: if the text is too short for ``block_size``.
        """
        if block_size is not None and block_size != self.block_size:
            other = Dataset.from_tokens(self.tokens, self.tokenizer, block_size=block_size)
            return other.batches(batch_size, seed=seed, epoch=epoch)
        return super().batches(batch_size, seed=seed, epoch=epoch)

    def split(self, val_fraction: float = 0.1) -> tuple[Dataset, Dataset]:
        """Two data sets: the beginning of the text for training, its end for validation.

        Raises:
            ConfigError: if ``val_fraction`` is not between 0 and 1.
            DataError: if a part is too short for a window.
        """
        if not 0 < val_fraction < 1:
            raise ConfigError(f"val_fraction must be between 0 and 1, both excluded, not {val_fraction}")
        border = int(self.tokens.size * (1 - val_fraction))
        parts = self.tokens[:border], self.tokens[border:]
        train, val = (Dataset.from_tokens(part, self.tokenizer, block_size=self.block_size) for part in parts)
        return train, val


class ArrayDataset(SampleDataset):
    """Arrays with a common first axis, such as images and their classes.

    Attributes:
        arrays: the arrays by name; batches and samples are named tuples with these names.

    Examples:
        >>> dataset = ArrayDataset(inputs=np.zeros((10, 8, 8)), targets=np.arange(10))
        >>> len(dataset), next(dataset.batches(4)).inputs.shape, int(dataset[3].targets)
        (10, (4, 8, 8), 3)
    """

    def __init__(self, **arrays: NDArray[Any]) -> None:
        """Combine ``arrays``, by convention ``inputs=`` ``(N, ...)`` and ``targets=`` ``(N, ...)``.

        Raises:
            DataError: if there are none, or they have different lengths.
        """
        for name, array in arrays.items():
            check_plain(f"ArrayDataset: {name}", array)
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        if not arrays or any(array.ndim == 0 for array in self.arrays.values()):
            raise DataError("give arrays of samples by name, such as inputs=images, targets=classes")
        lengths = {name: array.shape[0] for name, array in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            described = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"the arrays have different numbers of samples, {described}: their first axes must match")
        names = list(self.arrays)
        self._sample: Callable[..., Any] = Batch if names == ["inputs", "targets"] else namedtuple("Arrays", names)

    def __len__(self) -> int:
        return int(next(iter(self.arrays.values())).shape[0])

    def __getitem__(self, index: int) -> Any:
        """Sample ``index``: a named tuple of rows."""
        row = self._checked(index)
        return self._sample(*(array[row] for array in self.arrays.values()))


class PairDataset(SampleDataset):
    """Pairs of token sequences for an encoder and a decoder, such as translations.

    Batches are `Pair`s of padded arrays. For batches of similar lengths give ``lengths`` to a `BucketLoader`.

    Attributes:
        sources: one ``(S,)`` array of ids for each sample.
        targets: one ``(T,)`` array of ids for each, without start and end token.
        lengths: ``(N,)`` int64, the length of the encoder's or the decoder's input, whichever is longer.
        pad_id: id of padding.
        bos_id: start token, the decoder's first input.
        eos_id: end token, the decoder's last target.
    """

    def __init__(
        self,
        sources: Sequence[NDArray[Any] | Sequence[int]],
        targets: Sequence[NDArray[Any] | Sequence[int]],
        *,
        pad_id: int = 0,
        bos_id: int = 1,
        eos_id: int = 2,
    ) -> None:
        """Pair ``sources`` with ``targets``.

        Raises:
            DataError: if their numbers differ.
            TokenError: if ids are not integers, do not fit into 32 bits, or are those of padding, beginning or end.
        """
        if len(sources) != len(targets):
            raise DataError(
                f"there are {len(sources)} sources and {len(targets)} targets: each source needs one target, in order"
            )
        self.sources = [as_int32(ids, f"source {i}") for i, ids in enumerate(sources)]
        self.targets = [as_int32(ids, f"target {i}") for i, ids in enumerate(targets)]
        self.pad_id, self.bos_id, self.eos_id = pad_id, bos_id, eos_id
        self._refuse_special()
        pairs = zip(self.sources, self.targets, strict=True)
        self.lengths = np.array([max(len(source), len(target) + 1) for source, target in pairs], dtype=np.int64)

    @classmethod
    def from_texts(cls, src_texts: Sequence[str], tgt_texts: Sequence[str], tokenizer: BPETokenizer) -> PairDataset:
        """The pairs of two lists of texts, with the special tokens of ``tokenizer``.

        Raises:
            DataError: if their numbers differ, or the tokenizer lacks a special token.
        """
        pad_id, bos_id, eos_id = (tokenizer.special_id(name) for name in (PAD, BOS, EOS))
        sources, targets = ([tokenizer.encode(text) for text in texts] for texts in (src_texts, tgt_texts))
        return cls(sources, targets, pad_id=pad_id, bos_id=bos_id, eos_id=eos_id)

    def _refuse_special(self) -> None:
        """Refuse ids of padding in any sequence, and of beginning and end in targets, where they are put anyway."""
        special = {"pad_id": self.pad_id, "bos_id": self.bos_id, "eos_id": self.eos_id}
        for what, sequences, names in (("source", self.sources, ["pad_id"]), ("target", self.targets, [*special])):
            for i, ids in enumerate(sequences):
                for name in names:
                    if (ids == special[name]).any():
                        raise TokenError(
                            f"{what} {i} has the id {special[name]}, which is {name}: leave out padding, beginning and "
                            "end, which are added here; a tokenizer that has no special tokens (CharTokenizer, "
                            f"ByteTokenizer) needs its ids moved up, ids + {max(special.values()) + 1}"
                        )

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        """Pair ``index``."""
        row = self._checked(index)
        return Pair(self.sources[row], self.targets[row])

    def collate(self, samples: Sequence[Pair]) -> Pair:
        """Pad ``samples`` and add start and end tokens; see `pair_collate`."""
        return pair_collate(samples, pad_id=self.pad_id, bos_id=self.bos_id, eos_id=self.eos_id)
