"""HTML as text that cannot be mistaken: whatever is not `Html` is escaped where it is put in."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import printable

BLUE, RED, GREEN, YELLOW, GREY = "#3b82c4", "#d1495b", "#3d9970", "#c98a1b", "#868e96"
"""Colors that can be read on white and on black."""
LINE = "1px solid rgba(128,128,128,.3)"
QUIET = "opacity:.7"
MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
ROOT = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;overflow-x:auto;margin:.3em 0"
LINES = f"white-space:pre-wrap;margin:.3em 0;padding:0;background:none;color:inherit;{MONO};font-size:.95em"
CELL = f"padding:.15em 1.2em .15em 0;border:none;border-bottom:{LINE};vertical-align:top;max-width:40em;"

T = TypeVar("T")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: object) -> Html:
    """An element of HTML or SVG.

    Args:
        name: of the element.
        children: the content. Anything that is not `Html` is escaped, and control characters in it are written out.
        attributes: by name, ``_`` for ``-``; one at the end is left out, as in ``class_``.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"' for key, value in attributes.items()
    )
    inside = "".join(child if isinstance(child, Html) else _escaped(child) for child in children)
    return Html(f"<{name}{written}>{inside}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    """Pieces of HTML one after the other."""
    return Html("".join(parts))


def block(*children: str) -> Html:
    """All that an object shows. The class lets a page adapt what its own style sheet does to everything else."""
    return element("div", *children, class_="minitrain", style=ROOT)


def quiet(text: str) -> Html:
    """Text that steps back."""
    return element("span", text, style=QUIET)


def code(text: str) -> Html:
    """Text in a font of equal widths."""
    return element("span", text, style=MONO)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> Html:
    """A table.

    Args:
        head: the titles of the columns; none for a table of names and values.
        rows: the cells.
        right: columns of numbers, which are aligned at their right ends.
    """

    def row(kind: str, cells: Sequence[str]) -> Html:
        styles = [CELL + f"text-align:{'right' if column in right else 'left'}" for column in range(len(cells))]
        styles[:-1] = [f"{style};white-space:nowrap" for style in styles[:-1]]
        styles = [f"{style};font-weight:{'bold' if kind == 'th' else 'inherit'}" for style in styles]
        made = (element(kind, cell, style=style) for cell, style in zip(cells, styles, strict=True))
        return element("tr", joined(made), style="background:transparent")

    body = joined(row("td", cells) for cells in rows)
    style = "border-collapse:collapse;border:none;margin:.3em 0;font-size:inherit;font-variant-numeric:tabular-nums"
    return element("table", row("th", head) if head else Html(), body, class_="minitrain", style=style)


def shown(build: Callable[[T], str]) -> Callable[[T], str | None]:
    """Make a method ``_repr_html_``: an object that cannot be shown never breaks a cell, its ``repr`` is shown then."""

    @functools.wraps(build)
    def show(self: T) -> str | None:
        try:
            return str(build(self))
        except Exception:  # whatever a half-built or foreign object raises
            return None

    return show


def _escaped(text: str) -> str:
    return html.escape(printable(text))
