"""CUDA kernels of the optimizers' update rules."""
