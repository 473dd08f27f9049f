"""PyTorch as an oracle: run by `make test-peers` only; without PyTorch the tests are skipped."""
