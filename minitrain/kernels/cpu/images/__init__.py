"""CPU kernels of operations on images."""
