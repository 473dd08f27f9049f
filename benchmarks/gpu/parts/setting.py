"""The machine of a report."""

from __future__ import annotations

from typing import Any

from .. import events
from ..place import Place
from ..setting import collect


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    events.setting(collect(place))
