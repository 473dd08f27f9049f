"""Measures training steps: programs run in turn, each in its own process, and are compared by the median of ratios.

``minitrain bench`` is the command; the repository's own benchmarks use the same parts.
"""
