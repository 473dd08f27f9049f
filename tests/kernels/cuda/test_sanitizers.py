"""The kernels in builds with ThreadSanitizer and AddressSanitizer: what no order of threads shows."""

from __future__ import annotations

import shutil
import sys

import pytest

from tests.helpers.cuda import WITH_CUDA, needs_compiler
from tests.helpers.cuda.sanitized import report_of

pytestmark = [
    *needs_compiler,
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("setarch") is None, reason="no setarch, which fixes addresses"
    ),
]


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
@pytest.mark.parametrize("name", [case.name for case in WITH_CUDA])
def test_kernels_have_nothing_to_report(name, sanitizer):
    assert report_of(sanitizer, name) == ""


@pytest.mark.parametrize(
    ("sanitizer", "mistake", "words"),
    [("thread", "lost_update", "data race test.cu:1"), ("address", "past_the_end", "heap-buffer-overflow test.cu:1")],
)
def test_a_mistake_is_reported_with_its_line(sanitizer, mistake, words):
    assert words in report_of(sanitizer, mistake)
