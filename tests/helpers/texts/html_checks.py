"""What the HTML that an object shows must be: well formed, self-contained, and free of anything that runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

TAGS = {"b", "bdi", "details", "div", "pre", "span", "summary", "table", "td", "th", "tr"}
TAGS |= {"circle", "image", "path", "rect", "svg", "text"}
ATTRIBUTES = {"class", "style", "open", "role", "viewbox", "width", "height", "preserveaspectratio", "href"}
ATTRIBUTES |= {"cx", "cy", "d", "fill", "font-size", "opacity", "r", "stroke", "stroke-linejoin", "stroke-width"}
ATTRIBUTES |= {"text-anchor", "transform", "x", "y"}
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


class Page(HTMLParser):
    """The text of some HTML, which is checked on the way."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open, self.texts, self.tags = list[str](), list[str](), list[str]()
        self.feed(content)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, name
            assert name != "href" or PICTURE.fullmatch(value or ""), "only pictures that are part of the page"
            assert name != "style" or "url(" not in (value or "")
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, joined."""
        return "".join(self.texts)


def page_of(thing: Any) -> Page:
    """The checked HTML that an object shows in a notebook."""
    content = thing._repr_html_()
    assert isinstance(content, str)
    return Page(content)
