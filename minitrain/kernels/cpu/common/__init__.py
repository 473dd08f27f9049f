"""Functions that kernels of all families share: mathematics that vectorises, products, random numbers, targets."""
