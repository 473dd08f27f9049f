"""The threads that run the parts of a kernel, and how they wait for one another.

A team is one block of memory and its members: member 0 is the *caller*, the thread that launches a kernel; the others
are workers. Each member has a row of words. A launch goes like this:

1. The caller takes ``BUSY``. If another launch holds it, in another thread or around this one, the caller runs all
   parts itself, which gives the same bytes. Otherwise it writes down the job, and posts it to every worker that gets a
   share of the parts: the ``WORD`` of the worker's row becomes the launch's number.
2. The caller runs the first share, each worker its own. They always get the same parts of a loop, which may still be in
   their cache. The ``WORD`` of the caller's row counts the shares of workers that are not finished.
3. The caller waits for 0, and gives ``BUSY`` back.

Both wait in ``wait_for_change``. A thread reads the word again and again (it *spins*), which notices a change at once
but keeps a core busy; after a while it sleeps until it is woken, which takes 50 microseconds or more. Before it sleeps
it says so in ``ASLEEP``, and then looks at the word once more. Whoever changes the word reads ``ASLEEP`` afterwards.
All threads see these accesses in one order, so one of the two notices the other.

How long a thread spins depends on whether its core is free. The system counts how often it has taken the core away
from a thread that still wanted it. A thread that has spun for ``SHORTEST`` looks at this count. It then spins for at
most 1/128 of the CPU time that it has used since the count last rose, and never longer than ``LONGEST``. Where other
programs want the cores, a thread is interrupted every few milliseconds and sleeps after 20 microseconds. On a quiet
machine it spins for milliseconds, which bridges all gaps between two kernels.
"""

from __future__ import annotations

from ._words import (
    add,
    call,
    clock,
    compare_exchange,
    exchange,
    futex_wait,
    futex_wake,
    load,
    pause,
    read,
    scratch,
    shared_block,
    thread_usage,
    write,
)
from .compiler import device

ROW = 128
"""Bytes of a row: two cache lines, since processors load them in pairs."""
MEMBERS, SHORTEST, LONGEST = 0, 1, 2
"""In the first row of the block: the number of members, and the least and the most nanoseconds to spin."""
BUSY, LAUNCH, JOB, SHARES = 0, 1, 2, 3
"""In the second row: whether the team has a job, the number of the launch, the job's address, its number of shares."""
WORD, ASLEEP, INTERRUPTIONS, USED_BEFORE = range(4)
"""In a member's row: the word that it waits for, whether it sleeps, how often it was interrupted, and its CPU time,
in microseconds, when that was noticed last. The caller's row is the third, followed by those of the workers."""
FUNCTION, ARGS, DIMS, STEPS, DATA, N_DIMS, N_ARGS = range(7)
"""In a job: what numba passes to its own ``numba_parallel_for``."""

POLLS = 8  # looks at the word between two looks at the clock: 0.2 to 0.4 microseconds
PATIENCE = 7  # a spin takes at most 2**-PATIENCE of the CPU time without an interruption


@device
def used_without_interruption(row: int) -> int:
    """Nanoseconds of CPU time that this thread has used since the system last took its core away."""
    usage = scratch(18)
    thread_usage(usage)
    used = 1_000_000 * (read(usage, 0) + read(usage, 2)) + read(usage, 1) + read(usage, 3)  # user and system time
    interruptions = read(usage, 17)
    if interruptions != read(row, INTERRUPTIONS):
        write(row, INTERRUPTIONS, interruptions)
        write(row, USED_BEFORE, used)
    since: int = 1000 * (used - read(row, USED_BEFORE))
    return since


@device
def wait_for_change(settings: int, row: int, seen: int) -> None:
    """Return when the member's word is no longer ``seen``."""
    if load(row, WORD) != seen:
        return
    began, limit, final = clock(), load(settings, SHORTEST), False
    while True:
        for _ in range(POLLS):
            if load(row, WORD) != seen:
                return
            pause()
        if clock() - began >= limit:
            if final:
                break
            final = True
            limit = used_without_interruption(row) >> PATIENCE
            if limit > load(settings, LONGEST):
                limit = load(settings, LONGEST)
    exchange(row, ASLEEP, 1)
    while load(row, WORD) == seen:
        futex_wait(row, WORD, seen)
    exchange(row, ASLEEP, 0)


@device
def run_share(job: int, share: int, shares: int) -> None:
    """Run parts ``share``, ``share + shares``, ... of a job; the first of its ``DIMS`` is the number of all parts.

    numba's loop bodies take pointers to their arguments, and the number of parts from there on. The pointers of
    part p are p ``STEPS`` further than those of part 0.
    """
    args, dims, steps = read(job, ARGS), read(job, DIMS), read(job, STEPS)
    n_args, n_dims = read(job, N_ARGS), read(job, N_DIMS)
    pointers, sizes = scratch(n_args), scratch(n_dims + 1)
    write(sizes, 0, 1)
    for i in range(1, n_dims + 1):
        write(sizes, i, read(dims, i))
    part = share
    while part < read(dims, 0):
        for i in range(n_args):
            first = read(args, i)
            write(pointers, i, first + part * read(steps, i) if first else 0)
        call(read(job, FUNCTION), pointers, sizes, steps, read(job, DATA))
        part += shares


def parallel_for(
    function: int, args: int, dims: int, steps: int, data: int, n_dims: int, n_args: int, threads: int
) -> None:
    """The caller's side: run all parts of a job."""
    job = scratch(7)
    write(job, FUNCTION, function)
    write(job, ARGS, args)
    write(job, DIMS, dims)
    write(job, STEPS, steps)
    write(job, DATA, data)
    write(job, N_DIMS, n_dims)
    write(job, N_ARGS, n_args)
    settings = shared_block()
    team = settings + ROW
    caller = team + ROW
    shares = load(settings, MEMBERS)
    if read(dims, 0) < shares:
        shares = read(dims, 0)
    if shares < 2 or not compare_exchange(team, BUSY, 0, 1):
        shares = 1
    if shares > 1:
        launch = read(team, LAUNCH) + 1
        write(team, LAUNCH, launch)
        write(team, JOB, job)
        write(team, SHARES, shares)
        exchange(caller, WORD, shares - 1)
        for member in range(1, shares):
            row = caller + member * ROW
            exchange(row, WORD, launch)
            if load(row, ASLEEP):
                futex_wake(row, WORD)
    run_share(job, 0, shares)
    if shares > 1:
        left = load(caller, WORD)
        while left:
            wait_for_change(settings, caller, left)
            left = load(caller, WORD)
        exchange(team, BUSY, 0)


def work(row: int) -> int:
    """The life of the worker whose row is at that address."""
    settings = shared_block()
    team = settings + ROW
    caller = team + ROW
    member = (row - caller) // ROW
    seen = 0  # the first launch may come before this thread
    while load(settings, MEMBERS):  # always: it ends with the process
        wait_for_change(settings, row, seen)
        seen = load(row, WORD)
        run_share(read(team, JOB), member, read(team, SHARES))
        if add(caller, WORD, -1) == 1 and load(caller, ASLEEP):
            futex_wake(caller, WORD)
    return 0
