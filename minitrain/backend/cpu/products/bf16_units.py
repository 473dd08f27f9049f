"""Which units of the processor multiply bfloat16 numbers: found once, from its features and one setting.

AMX multiplies tiles; Linux gives them only to a process that asks. AVX512-BF16 adds products of pairs. It is used on
AMD's processors: on Intel's it has half the speed of float32. Without either, rounded operands are multiplied as
float32 (``kernels.cpu.common.half``). ``MINITRAIN_BFLOAT16=amx|avx512|float32`` picks one. ``amx-model`` and
``avx512-model`` compute the same bytes as the units on any processor, a thousand times more slowly. A run that is
continued prefers the unit it began with.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from typing import NamedTuple

import llvmlite.binding

from ....errors import ConfigError

UNITS = ("amx", "avx512", "float32", "amx-model", "avx512-model")
_NAMES = {
    "amx": "AMX tiles",
    "avx512": "AVX512-BF16",
    "float32": "float32 arithmetic on rounded operands",
    "amx-model": "a model of AMX tiles",
    "avx512-model": "a model of AVX512-BF16",
}
NO_AMX = "this processor has no AMX tiles for bfloat16"
# Linux's arch_prctl: a process asks for the state that AMX's tiles need, for all of its threads.
_ARCH_PRCTL, _REQUEST_STATE, _TILES = 158, 0x1023, 18


class Unit(NamedTuple):
    """The unit that multiplies bfloat16 numbers: a name of ``UNITS``, and why it is that one."""

    name: str
    reason: str

    @property
    def description(self) -> str:
        """One line for people."""
        return f"{_NAMES[self.name]} ({self.reason})"

    @property
    def takes_halves(self) -> bool:
        """Whether its product takes operands of 16 bits; otherwise the kernels widen them to float32."""
        return self.name != "float32"

    @property
    def is_model(self) -> bool:
        """Whether it is computed in plain loops."""
        return self.name.endswith("-model")

    @property
    def computes(self) -> str:
        """The name of the unit that has these bytes: a model's is that of what it models."""
        return self.name.removesuffix("-model")


_preferred = ""
_linked = False


def prefer(name: str) -> str:
    """Use the unit ``name`` if it is here, also where another is faster.

    Returns:
        Why it cannot be chosen any more, for people; empty if it is tried.
    """
    global _preferred
    if wanted := os.environ.get("MINITRAIN_BFLOAT16", ""):
        return f"MINITRAIN_BFLOAT16={wanted} is set"
    if _linked:
        return "the kernels of this process were linked before"
    _preferred = name
    bf16_unit.cache_clear()
    return ""


def link_unit() -> Unit:
    """The unit to link kernels with. From now on it stays the same."""
    global _linked
    _linked = True
    return bf16_unit()


@functools.cache
def bf16_unit() -> Unit:
    """The unit that kernels use for bfloat16 products.

    Raises:
        ConfigError: if ``MINITRAIN_BFLOAT16`` names no unit, or one that this machine does not have.
    """
    wanted = os.environ.get("MINITRAIN_BFLOAT16", "")
    if not wanted:
        return _fastest()
    if wanted not in UNITS:
        raise ConfigError(f"MINITRAIN_BFLOAT16={wanted!r}: choose one of {', '.join(UNITS)}")
    if (missing := _missing(wanted)) is not None:
        raise ConfigError(f"MINITRAIN_BFLOAT16={wanted!r}: {missing}; unset it to let minitrain choose")
    return Unit(wanted, "set by MINITRAIN_BFLOAT16")


def _fastest() -> Unit:
    if _preferred in UNITS and _missing(_preferred) is None:
        return Unit(_preferred, "the run began with it")
    if (no_amx := _missing("amx")) is None:
        return Unit("amx", "found on this processor")
    if _missing("avx512") is None and str(llvmlite.binding.get_host_cpu_name()).startswith("znver"):
        return Unit("avx512", "found on this processor")
    return Unit("float32", "this processor has no fast units for bfloat16" if no_amx == NO_AMX else no_amx)


def _missing(unit: str) -> str | None:
    """Why this machine does not have ``unit``, or ``None`` if it has."""
    from .._simd import FEATURES

    if unit == "amx" and not {"amx-tile", "amx-bf16"} <= FEATURES:
        return NO_AMX
    if unit == "amx":
        return request_tiles()
    if unit == "avx512" and not {"avx512bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl"} <= FEATURES:
        return "this processor has no AVX512-BF16"
    return None


def request_tiles() -> str | None:
    """Ask the operating system for AMX's tiles, for all threads of this process.

    Returns:
        ``None`` if they may be used, otherwise why not. Linux refuses, for instance, while a thread has an alternate
        signal stack that is too small to save the tiles on (errno 28).
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"{platform.system()} on {platform.machine()} is not known to give AMX tiles to programs"
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(_ARCH_PRCTL, ctypes.c_long(_REQUEST_STATE), ctypes.c_long(_TILES)) == 0:
        return None
    number = ctypes.get_errno()
    return f"the operating system refused AMX tiles (errno {number}: {os.strerror(number)})"
