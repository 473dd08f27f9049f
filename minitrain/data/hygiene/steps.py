"""Work on each record by itself, in one process or several: the results come in the order of the records."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import ConfigError, WorkerError
from .duplicates import NearDuplicates, digest_of
from .filters import Filter, Finding
from .personal import PersonalData
from .sources import Item, text_of

BROKEN = "broken"
_AT_ONCE, _LETTERS_AT_ONCE = 256, 1 << 20
"""Records and characters that a process gets at once."""


class Outcome(NamedTuple):
    """The result for a record.

    Attributes:
        item: the record, masked.
        masked: how many pieces of personal data of each kind were in it.
        findings: reasons with their findings; the last one may be why it goes.
        digest: of its text, see `digest_of`; empty if exact duplicates may stay.
        signature: of its text; empty if near duplicates may stay.
    """

    item: Item
    masked: Counter[str]
    findings: Sequence[tuple[str, Finding]]
    digest: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True)
class Steps:
    """The steps, a function of a record.

    Attributes:
        filters: which texts should go.
        mark: reasons for which they stay all the same.
        personal: what is masked.
        exact: whether exact duplicates go.
        near: how near duplicates are found.
        columns: whose texts count and are masked; ``None`` takes all.
    """

    filters: Sequence[Filter] = ()
    mark: Sequence[str] = ()
    personal: PersonalData | None = None
    exact: bool = True
    near: NearDuplicates | None = None
    columns: Sequence[str] | None = None

    def __call__(self, item: Item) -> Outcome:
        """Filter a record, and mask it in any case. Duplicates are compared by what is left of a text."""
        row, masked, raw = item.row, Counter[str](), item.raw
        if row is None:
            if self.personal:
                raw, masked = self.personal.mask(raw)
            return Outcome(item._replace(raw=raw), masked, [(BROKEN, Finding(item.reason))])
        findings = []
        if self.filters:
            text = text_of(row, self.columns)
            for one in self.filters:
                if (finding := one(text)) is not None:
                    findings.append((one.reason, finding))
                    if one.reason not in self.mark:
                        break
        if self.personal:
            ours = {name: value for name, value in row.items() if self.columns is None or name in self.columns}
            cleaned, masked = self.personal.mask_all(ours)
            row = row | cleaned
        text = text_of(row, self.columns)
        return Outcome(
            item._replace(row=row, raw=""),
            masked,
            findings,
            digest_of(text) if self.exact else b"",
            self.near.signature(text) if self.near else b"",
        )

    def all(self, items: Iterable[Item], workers: int = 0) -> Iterator[Outcome]:
        """The outcomes of ``items``, in their order.

        Args:
            items: the records.
            workers: processes; 0 works in this one.

        Raises:
            ConfigError: if a filter cannot be given to another process.
            WorkerError: if a process ended early.
        """
        if workers == 0:
            yield from map(self, items)
            return
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _take_up, (self,))
        waiting: deque[Future[list[Outcome]]] = deque()
        try:
            for chunk in _chunks(items):
                waiting.append(pool.submit(_work_on, chunk))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a process that cleans data ended early: its memory may be used up; take fewer workers"
            ) from error
        except Exception as error:
            if "pickl" not in f"{type(error).__name__} {error}".lower():
                raise
            raise ConfigError(
                f"a filter cannot be given to another process ({error}): define it in a module, or take workers=0"
            ) from error
        finally:
            with contextlib.suppress(Exception):
                pool.shutdown(cancel_futures=True)


_steps: Steps | None = None  # of a worker process


def _take_up(steps: Steps) -> None:
    global _steps
    _steps = steps


def _work_on(items: list[Item]) -> list[Outcome]:
    assert _steps is not None
    return [_steps(item) for item in items]


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    letters = 0
    for item in items:
        chunk.append(item)
        letters += _size(item)
        if len(chunk) >= _AT_ONCE or letters >= _LETTERS_AT_ONCE:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def _size(item: Item) -> int:
    return len(item.raw) if item.raw or item.row is None else len(text_of(item.row))
