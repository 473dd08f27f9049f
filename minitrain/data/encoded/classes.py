"""Names of classes and their numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, did_you_mean, printable
from ..records.base import Records
from ..records.broken import BrokenItems

MAX_CLASSES = 1 << 20


class Classes:
    """The classes of a data set; the number of a class is its place in ``names``.

    Attributes:
        names: the names in order.

    Examples:
        >>> classes = Classes(["cat", "dog"])
        >>> classes.number("dog"), len(classes), list(classes)
        (1, 2, ['cat', 'dog'])
    """

    def __init__(self, names: Iterable[Any]) -> None:
        """Take ``names`` in their order; numbers become texts.

        Raises:
            DataError: if there are none, or one appears twice.
        """
        self.names = tuple(str(name) for name in names)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        if not self.names or len(self._numbers) < len(self.names):
            raise DataError("classes need at least one name, and each name once")

    @classmethod
    def of(cls, records: Records, label: str = "label") -> Classes:
        """The classes in the column ``label`` of training data, sorted; names that are all numbers by their size.

        Raises:
            DataError: if there is no such column, or no record.
        """
        check_column(records, label)
        found: set[str] = set()
        for index in range(len(records)):
            found.add(str(records.without_image(index)[label]))
            if len(found) > MAX_CLASSES:
                raise DataError(f"column {label!r} has more than {MAX_CLASSES:,} classes: it does not hold labels")
        numbers = all(name.isdecimal() and len(name) < 10 for name in found)
        return cls(sorted(found, key=int) if numbers else sorted(found))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def number(self, name: Any) -> int:
        """The number of class ``name``.

        Raises:
            DataError: if it is not one of these classes.
        """
        try:
            return self._numbers[str(name)]
        except KeyError:
            known = ", ".join(map(repr, self.names[:10])) + (", …" if len(self) > 10 else "")
            raise DataError(
                f"the class {printable(str(name))!r:.80} is not one of the {len(self)} classes of the training data: "
                f"{did_you_mean(str(name), self.names[:1000])}they are {printable(known)}"
            ) from None

    def numbers_in(
        self, records: Records, label: str, broken: BrokenItems
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The records of known classes, and their class numbers; the others are refused or left out by ``broken``.

        Returns:
            ``(N,)`` int64 indices of records and ``(N,)`` int32 classes.

        Raises:
            DataError: if there is no such column, or an unknown class is refused.
        """
        check_column(records, label)
        kept, numbers = array("q"), array("i")
        for index in range(len(records)):
            name = records.without_image(index)[label]
            if str(name) in self._numbers:
                kept.append(index)
                numbers.append(self._numbers[str(name)])
            elif broken.policy == "refuse":
                try:
                    self.number(name)
                except DataError as error:
                    raise DataError(
                        f'{printable(records.place(index))}: {error}; correct it, or pass broken="skip"'
                    ) from None
            else:
                broken.add(records.place(index), None, f"the class {str(name)!r:.80} is unknown")
        return np.array(kept, dtype=np.int64), np.array(numbers, dtype=np.int32)


def check_column(records: Records, name: str) -> None:
    """Refuse records without a column.

    Raises:
        DataError: if they lack it.
    """
    if name not in records.columns:
        raise DataError(
            f"the records have no column {name!r}: {did_you_mean(name, records.columns)}their columns are "
            f"{', '.join(map(repr, records.columns))}"
        )
