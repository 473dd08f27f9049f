"""The result of an evaluation by several measures, as a table next to what needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .task import Outcome


@dataclass(frozen=True)
class Measured(Outcome):
    """The result of an evaluation by some measures.

    Attributes:
        counted: what was measured on, such as ``"1,000 pairs"``.
        values: the measures of the model by name; a name that ends in ``" %"`` is shown as a percentage.
        others: the same measures, or some of them, of what needs no model, by its name.
        notes: lines below the table, such as the signature of a score.
    """

    counted: str
    values: Mapping[str, float]
    others: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """A few lines for the screen."""
        names = list(dict.fromkeys(["loss", *self.values, *(name for row in self.others.values() for name in row)]))
        model = f"this model ({self.averaged_by} weights)" if self.averaged_by else "this model"
        rows = {model: {"loss": self.loss, **self.values}, **self.others}
        width = max(len(f"on {self.counted}"), *(len(name) + 2 for name in rows)) + 2
        lines = [f"{f'validation, {self.counted}':<{width}}" + "".join(f"{name:>{_width(name)}}" for name in names)]
        for row, values in rows.items():
            cells = [f"{_shown(name, values.get(name)):>{_width(name)}}" for name in names]
            lines.append(f"{f'  {row}':<{width}}" + "".join(cells))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _width(name: str) -> int:
    return max(10, len(name) + 2)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f}" if name.endswith(" %") else f"{value:.4f}"
