"""Starts the team of ``team.py``: its memory, its compiled code and its threads, and what a fork leaves of them.

The workers are threads of the system, not of Python: they run compiled code alone. They start when a kernel first has
parts for them, and end with the process. Their memory and code are never freed, so they may run until then. A forked
child has none of its parent's threads; it starts a team of its own when it needs one.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import llvmlite.binding
from numba.core import types

from ...errors import ConfigError
from . import _words, team
from .c_function import compiled_address
from .parallel_loops import PARALLEL_FOR

MOST_MEMBERS = 512
FIRST_ROW = 2  # of member 0, the caller
SIZE = (FIRST_ROW + MOST_MEMBERS) * team.ROW  # bytes of the block
SHORTEST, LONGEST = 20_000, 10_000_000  # nanoseconds of spinning

_block = 0  # its address, once there is one
_members = 1
_hiring = threading.Lock()


@functools.cache
def has_team() -> bool:
    """Whether kernels run on a team of minitrain's own, not on numba's pool. It needs the futex of Linux.

    Raises:
        ConfigError: if ``MINITRAIN_THREAD_POOL`` is neither ``own`` nor ``numba``.
    """
    chosen = os.environ.get("MINITRAIN_THREAD_POOL") or "own"
    if chosen not in ("own", "numba"):
        raise ConfigError(f"MINITRAIN_THREAD_POOL={chosen!r}: give own or numba")
    return _words.FUTEX_CALL is not None and chosen == "own"


def spin_times() -> tuple[int, int]:
    """The least and the most nanoseconds that a thread spins before it sleeps; ``MINITRAIN_SPIN`` makes them equal.

    Raises:
        ConfigError: if ``MINITRAIN_SPIN`` is not a whole number of microseconds.
    """
    text = os.environ.get("MINITRAIN_SPIN", "")
    if not text:
        return SHORTEST, LONGEST
    if not (text.isascii() and text.isdecimal()) or int(text) > 10**9:
        raise ConfigError(f"MINITRAIN_SPIN={text!r}: give whole microseconds, such as 100; 0 sleeps at once")
    return 1000 * int(text), 1000 * int(text)


def prepare() -> None:
    """Tell LLVM what runs the parallel loops of kernels: before one is loaded, but after numba's pool has started.

    Raises:
        ConfigError: if an environment variable has an impossible value.
    """
    global _block
    if not has_team():
        numbas = llvmlite.binding.address_of_symbol("numba_parallel_for")
        llvmlite.binding.add_symbol(PARALLEL_FOR, numbas)
    elif not _block:
        times = spin_times()
        _block = _memory()
        _set_up(times)
        llvmlite.binding.add_symbol(_words.BLOCK, _block)
        llvmlite.binding.add_symbol(PARALLEL_FOR, _parallel_for())


def _memory() -> int:
    """The address of a new block. It is the system's and not an object of Python's, which would not outlive Python."""
    allocate = ctypes.CDLL(None).aligned_alloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
    address = allocate(team.ROW, SIZE)
    if not address:
        raise MemoryError(f"no {SIZE} bytes for the threads of kernels")
    return int(address)


def _set_up(times: tuple[int, int]) -> None:
    ctypes.memset(_block, 0, SIZE)
    word(team.MEMBERS).value = 1
    word(team.SHORTEST).value, word(team.LONGEST).value = times


def word(index: int, row: int = 0) -> ctypes.c_int64:
    """A word of the block; its ``value`` can be read and set."""
    return ctypes.c_int64.from_address(_block + row * team.ROW + 8 * index)


@functools.cache
def _parallel_for() -> int:
    return compiled_address(team.parallel_for, types.void(*[types.int64] * 8))


@functools.cache
def _work() -> ctypes.c_void_p:
    return ctypes.c_void_p(compiled_address(team.work, types.int64(types.int64)))


def start_workers(members: int) -> None:
    """Have at least so many members, the caller among them; fewer if the system allows no more threads."""
    global _members
    if members <= _members:
        return
    with _hiring:
        system = ctypes.CDLL(None)
        while _members < min(members, MOST_MEMBERS):
            row = FIRST_ROW + _members
            thread = ctypes.c_ulong()
            address = ctypes.c_void_p(_block + row * team.ROW)
            if system.pthread_create(ctypes.byref(thread), None, _work(), address):
                break
            system.pthread_detach(thread)
            _members += 1
            word(team.MEMBERS).value = _members


def size() -> int:
    """Members so far, the caller among them."""
    return _members


def _start_anew() -> None:
    """In a forked child: no worker is there, and a launch that another thread had begun will never end."""
    global _members, _hiring
    _members, _hiring = 1, threading.Lock()
    if _block:
        _set_up(spin_times())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
