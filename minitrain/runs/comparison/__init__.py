"""Runs next to each other: their results, settings and curves, and whether they differ by more than noise."""
