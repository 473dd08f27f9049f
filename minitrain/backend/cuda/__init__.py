"""CUDA: compiling kernels, keeping what was compiled, and launching. Nothing here imports CuPy before it is needed."""

from .launch import Kernel, Launch, Source, record_launches, set_launcher, shared_memory_limit

__all__ = ["Kernel", "Launch", "Source", "record_launches", "set_launcher", "shared_memory_limit"]
