"""Arrays and devices, memory, threads, the BLAS, and compiling kernels.

The only package that imports CuPy or numba's machinery. Importing it loads NumPy alone.
"""

from .arrays import Array, array_module, device_of, is_array, library_for, to_device, to_numpy
from .devices import gpu_status
from .kernels_mode import kernels_enabled, kernels_mode, use_kernels
from .threads import set_threads, thread_count

__all__ = [
    "Array",
    "array_module",
    "device_of",
    "gpu_status",
    "is_array",
    "kernels_enabled",
    "kernels_mode",
    "library_for",
    "set_threads",
    "thread_count",
    "to_device",
    "to_numpy",
    "use_kernels",
]
