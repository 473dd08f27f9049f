"""Benchmarks: programs run in turn, each in its own process, compared by the median of pairwise ratios."""
