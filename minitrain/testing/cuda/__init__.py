"""CUDA without a GPU: an emulated device for arrays (``fake``), and kernels that run on the CPU.

See ``Emulator``: g++ compiles the kernels' own text against headers of ours. It tells nothing about speed, and it does
not test ``ptx.cuh``, the one file with inline PTX.
"""

from .build import build
from .emulator import Emulator, EmulatorError, Schedule, emulate

__all__ = ["Emulator", "EmulatorError", "Schedule", "build", "emulate"]
