"""Check functions that are not pairs over arrays: PyTorch, JAX, C, and kernels that write into arrays.

Each adapter makes a forward and a backward of the usual form; the check itself is the same. PyTorch and JAX are
imported by the adapters that need them, when they are called.

| what | how |
|---|---|
| a pair over NumPy or CuPy arrays, numba functions too | ``check_gradients((forward, backward), *inputs)`` |
| a PyTorch ``autograd.Function``, module or function | ``check_torch(function, *inputs)`` |
| a JAX function, with a ``custom_vjp`` or without | ``check_jax(function, *inputs)`` |
| functions that write into arrays: numba, C, CUDA | ``writing_pair(...)``, then ``check_gradients`` |
"""

from .c_functions import c_function as c_function
from .jax_functions import check_jax as check_jax
from .raw_kernels import raw_kernel as raw_kernel
from .torch_functions import check_torch as check_torch
from .writing import writing_pair as writing_pair
