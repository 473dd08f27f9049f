"""Reading the fields of a JSON body: each with its type and range, and none that is not known."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import did_you_mean
from .answers import ApiError


class Fields:
    """The fields of a request. A field that is null counts as left out.

    Each method returns one, or its default. `finish` refuses those that nobody has asked for.

    Args:
        body: the parsed JSON.

    Raises:
        ApiError: 400 if it is no object.
    """

    def __init__(self, body: Any) -> None:
        if not isinstance(body, Mapping):
            raise ApiError(400, f"the body is {_kind(body)}, expected an object")
        self._body, self._known = body, set[str]()

    def get(self, name: str) -> Any:
        """The field, unchecked; ``None`` if it is left out."""
        self._known.add(name)
        return self._body.get(name)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A finite number from ``least`` to ``most``."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        if not least <= value <= most:  # NaN neither
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """An integer from ``least`` to ``most``."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"an integer from {least} to {most}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return default if value is None else value

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def texts(self, name: str, most: int, longest: int) -> tuple[str, ...]:
        """A string, or a list of at most so many, each of 1 to ``longest`` characters."""
        value = self.get(name)
        if value is None:
            return ()
        texts = [value] if isinstance(value, str) else value
        good = isinstance(texts, list) and len(texts) <= most
        if not good or not all(isinstance(text, str) and 1 <= len(text) <= longest for text in texts):
            raise self.wrong(name, f"a string or a list of at most {most}, each of 1 to {longest} characters")
        return tuple(texts)

    def token_ids(self, name: str, vocabulary: int, most: int) -> list[int]:
        """A list of at most so many token ids; empty if it is left out."""
        value = self.get(name)
        if value is None:
            return []
        if not is_token_ids(value, vocabulary) or len(value) > most:
            raise self.wrong(name, f"a list of at most {most} token ids below {vocabulary}")
        return list(value)

    def biases(self, name: str, vocabulary: int) -> dict[int, float] | None:
        """Token ids, which JSON writes as strings, and a number from -100 to 100 for each. -100 bans a token."""
        value = self.get(name)
        if not value:
            return None
        expected = f"an object of at most 1024 token ids below {vocabulary}, each with a number from -100 to 100"
        if not isinstance(value, Mapping) or len(value) > 1024:
            raise self.wrong(name, expected)
        biases = {}
        for token, bias in value.items():
            number = isinstance(bias, int | float) and not isinstance(bias, bool) and -100 <= bias <= 100
            if not (number and token.isascii() and token.isdecimal() and len(token) < 10 and int(token) < vocabulary):
                raise self.wrong(name, expected)
            biases[int(token)] = -math.inf if bias == -100 else float(bias)
        return biases

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse a field of the API that this server does not have, unless it asks for nothing."""
        value = self.get(name)
        if value is not None and value not in allowed:
            raise ApiError(400, f"{name} is not supported by this server: leave it out", param=name, code="unsupported")

    def finish(self, ignored: Collection[str] = ()) -> None:
        """Refuse fields that are unknown.

        Args:
            ignored: those that change nothing here.
        """
        known = self._known | set(ignored)
        for name in self._body:
            if name not in known:
                hint = did_you_mean(name[:100], known)
                raise ApiError(400, f"there is no field {name[:100]!r}: {hint}leave it out", param=name[:100])

    def wrong(self, name: str, expected: str) -> ApiError:
        """The error for a field."""
        value = self._body[name]
        shown = f"{value!r:.60}" if isinstance(value, str | int | float) else _kind(value)
        return ApiError(400, f"{name} is {shown}, expected {expected}", param=name)


def is_token_ids(value: Any, vocabulary: int) -> bool:
    """Whether it is a list of token ids."""
    return isinstance(value, list) and all(type(token) is int and 0 <= token < vocabulary for token in value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
