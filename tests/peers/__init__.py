"""PyTorch as an oracle: run by `make test-peers` only; without PyTorch every test here is skipped."""

import pytest

torch = pytest.importorskip("torch")

# The arrays here are tiny: one thread serves them better than several that wait for each other.
torch.set_num_threads(1)
