"""numba twins for float32 NumPy arrays, one file per operation."""
