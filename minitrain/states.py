"""The values that a saved state may hold, declared by its owner, and the one function that checks it.

An owner (an optimizer, a schedule, a loader, a callback) says what it writes::

    declared = {"step": Whole(), "lr": Number(low=0), "moments": Arrays(own)}
    state = checked("optimizer", state, declared)

and takes a state up only after `checked` has returned. A checkpoint from someone else can hold anything with correct
sums, so types, ranges, shapes and names are all checked, before anything is changed.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .backend.arrays import Array, is_array
from .errors import CheckpointError

LARGEST_COUNT = 2**53
"""More than anything that is counted one by one; a float holds every whole number up to it."""


class Kind(Protocol):
    """The kind of a value."""

    def problem(self, value: Any) -> str | None:
        """The expected kind, if the value is of another; completes "it must be"."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int = 0
    high: int = LARGEST_COUNT

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        good = type(value) is int and self.low <= value <= self.high
        return None if good else f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``, or with ``finite=False`` also infinite or NaN."""

    low: float = -math.inf
    high: float = math.inf
    finite: bool = True

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        if type(value) is int and abs(value) <= 2**1000:  # JSON has integers of any length, floats have not
            value = float(value)
        if type(value) is float and (not math.isfinite(value)) and not self.finite:
            return None
        if type(value) is float and math.isfinite(value) and self.low <= value <= self.high:
            return None
        borders = [f"at least {self.low:g}"] * (self.low > -math.inf) + [f"at most {self.high:g}"] * (
            self.high < math.inf
        )
        return " ".join(["a finite number" if self.finite else "a number", " and ".join(borders)]).strip()


@dataclass(frozen=True)
class Text:
    """Text of at most ``longest`` characters."""

    longest: int = 10_000

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        good = isinstance(value, str) and len(value) <= self.longest
        return None if good else f"text of at most {self.longest} characters"


@dataclass(frozen=True)
class Line:
    """Text of at most ``longest`` characters that can all be printed on one line."""

    longest: int

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        good = isinstance(value, str) and len(value) <= self.longest and value.isprintable()
        return None if good else f"text of at most {self.longest} printable characters"


@dataclass(frozen=True)
class OneOf:
    """One of some names."""

    names: Collection[str]

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        good = isinstance(value, str) and value in self.names
        return None if good else f"one of {', '.join(self.names)}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        return None if isinstance(value, bool) else "true or false"


@dataclass(frozen=True)
class Maybe:
    """``None``, or what ``kind`` says."""

    kind: Kind

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        found = None if value is None else self.kind.problem(value)
        return found and f"null or {found}"


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, of ``length`` if that is given."""

    kind: Kind
    length: int | None = None

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        if not isinstance(value, list | tuple) or self.length not in (None, len(value)):
            return "a list" if self.length is None else f"a list of {self.length}"
        found = next(filter(None, map(self.kind.problem, value)), None)
        return found and f"a list of entries that are each {found}"


@dataclass(frozen=True)
class TableOf:
    """Values of one kind by names that are not known ahead."""

    kind: Kind

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            return "a group of named entries"
        found = next(filter(None, map(self.kind.problem, value.values())), None)
        return found and f"a group of entries that are each {found}"


@dataclass(frozen=True)
class Group:
    """Exactly these names, each with its kind; what is in ``optional`` may be missing."""

    entries: Mapping[str, Kind]
    optional: Collection[str] = ()

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        try:
            checked("inner", value, self.entries, optional=self.optional)
        except CheckpointError as error:
            return f"what its owner writes ({error})"
        return None


class OneArray:
    """An array with the shape of ``own`` and numbers of its sort.

    Args:
        own: an array, or its shape, whose axes may be ``None`` for any length.
        sort: of its dtype, as NumPy's ``dtype.kind``: ``"f"`` for floats, ``"iu"`` for whole numbers; by default that
            of ``own``.
    """

    def __init__(self, own: Array | tuple[int | None, ...], *, sort: str | None = None) -> None:
        self.shape: tuple[int | None, ...] = own if isinstance(own, tuple) else tuple(own.shape)
        self.sort = sort or ("f" if isinstance(own, tuple) else own.dtype.kind)

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        if is_array(value) and value.dtype.kind in self.sort and len(value.shape) == len(self.shape):
            fits = [wanted in (None, found) for wanted, found in zip(self.shape, value.shape, strict=True)]
            if all(fits):
                return None
        sort = "whole numbers" if "i" in self.sort or "u" in self.sort else "floats"
        return f"an array of {sort} of shape {str(self.shape).replace('None', 'any')}"


def Arrays(own: Mapping[str, Array]) -> Group:
    """Arrays of the names and shapes of ``own``."""
    return Group({name: OneArray(array) for name, array in own.items()})


class Anything:
    """Any value: for what nobody takes up."""

    def problem(self, value: Any) -> str | None:
        """See `Kind`."""
        return None


def checked(owner: str, state: Any, declared: Mapping[str, Kind], *, optional: Collection[str] = ()) -> dict[str, Any]:
    """A state, after every entry was compared with what its owner declares.

    Args:
        owner: whose state it is, in a word for messages, such as "optimizer".
        state: the state, from a checkpoint.
        declared: the kind of each entry by its name.
        optional: names that may be missing, such as those that an older version did not write.

    Returns:
        The same entries.

    Raises:
        CheckpointError: naming the first entry that is missing, unknown, or of another type, range or shape.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"the {owner} state is {_shown(state)}, not a group of named entries")
    for name in sorted(map(str, declared.keys() ^ state.keys())):
        if name not in optional:
            raise CheckpointError(f"the {owner} state is of another {owner}: only one of the two has {name:.100}")
    for name, value in state.items():
        kind = declared[name]
        if isinstance(kind, Group):  # so that the message names the entry inside
            checked(owner, value, kind.entries, optional=kind.optional)
        elif problem := kind.problem(value):
            raise CheckpointError(f"the {owner} state is damaged: {name:.100} is {_shown(value)}, it must be {problem}")
    return dict(state)


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxlong, _BRIEF.maxother = 2, 60, 40, 60


def _shown(value: Any) -> str:
    if is_array(value):
        return f"an array of {value.dtype} of shape {tuple(value.shape)}"
    try:
        return _BRIEF.repr(value)
    except ValueError:  # Python refuses to write out integers of thousands of digits
        return "a number of thousands of digits"
