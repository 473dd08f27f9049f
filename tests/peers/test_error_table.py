"""The errors of the kernels are at most twice PyTorch's, or there is a reason."""

from __future__ import annotations

import pytest

from benchmarks import error_table as table


@pytest.mark.parametrize("trial", table.trials(), ids=lambda t: f"{t.precision} {t.operation}, {t.hurt}")
def test_errors_are_at_most_twice_those_of_pytorch(trial):
    for name, ours, theirs in table.errors(trial):
        bad = table.unexplained(trial, name, ours, theirs)
        assert not bad, f"{name}: {ours:.2f} ulps, PyTorch {theirs:.2f}"
