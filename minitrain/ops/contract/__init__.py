"""Shared parts of all operations: checks, dispatch to kernels, destinations of gradients, and losses as sums."""
