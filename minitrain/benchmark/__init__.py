"""Measuring a training step: programs in turn, each in its own process, compared by the median of pairwise ratios.

``minitrain bench`` is the command; the benchmarks of the repository stand on the same parts.
"""
