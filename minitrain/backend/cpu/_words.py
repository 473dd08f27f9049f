"""The parts of the thread pool: words of memory that threads share, a clock, and the system's futex.

A word is a 64-bit integer; ``(row, word)`` is the one at the address ``row``, a multiple of 8, plus ``word`` times 8.
Each function is one or a few machine instructions in numba's compiled code. All threads see the accesses to shared
words (``load``, ``exchange``, ``add``, ``compare_exchange``) in one and the same order. ``read`` and ``write`` are for
words that no other thread uses at the time.

A futex is a word that a thread can sleep on. ``futex_wait`` sleeps if the word is still what the thread has seen. The
kernel checks that in one step with falling asleep, so a change just before is not missed. It compares the lower 32
bits. ``futex_wake`` wakes the sleeper.
"""

from __future__ import annotations

import functools
import inspect
import platform
import sys
from collections.abc import Callable
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import alloca_once, get_or_insert_function
from numba.extending import intrinsic

FUTEX_CALL = {"x86_64": 202, "aarch64": 98}.get(platform.machine()) if sys.platform == "linux" else None
"""The number of the system call ``futex``; ``None`` where there is none."""

FUTEX_WAIT, FUTEX_WAKE = 128, 129  # of this process alone (FUTEX_PRIVATE_FLAG)
CLOCK_MONOTONIC = RUSAGE_THREAD = 1
WORD, INT, POINTER, NOTHING = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer(), ir.VoidType()

_Emit = Callable[..., Any]


def _instruction(returns: Any) -> Callable[[_Emit], Any]:
    """Make a function of compiled code from ``emit(builder, *values)``, which writes its LLVM instructions."""

    def declare(emit: _Emit) -> Any:
        signature = returns(*[types.int64] * (len(inspect.signature(emit).parameters) - 1))

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return emit(builder, *values)

        @functools.wraps(emit)  # with its parameters: numba reads their number from the signature
        def typed(typing: Any, *arguments: Any) -> Any:
            return signature, codegen

        return intrinsic(typed)

    return declare


def _at(builder: Any, row: Any, word: Any) -> Any:
    """A pointer to a word."""
    return builder.gep(builder.inttoptr(row, WORD.as_pointer()), [word])


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, POINTER)


@_instruction(types.int64)
def load(builder: Any, row: Any, word: Any) -> Any:
    """The shared word."""
    return builder.load_atomic(_at(builder, row, word), "seq_cst", 8)


@_instruction(types.int64)
def exchange(builder: Any, row: Any, word: Any, value: Any) -> Any:
    """Store ``value`` into the shared word and return what was there."""
    return builder.atomic_rmw("xchg", _at(builder, row, word), value, "seq_cst")


@_instruction(types.int64)
def add(builder: Any, row: Any, word: Any, value: Any) -> Any:
    """Add ``value`` to the shared word and return what was there."""
    return builder.atomic_rmw("add", _at(builder, row, word), value, "seq_cst")


@_instruction(types.boolean)
def compare_exchange(builder: Any, row: Any, word: Any, expected: Any, value: Any) -> Any:
    """Store ``value`` if the shared word is ``expected``; whether it was. Of several threads that try, one succeeds."""
    answer = builder.cmpxchg(_at(builder, row, word), expected, value, "seq_cst", "seq_cst")
    return builder.extract_value(answer, 1)


@_instruction(types.int64)
def read(builder: Any, row: Any, word: Any) -> Any:
    """The word."""
    return builder.load(_at(builder, row, word))


@_instruction(types.void)
def write(builder: Any, row: Any, word: Any, value: Any) -> Any:
    """Store ``value`` into the word."""
    builder.store(value, _at(builder, row, word))


@_instruction(types.int64)
def scratch(builder: Any, count: Any) -> Any:
    """The address of ``count`` words that last until the calling function returns."""
    return builder.ptrtoint(builder.alloca(WORD, count), WORD)


@_instruction(types.int64)
def shared_block(builder: Any) -> Any:
    """The address that the symbol ``BLOCK`` stands for."""
    block = builder.module.globals.get(BLOCK) or ir.GlobalVariable(builder.module, ir.IntType(8), BLOCK)
    return builder.ptrtoint(block, WORD)


BLOCK = "minitrain_team"


@_instruction(types.void)
def call(builder: Any, function: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Call the C function at the address ``function`` with four pointers."""
    kind = ir.FunctionType(NOTHING, [POINTER] * 4)
    builder.call(builder.inttoptr(function, kind.as_pointer()), [_pointer(builder, x) for x in (a, b, c, d)])


@_instruction(types.int64)
def clock(builder: Any) -> Any:
    """Nanoseconds of a clock that never goes back."""
    time = alloca_once(builder, ir.ArrayType(WORD, 2))
    get = get_or_insert_function(builder.module, ir.FunctionType(INT, [INT, POINTER]), "clock_gettime")
    builder.call(get, [INT(CLOCK_MONOTONIC), builder.bitcast(time, POINTER)])
    seconds, rest = (builder.load(builder.gep(time, [INT(0), INT(i)])) for i in (0, 1))
    return builder.add(builder.mul(seconds, WORD(1_000_000_000)), rest)


@_instruction(types.void)
def thread_usage(builder: Any, row: Any) -> Any:
    """Let the system write this thread's ``struct rusage``, 18 words (``man 2 getrusage``)."""
    kind = ir.FunctionType(INT, [INT, POINTER])
    get = get_or_insert_function(builder.module, kind, "getrusage")
    builder.call(get, [INT(RUSAGE_THREAD), _pointer(builder, row)])


@_instruction(types.void)
def pause(builder: Any) -> Any:
    """Tell the core that this thread only waits: 10 to 150 cycles on x86, few elsewhere."""
    name, arguments = {
        "x86_64": ("llvm.x86.sse2.pause", []),
        "aarch64": ("llvm.aarch64.hint", [INT(1)]),
    }[platform.machine()]
    kind = ir.FunctionType(NOTHING, [argument.type for argument in arguments])
    builder.call(get_or_insert_function(builder.module, kind, name), arguments)


@_instruction(types.void)
def futex_wait(builder: Any, row: Any, word: Any, seen: Any) -> Any:
    """Sleep until woken, if the word is ``seen``. A signal may end the sleep, too."""
    _futex(builder, _at(builder, row, word), FUTEX_WAIT, seen)


@_instruction(types.void)
def futex_wake(builder: Any, row: Any, word: Any) -> Any:
    """Wake the thread that sleeps on the word, if there is one."""
    _futex(builder, _at(builder, row, word), FUTEX_WAKE, WORD(1))


def _futex(builder: Any, pointer: Any, operation: int, value: Any) -> None:
    system_call = get_or_insert_function(builder.module, ir.FunctionType(WORD, [WORD], var_arg=True), "syscall")
    address = builder.ptrtoint(pointer, WORD)
    builder.call(system_call, [WORD(FUTEX_CALL), address, WORD(operation), value, WORD(0)])
