"""Runs CUDA kernels on the CPU, without a GPU, to test them: their own text, compiled by g++ against headers of ours.

See ``Emulator``, and `fake` for arrays, streams and graphs of a device that is not there. The emulator tells nothing about speed, and it does not test ``ptx.cuh``, the one file with inline PTX.
"""

from .build import build
from .emulator import Emulator, EmulatorError, Schedule, emulate

__all__ = ["Emulator", "EmulatorError", "Schedule", "build", "emulate"]
