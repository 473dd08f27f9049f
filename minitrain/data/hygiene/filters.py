"""Filters: functions of a text that say why the text should go, or ``None``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from ...errors import ConfigError


class Finding(NamedTuple):
    """Why a text should go.

    Attributes:
        rule: which of the filter's rules it breaks, for the table of counts.
        detail: numbers and names for ``removed.jsonl``. Never a piece of the text: it may be private.
    """

    rule: str
    detail: Mapping[str, Any] = {}  # never changed


class Filter(Protocol):
    """A filter of texts. With several processes it must be importable, and everything in it picklable."""

    @property
    def reason(self) -> str:
        """The name of its findings in reports."""

    def __call__(self, text: str) -> Finding | None:
        """Why ``text`` should go; ``None`` if it may stay."""


def needed(package: str, module: str, what: str) -> ModuleType:
    """A module of the extra ``minitrain[clean]``.

    Args:
        package: the package to install.
        module: the module to import.
        what: what it is needed for.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{what} needs {package}: pip install 'minitrain[clean]', or leave this step out") from error
