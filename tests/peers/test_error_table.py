"""The float32 errors of the kernels are at most twice PyTorch's, or there is a reason."""

from __future__ import annotations

import pytest

from benchmarks import error_table as table


@pytest.mark.parametrize("trial", table.trials(), ids=lambda trial: f"{trial.operation}, {trial.hurt}")
def test_errors_are_at_most_twice_those_of_pytorch(trial):
    for name, ours, theirs in table.errors(trial):
        reason = (trial.operation, trial.hurt, name) in table.REASONS
        assert reason or ours <= max(table.TWICE * theirs, table.FLOOR), (
            f"{name}: {ours:.1f} ulps, PyTorch {theirs:.1f}"
        )
