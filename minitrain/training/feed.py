"""Training data of any kind as a loader: batches by number, in as many parts as memory asks for.

The trainer reads batch number ``step`` and nothing else, so that a resumed run needs the step alone. The loaders of
``minitrain.data`` are made that way; lists of batches, and whatever can be iterated again and again, are wrapped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from os import PathLike
from typing import Any

from ..backend.arrays import is_array, is_cupy, to_device
from ..backend.cuda.staging import Staging
from ..data import ArrayDataset, Prefetch, PrefetchLoader, SampleDataset
from ..data.loading.batches import arrays_in, map_arrays
from ..data.loading.batches import split_batch as split_rows
from ..errors import ConfigError, DataError
from ..states import Anything, Kind, TableOf, Whole, checked


class BatchStream:
    """A loader over batches that are there already, or that an object makes when it is iterated.

    Args:
        batches: a list of batches, or an object whose ``iter()`` starts again each epoch, such as a data loader of
            another library. Its ``set_epoch(epoch)`` is called if it has one; its order must be a function of the
            epoch if resumed runs are to be exact. Or a stream that says where it is (``state_dict``,
            ``load_state_dict``): a resumed run then reads nothing twice.

    Raises:
        DataError: if it is empty, or an iterator that can be read once only.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._has_position = hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
        once = isinstance(batches, Iterator) and not self._has_position
        if once or not isinstance(batches, Iterable):
            raise DataError(
                f"the training data is a {type(batches).__name__}, which cannot be read once an epoch: give a list of "
                "batches, or an object whose iter() starts again"
            )
        self.batches = batches
        self.steps_per_epoch: int | None = len(batches) if isinstance(batches, Sized) else None
        if self.steps_per_epoch == 0:
            raise DataError("the training data has no batch")
        self._epoch, self._position = 0, 0
        self._iterator: Iterator[Any] | None = None
        self._kept: dict[int, Any] = {}  # batches that a trial has read, by step: training gets them again
        self._trial: dict[int, Any] | None = None

    @property
    def batch_size(self) -> int | None:
        """Samples in a batch, as the first of a list of batches has them; ``None`` if it cannot be looked at."""
        first = self.batches[0] if isinstance(self.batches, Sequence) else None
        return next((len(array) for array in arrays_in(first)), None)

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch number ``step`` in ``accumulation`` parts; a jump ahead reads what lies between."""
        batch = self._kept.pop(step) if step in self._kept else self._batch(step)
        if self._trial is not None:
            self._trial[step] = batch
        return split_batch(batch, accumulation)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """After the ``with`` block, the batches that were read in it come again."""
        state, self._trial = self.state_dict(), {}
        try:
            yield
        finally:
            trial, self._trial = self._trial, None
            if self._has_position:
                self.load_state_dict(state)
            elif not isinstance(self.batches, Sequence):
                self._kept |= trial

    def _batch(self, step: int) -> Any:
        if isinstance(self.batches, Sequence):
            return self.batches[step % len(self.batches)]
        epoch, position = divmod(step, self.steps_per_epoch) if self.steps_per_epoch else (self._epoch, step)
        if self._iterator is None or epoch != self._epoch or position < self._position:
            self._begin(epoch)
        assert self._iterator is not None
        for _ in islice(self._iterator, position - self._position):
            self._position += 1
        try:
            batch = next(self._iterator)
        except StopIteration:
            raise DataError(
                f"the training data ended at batch {position} of epoch {epoch}, where its len() is "
                f"{self.steps_per_epoch}"
                if self.steps_per_epoch
                else f"the training data ended after {position} batches: give it a len(), so that epochs can be counted"
            ) from None
        self._position += 1
        if self._position == self.steps_per_epoch:
            self._epoch, self._position, self._iterator = epoch + 1, 0, None
        return batch

    def _begin(self, epoch: int) -> None:
        self._kept.clear()
        self._set_epoch(epoch)
        self._iterator, self._position = iter(self.batches), 0

    def _set_epoch(self, epoch: int) -> None:
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)
        self._epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Where the batches are, if they say so themselves; nothing otherwise, since the step then says it all."""
        if not self._has_position:
            return {}
        inner = self.batches.state_dict()  # type: ignore[attr-defined]
        return {"epoch": self._epoch, "position": self._position, "batches": inner}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if not self._has_position or not state:
            return
        declared: dict[str, Kind] = {"epoch": Whole(), "position": Whole(), "batches": TableOf(Anything())}
        state = checked("training data", state, declared)
        epoch, position = state["epoch"], state["position"]
        self._set_epoch(epoch)  # which begins it
        self.batches.load_state_dict(state["batches"])  # type: ignore[attr-defined]
        self._iterator = iter(self.batches) if position else None  # at 0, the epoch has not begun
        self._position = position


