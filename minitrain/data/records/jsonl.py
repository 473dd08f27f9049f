"""JSON lines: one object on each line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...files import parse_json
from .broken import BrokenRecordError
from .line_records import LineRecords

MAX_CONTAINERS = 10_000
"""Lists and objects in one record."""


class JsonLines(LineRecords):
    """Records of a file with a JSON object on each line; without ``columns``, those of the first record are kept."""

    def parse(self, text: str) -> Mapping[str, Any]:
        """The object on a line."""
        return json_object(text)


def json_object(text: str) -> dict[str, Any]:
    """The object that a line of JSON says.

    Raises:
        BrokenRecordError: if it is not JSON, or no object.
    """
    try:
        found = parse_json(text.encode(), containers=MAX_CONTAINERS)
    except ValueError as error:
        raise BrokenRecordError("not JSON") from error
    if not isinstance(found, dict):
        raise BrokenRecordError("not a JSON object")
    return found
