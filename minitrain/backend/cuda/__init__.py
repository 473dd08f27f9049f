"""CUDA: compiling and launching kernels, products of matrices, devices and streams, memory, graphs.

Nothing here imports CuPy before it is needed. **No code here has met a GPU so far**; tests run it against stand-ins for
the device that enforce the documented rules.
"""

from .launch import Kernel, Launch, Source, record_launches, set_launcher, shared_memory_limit

__all__ = ["Kernel", "Launch", "Source", "record_launches", "set_launcher", "shared_memory_limit"]
