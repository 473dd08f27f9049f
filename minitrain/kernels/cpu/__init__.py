"""numba twins of the operations for float32, in files and functions of the same names."""
