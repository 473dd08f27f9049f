"""Items of a data set that cannot be used: refused, or counted, named and skipped."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ...errors import ConfigError, DataError, printable

POLICIES = ("refuse", "skip")
NAMED = 20
"""So many broken items are kept by name; the others are counted only."""


class BrokenItem(NamedTuple):
    """An item that cannot be used.

    Attributes:
        file: the file it is in.
        line: its line, counted from 1; its number for files without lines; ``None`` if it is the whole file.
        reason: its fault.
    """

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return printable(f"{place}: {self.reason}")


class BrokenRecordError(Exception):
    """Raised while a record is read; the reader adds the place and applies its policy. Its text is the reason."""


class BrokenItems:
    """The broken items of a data set, under one policy.

    Attributes:
        policy: ``"refuse"`` raises an error at the first broken item, ``"skip"`` leaves broken items out.
        max_share: with ``"skip"``, the largest share of items that may be broken.
        count: number of broken items.
        reasons: how many there are of each kind.
        named: the first 20 of them.
    """

    def __init__(self, policy: str = "refuse", max_share: float = 0.01) -> None:
        """Set the policy.

        Raises:
            ConfigError: if the policy is unknown, or the share is not from 0 to 1.
        """
        if policy not in POLICIES:
            raise ConfigError(f"broken={policy!r} must be one of {', '.join(map(repr, POLICIES))}")
        if not 0 <= max_share <= 1:
            raise ConfigError(f"max_broken={max_share} must be a share from 0 to 1")
        self.policy, self.max_share = policy, max_share
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.named: list[BrokenItem] = []

    def add(self, file: object, line: int | None, reason: str) -> None:
        """Count a broken item.

        Raises:
            DataError: if the policy is ``"refuse"``.
        """
        item = BrokenItem(str(file), line, reason)
        if self.policy == "refuse":
            raise DataError(f'{item}; correct it, or pass broken="skip" to leave such items out')
        self.count += 1
        self.reasons[reason] += 1
        if len(self.named) < NAMED:
            self.named.append(item)

    def check_share(self, items: int) -> None:
        """Compare their number with the limit, when all ``items`` have been looked at.

        Raises:
            DataError: if too many are broken.
        """
        if self.count > self.max_share * items:
            raise DataError(
                f"{self.count} of {items} items are broken, more than max_broken={self.max_share:g} allows; "
                f"{self.describe()}. Correct them, or raise max_broken"
            )

    def describe(self) -> str:
        """The broken items in a sentence: how many of each kind, and the first one."""
        if not self.count:
            return "no item is broken"
        kinds = ", ".join(f"{count} × {printable(reason)}" for reason, count in self.reasons.most_common(5))
        return f"{self.count} broken: {kinds}; the first is {self.named[0]}"
