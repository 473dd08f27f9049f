"""Text stays text, whatever it is."""

from __future__ import annotations

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.display.markup import Html, block, element, joined, shown, table
from minitrain.errors import printable
from tests.helpers.texts.html_checks import Page

HOSTILE = [
    "<script>alert(1)</script>",
    "</span><img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "\"' onload='x",
    "\u202eabc",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text())


@given(texts, texts)
def test_text_comes_out_as_it_was(text: str, other: str) -> None:
    page = Page(block(text, element("b", other, style=text)))
    assert page.text.replace("\r", "\n") == (printable(text) + printable(other)).replace("\r", "\n")
    assert page.tags == ["div", "b"]


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=4))
def test_a_table_has_a_cell_for_each_text(rows: list[list[str]]) -> None:
    page = Page(table(["a", "b"], rows, right=[1]))
    assert page.tags.count("td") == 2 * len(rows)
    assert page.tags.count("th") == 2


@given(st.lists(texts))
def test_html_is_put_in_as_it_is(parts: list[str]) -> None:
    made = [element("b", part) for part in parts]
    assert element("div", *made) == f"<div>{joined(made)}</div>"
    assert joined(made) == "".join(f"<b>{escape(printable(part))}</b>" for part in parts)
    assert isinstance(joined(made), Html)


@pytest.mark.parametrize("error", [RuntimeError, KeyError, RecursionError, MemoryError])
def test_what_cannot_be_shown_shows_nothing(error: type[Exception]) -> None:
    class Broken:
        @shown
        def _repr_html_(self) -> str:
            raise error("no picture of this")

    assert Broken()._repr_html_() is None
