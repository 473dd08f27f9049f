"""How long a waiting thread spins: the code of ``team.py`` run in Python, on a machine whose clock the test turns."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minitrain.backend.cpu import team
from minitrain.backend.cpu.workers import LONGEST, SHORTEST

SETTINGS, ROW, SEEN = 0, 1, 5
LOOK = 100  # nanoseconds that a look at the word takes
SLACK = 3 * team.POLLS * LOOK


class Machine:
    """Words of memory, and a clock on which only looking at them takes time."""

    def __init__(self, used: int, interruptions: int = 0, changes_at: float = float("inf")) -> None:
        """``used``: CPU time of the thread before, in microseconds; the word changes at ``changes_at`` nanoseconds."""
        self.now, self.used, self.interruptions, self.changes_at = 0, used, interruptions, changes_at
        self.words = {(SETTINGS, team.SHORTEST): SHORTEST, (SETTINGS, team.LONGEST): LONGEST, (ROW, team.WORD): SEEN}
        self.slept_at: int | None = None
        self.scratches = 1

    def load(self, row: int, word: int) -> int:
        if (row, word) == (ROW, team.WORD):
            self.now += LOOK
            if self.now >= self.changes_at:
                self.words[row, word] = SEEN + 1
        return self.words.get((row, word), 0)

    def read(self, row: int, word: int) -> int:
        return self.words.get((row, word), 0)

    def write(self, row: int, word: int, value: int) -> None:
        self.words[row, word] = value

    exchange = write

    def scratch(self, count: int) -> int:
        self.scratches += 1
        return self.scratches

    def thread_usage(self, row: int) -> None:
        user, system = self.used + self.now // 1000, 3_000_007
        self.words.update({(row, 0): user // 10**6, (row, 1): user % 10**6, (row, 2): system // 10**6})
        self.words.update({(row, 3): system % 10**6, (row, 17): self.interruptions})

    def futex_wait(self, row: int, word: int, seen: int) -> None:
        assert self.words[row, word] == seen
        assert self.words[ROW, team.ASLEEP] == 1, "whoever changes the word would not wake it"
        self.slept_at = self.now
        self.words[row, word] = SEEN + 1

    def wait(self) -> int:
        """Let the thread wait; nanoseconds that it spun."""
        self.words[ROW, team.WORD], self.slept_at, began = SEEN, None, self.now
        names = ("load", "read", "write", "exchange", "scratch", "thread_usage", "futex_wait")
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(team, name, getattr(self, name))
            patch.setattr(team, "clock", lambda: self.now)
            patch.setattr(team, "pause", lambda: None)
            patch.setattr(team, "used_without_interruption", team.used_without_interruption.py_func)
            team.wait_for_change.py_func(SETTINGS, ROW, SEEN)
        assert self.words[ROW, team.WORD] != SEEN
        assert not self.words.get((ROW, team.ASLEEP))
        return self.now - began


@given(used=st.integers(0, 5 * 10**6))
@example(used=0)
@example(used=5 * 10**6)
def test_a_thread_spins_for_a_share_of_the_time_since_it_was_interrupted(used):
    machine = Machine(used=0, interruptions=1)
    machine.wait()  # notices the interruption
    machine.used += used
    limit = min(max(1000 * used / 2**team.PATIENCE, SHORTEST), LONGEST)
    spun = machine.wait()
    assert limit <= spun + SLACK
    assert spun <= limit * (1 + 2**-team.PATIENCE) + 2 * SHORTEST * 2**-team.PATIENCE + 2 * SLACK
    assert machine.slept_at is not None


@given(used=st.integers(0, 10**9), interruptions=st.integers(1, 10**6))
def test_after_an_interruption_it_spins_briefly_and_later_longer_again(used, interruptions):
    machine = Machine(used, interruptions)
    assert machine.wait() <= SHORTEST + SLACK
    machine.used += 10**7
    assert machine.wait() >= LONGEST
    machine.interruptions += 1
    assert machine.wait() <= SHORTEST + SLACK


@given(changes_at=st.integers(0, SHORTEST - SLACK))
def test_a_change_that_comes_soon_is_seen_at_once_and_costs_no_call_of_the_system(changes_at):
    machine = Machine(used=0, changes_at=changes_at)
    machine.thread_usage = lambda row: pytest.fail("it asked the system")
    assert machine.wait() <= changes_at + LOOK
    assert machine.slept_at is None


@given(spin=st.integers(0, 10**6), interruptions=st.integers(0, 2))
def test_a_fixed_time_is_kept_whatever_happens(spin, interruptions):
    machine = Machine(used=10**7, interruptions=interruptions)
    machine.words[SETTINGS, team.SHORTEST] = machine.words[SETTINGS, team.LONGEST] = spin
    for _ in range(2):
        assert spin <= machine.wait() <= spin + SLACK
        machine.used += 10**7
