"""Common parts of CUDA twins: launch sizes, memory for gradients."""
