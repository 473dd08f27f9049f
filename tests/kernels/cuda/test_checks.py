"""The checks that mistakes in kernels are held against (``make cuda-mutants``), on the kernels as they are."""

from __future__ import annotations

import pytest

from tests.helpers.cuda import emulated, needs_compiler
from tests.helpers.cuda.checks import PATHS, checks_of

pytestmark = needs_compiler


@pytest.mark.parametrize("path", PATHS)
def test_kernels_pass_their_checks(path):
    with emulated():
        for check in checks_of(path):
            check.run()
