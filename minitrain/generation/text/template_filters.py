"""The filters that a chat template may use, and the methods of strings: each counts what it makes.

Jinja's other filters are left out. Some can widen a text to any length, others draw random numbers, and no chat needs
them.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from ...errors import DataError
from .template_budget import Budget, current

_WIDEST_INDENT = 16
_KEPT = (
    "capitalize count d default dictsort first float int items last length list lower map max min reject rejectattr "
    "reverse select selectattr sort title trim unique upper"
)


def chat_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """The filters for chats.

    Args:
        filters: all that Jinja has, by their names.
    """
    return {name: _counting(filters[name]) for name in _KEPT.split()} | {
        "string": text_of,
        "safe": text_of,
        "join": _join,
        "replace": _replace,
        "indent": _indent,
        "tojson": _tojson,
    }


def count_method(budget: Budget, owner: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Count what a method of a string is about to make; returns its arguments."""
    if name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        budget.write(len(owner) + owner.count(args[0]) * len(args[1]))
    elif name == "join" and args:
        args = ([text_of(value) for value in budget.rounds(args[0], len(owner))],)
    elif name in ("split", "rsplit", "splitlines"):
        separator = args[0] if args and isinstance(args[0], str) and args[0] else None
        budget.step(len(owner.split(separator)) if separator else len(owner) // 2)
        budget.write(len(owner))
    return args


def _counting(function: Any) -> Any:
    """A filter of Jinja's that counts its input and its output."""
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        budget, value = current.get(), args[skip] if len(args) > skip else None
        budget.step(1 + (len(value) if isinstance(value, list | tuple | dict) else 0))
        if isinstance(value, str):
            budget.step(len(value) if function.__name__ in ("do_list", "sync_do_list") else 0)
            budget.write(2 * len(value))  # some letters become two in upper case
        result = function(*args, **kwargs)
        return result

    return counted


def text_of(value: Any) -> str:
    """A value as text, counted."""
    budget = current.get()
    if isinstance(value, str):
        budget.write(len(value))
        return value
    if type(value).__name__.endswith("Undefined"):
        return str(value)
    budget.weigh(value, characters=6)  # a character may be written as \u001f
    return str(value)


def _join(values: Any, d: str = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise DataError("the chat template joins by an attribute, which is not allowed here: use map(attribute=…)")
    d = text_of(d)
    return d.join([text_of(value) for value in current.get().rounds(values, len(d))])


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    value, old, new = text_of(value), text_of(old), text_of(new)
    current.get().write(value.count(old) * len(new))
    return str(value).replace(old, new, -1 if count is None else count)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = text_of(value)
    space = " " * width if isinstance(width, int) and width <= _WIDEST_INDENT else width
    if not isinstance(space, str) or len(space) > _WIDEST_INDENT:
        raise DataError(f"the chat template indents by {width!r}; at most {_WIDEST_INDENT} are allowed")
    current.get().write((text.count("\n") + 1) * len(space))
    lines = (text + "\n").splitlines()
    begun = [line if not (line or blank) else space + line for line in lines[1:]]
    return "\n".join([(space if first else "") + lines[0], *begun])


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """As in transformers: without the escapes for HTML that Jinja's own filter makes."""
    if indent is not None and (not isinstance(indent, int) or indent > _WIDEST_INDENT):
        raise DataError(f"the chat template indents JSON by {indent!r}; at most {_WIDEST_INDENT} are allowed")
    if separators is not None and sum(map(len, separators)) > _WIDEST_INDENT:
        raise DataError("the chat template writes JSON with separators that are too long")
    current.get().weigh(value, characters=12)
    text = json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators and tuple(separators),
        sort_keys=sort_keys,
    )
    return text_of(text)
