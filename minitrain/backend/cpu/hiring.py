"""Starts the team of ``team.py``: its memory, its compiled code, its threads, and what a fork leaves of them.

The workers are threads of the system, not of Python: they never run Python code. They start when a kernel first has
parts for them, and end with the process. Their memory and code are never freed, so nothing can go wrong at the end.
A forked child has none of its parent's threads. It starts a team of its own when it needs one.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import llvmlite.binding
from numba.core import sigutils
from numba.core.ccallback import CFunc

from ...errors import ConfigError
from . import _words, object_code, team
from .kernel_cache import KernelCache, is_on_disk, kernel_cache_dir
from .object_code import PARALLEL_FOR

MOST_MEMBERS = 512
FIRST_MEMBER = 2  # its row
SPIN = "MINITRAIN_SPIN"
SHORTEST, LONGEST = 20_000, 10_000_000  # nanoseconds

_block: mmap.mmap | None = None
_members = 1
_lock = threading.Lock()


@functools.cache
def has_team() -> bool:
    """Whether kernels run on a team of minitrain's own. It needs the futex of Linux."""
    chosen = os.environ.get("MINITRAIN_THREAD_POOL", "")
    if chosen not in ("", "own", "numba"):
        raise ConfigError(f"MINITRAIN_THREAD_POOL={chosen!r}: give 'own', 'numba' or nothing")
    return _words.FUTEX_CALL is not None and chosen != "numba"


def spin_times() -> tuple[int, int]:
    """The least and the most nanoseconds that a thread spins before it sleeps, from ``MINITRAIN_SPIN``."""
    text = os.environ.get(SPIN, "")
    if not text:
        return SHORTEST, LONGEST
    if not text.isdecimal():
        raise ConfigError(f"{SPIN}={text!r}: give microseconds that a waiting thread spins, a whole number")
    return 1000 * int(text), 1000 * int(text)


def _compile(function: Callable[..., Any], signature: str) -> int:
    """The address of the compiled C function."""
    kernel_cache_dir().mkdir(parents=True, exist_ok=True)
    compiled = CFunc(function, sigutils.normalize_signature(signature), {}, OPTIONS)
    compiled._cache = KernelCache(function)
    if not is_on_disk(compiled._cache, compiled._sig):
        with object_code.to_disk_only():
            compiled.compile()
    compiled.compile()  # finds it on disk
    _compiled.append(compiled)
    return int(compiled.address)


_compiled: list[CFunc] = []
OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy"}


def _address() -> int:
    assert _block is not None
    return ctypes.addressof(ctypes.c_char.from_buffer(_block))


def _set(word: int, value: int, row: int = 0) -> None:
    ctypes.c_int64.from_address(_address() + row * team.ROW + 8 * word).value = value


def prepare() -> None:
    """Let compiled kernels find ``PARALLEL_FOR``; before the first of them is loaded, and after numba's pool is."""
    global _block
    if not has_team():
        llvmlite.binding.add_symbol(PARALLEL_FOR, llvmlite.binding.address_of_symbol("numba_parallel_for"))
        return
    if _block is None:
        times = spin_times()
        _block = mmap.mmap(-1, (FIRST_MEMBER + MOST_MEMBERS) * team.ROW, flags=mmap.MAP_PRIVATE)  # zeros, from the beginning of a page
        llvmlite.binding.add_symbol(_words.BLOCK, _address())
        _set_up(times)
        llvmlite.binding.add_symbol(PARALLEL_FOR, _compile(team.parallel_for, f"void({', '.join(['i8'] * 8)})"))


def _set_up(times: tuple[int, int]) -> None:
    _set(team.MEMBERS, 1)
    _set(team.SHORTEST, times[0])
    _set(team.LONGEST, times[1])


@functools.cache
def _work() -> int:
    return _compile(team.work, "i8(i8)")


def hire(members: int) -> None:
    """Have at least so many members, the caller among them. If the system allows no more threads, there are fewer."""
    global _members
    if members <= _members:
        return
    with _lock:
        libc = ctypes.CDLL(None)
        while _members < min(members, MOST_MEMBERS):
            row = FIRST_MEMBER + _members
            _set(team.WORD, 1, row)  # odd: nothing is posted
            address = ctypes.c_void_p(_address() + row * team.ROW)
            thread = ctypes.c_ulong()
            if libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(_work()), address):
                break
            libc.pthread_detach(thread)
            _members += 1
            _set(team.MEMBERS, _members)


def size() -> int:
    """Members so far, the caller among them."""
    return _members


def _forget() -> None:
    """In a forked child: no worker is there, and a launch that another thread had begun will never end."""
    global _members, _lock
    _members, _lock = 1, threading.Lock()
    if _block is not None:
        ctypes.memset(_address(), 0, len(_block))
        _set_up(spin_times())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
