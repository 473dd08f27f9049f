"""An emulated GPU for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minitrain.backend import use_kernels
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device


@pytest.fixture
def gpu() -> Iterator[EmulatedDevice]:
    """An emulated GPU, and the readable code on both sides: then results are equal bit for bit."""
    with use_kernels("reference"), emulated_device() as device:
        yield device
