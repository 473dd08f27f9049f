"""CUDA kernels of attention and positions."""
