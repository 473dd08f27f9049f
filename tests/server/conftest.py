"""A server for the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.helpers.serving.servers import Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as one:
        yield one
