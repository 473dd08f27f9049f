"""A server for the tests that leave it as it was; without starlette and uvicorn there are none."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

collect_ignore_glob = ["test_*.py" for package in ("starlette", "uvicorn") if importlib.util.find_spec(package) is None]


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    from tests.helpers.serving.servers import serving

    with serving() as one:
        yield one
