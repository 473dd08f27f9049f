"""Benchmarks of the repository, on the parts of ``minitrain.benchmark``: programs in turn, each in its own process."""
