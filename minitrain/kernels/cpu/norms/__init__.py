"""CPU kernels of norms."""
