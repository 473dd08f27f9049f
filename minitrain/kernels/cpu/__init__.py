"""numba twins of the operations for float32, in files and functions of the same names."""

from ...backend.cpu import numba_settings  # noqa: F401  # before a kernel's file imports numba
