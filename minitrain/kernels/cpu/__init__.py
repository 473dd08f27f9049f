"""numba twins for float32 NumPy arrays, one file per operation."""

from ...backend import numba_settings  # noqa: F401  # before a file of this package imports numba
