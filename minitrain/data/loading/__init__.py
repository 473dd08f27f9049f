"""Batches by step number: their order, splitting them, and prefetching."""