class DatasetBatches:
    """A data set of samples as batches in its own order, from the beginning each time it is iterated.

    Args:
        dataset: the data set.
        batch_size: samples in a batch.
    """

    def __init__(self, dataset: SampleDataset, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self) -> Iterator[Any]:
        return self.dataset.batches(self.batch_size)


def as_loader(data: Any, batch_size: int) -> Any:
    """The loader of training data.

    Args:
        data: a loader, a data set of samples, a pair of arrays ``(inputs, targets)``, or batches.
        batch_size: samples in a batch, where ``data`` does not say.

    Raises:
        ConfigError: if there is no data.
        DataError: if it cannot be read.
    """
    if data is None:
        raise ConfigError("the trainer has no train_data: give a loader, a data set, or a list of batches")
    if isinstance(data, str | PathLike):
        raise DataError(
            f"the training data is a path, {str(data)!r}: read the file first, for a text with "
            "minitrain.data.Dataset(path, tokenizer, block_size=...)"
        )
    if isinstance(data, tuple) and len(data) == 2 and all(map(is_array, data)):
        data = ArrayDataset(inputs=data[0], targets=data[1])
    if isinstance(data, SampleDataset):
        return data.loader(batch_size)
    return data if hasattr(data, "micro_batches") else BatchStream(data)


def as_batches(data: Any, batch_size: int) -> Iterable[Any]:
    """The data of an evaluation: batches as they are, or those of a data set or of a pair of arrays."""
    if isinstance(data, tuple) and len(data) == 2 and all(map(is_array, data)):
        data = ArrayDataset(inputs=data[0], targets=data[1])
    return DatasetBatches(data, batch_size) if isinstance(data, SampleDataset) else data


def data_restored(loader: Any) -> AbstractContextManager[Any]:
    """Within the ``with`` block batches may be read; after it the loader stands where it stood."""
    return loader.restored() if isinstance(loader, BatchStream) else nullcontext()


def stop_reading_ahead(loader: Any) -> None:
    """End the thread that prepares the batches of ``loader``, if it has one; the next batch starts another."""
    source = loader.batches if isinstance(loader, BatchStream) else loader
    if isinstance(source, Prefetch | PrefetchLoader):
        source.close()


def split_batch(batch: Any, parts: int) -> list[tuple[int, Any]]:
    """A batch in ``parts`` along the first axis of its arrays, sizes differing by one at most.

    Args:
        batch: arrays in tuples, named tuples, lists and dictionaries, or one array; all of one length. Anything that
            is not an array goes into every part.
        parts: how many; 1 leaves the batch as it is.

    Returns:
        Pairs of the index of the first sample, and the part.

    Raises:
        DataError: if the arrays differ in length, or there are fewer samples than parts.
    """
    if parts == 1:
        return [(0, batch)]
    lengths = {len(array) for array in arrays_in(batch)}
    if len(lengths) != 1 or min(lengths) < parts:
        raise DataError(
            f"a batch whose arrays have {sorted(lengths)} samples cannot be split in {parts} parts: "
            "lower gradient_accumulation_steps, or make the batches larger"
        )
    return split_rows(batch, parts)


def batch_to(batch: Any, device: str) -> Any:
    """A batch with its arrays on a device."""
    return batch if device == "cpu" else map_arrays(batch, lambda x: to_device(x, device))


class Feed:
    """Brings batches to a device; to a GPU beside its computation, see `minitrain.backend.cuda.staging`.

    Args:
        device: the model's device.
    """

    def __init__(self, device: str) -> None:
        self._staging = None if device == "cpu" else Staging(device)

    def place(self, batches: list[Any]) -> list[Any]:
        """Batches with their arrays on the device. What is on a GPU already stays as it is."""
        if self._staging is None:
            return batches
        host = [x for batch in batches for x in arrays_in(batch) if not is_cupy(x)]
        placed = dict(zip(map(id, host), self._staging.place(host), strict=True))
        return [map_arrays(batch, lambda x: placed.get(id(x), x)) for batch in batches]
