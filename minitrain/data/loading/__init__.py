"""Batches by number: their order, their parts, and reading ahead."""
