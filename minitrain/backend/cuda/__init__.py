"""The base of the CUDA kernels: compiling and launching them, matrix products by cuBLASLt, devices, streams, graphs.

Nothing here imports CuPy by itself: the arrays bring it. **No code here has met a GPU so far**; tests run it against
stand-ins for the device that enforce the documented rules.
"""

from .launch import Kernel, Launch, Source, record_launches, set_launcher, shared_memory_limit

__all__ = ["Kernel", "Launch", "Source", "record_launches", "set_launcher", "shared_memory_limit"]
