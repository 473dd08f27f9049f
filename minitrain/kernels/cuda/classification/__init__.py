"""CUDA kernels of classification."""
