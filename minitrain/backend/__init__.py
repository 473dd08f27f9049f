"""Arrays and devices, precision, memory, threads, the BLAS, and compiling kernels.

It is the only package that imports CuPy or numba's machinery. Importing it loads NumPy alone.
"""

from .arrays import Array as Array
from .arrays import array_module as array_module
from .arrays import device_of as device_of
from .arrays import is_array as is_array
from .arrays import library_for as library_for
from .arrays import to_device as to_device
from .arrays import to_numpy as to_numpy
from .devices import gpu_status as gpu_status
from .info import processor_name as processor_name
from .kernels_mode import kernels_enabled as kernels_enabled
from .kernels_mode import kernels_mode as kernels_mode
from .kernels_mode import use_kernels as use_kernels
from .precision import PRECISIONS as PRECISIONS
from .precision import current_precision as current_precision
from .precision import operand as operand
from .precision import operand_like as operand_like
from .precision import use_precision as use_precision
from .threads import set_threads as set_threads
from .threads import thread_count as thread_count
