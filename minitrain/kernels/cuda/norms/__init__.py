"""CUDA kernels of norms."""
