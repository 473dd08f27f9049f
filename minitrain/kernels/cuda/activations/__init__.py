"""CUDA kernels of activations."""
