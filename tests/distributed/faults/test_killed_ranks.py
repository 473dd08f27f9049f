"""Ranks killed and stopped at random moments: all end, nothing is lost, and the run ends in the same bytes.

A session is a start or a resume on two or four ranks. Somewhere in it one rank gets SIGKILL or SIGSTOP: while Python
starts and the ranks meet, in a step, in the middle of a message of a collective call, or at one of the calls of a save.
Ranks and places take turns, the moment is random. An event takes about eight seconds on two busy cores.

``MINITRAIN_RANK_KILLS=5`` makes fewer of them. ``MINITRAIN_RANK_KILLS_IN=FOLDER`` works in a folder that stays: a test
that was stopped goes on with the next event there, and ``events.jsonl`` has a line for each.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.distributed.faults.sessions import (
    LIMIT,
    PLACES,
    Event,
    begin_or_resume,
    draw,
    note,
    refuse_anything_lost,
    same,
    saved,
    session,
    train_whole,
)
from tests.distributed.test_processes import folder, run
from tests.helpers.small_runs import TEXT

assert folder  # a fixture
KILLS = int(os.environ.get("MINITRAIN_RANK_KILLS", "50"))


def test_the_events_meet_every_rank_at_every_place() -> None:
    events = [draw(number) for number in range(50)]
    for ranks in (2, 4):
        assert {event.rank for event in events if event.ranks == ranks} == set(range(ranks))
    for place in PLACES:
        assert {event.rank for event in events if event.place == place} == {0, 1, 2, 3}
        assert {event.signal for event in events if event.place == place} == {signal.SIGKILL, signal.SIGSTOP}


@pytest.mark.slow
def test_a_run_survives_them(folder: Path) -> None:
    if kept := os.environ.get("MINITRAIN_RANK_KILLS_IN"):
        folder = Path(kept).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "text.txt").write_text(TEXT)
    base, log = train_whole(folder), folder / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    tried = max((event["number"] for event in events), default=-1) + 1
    runs = max((event["run"] for event in events), default=0)
    while len(events) < KILLS:
        event: Event = draw(tried)
        name = f"run-{runs}"
        checkpoints = folder / name / "checkpoints"
        before = saved(checkpoints)
        outcome = session(folder, begin_or_resume(base, folder, name, event.ranks, tried), event, checkpoints)
        if outcome.code == 0:  # the run was over before, or rank 0 was reporting already
            assert same(folder, name)
            runs += 1
        else:
            assert outcome.seconds is not None, outcome.errors
            assert outcome.seconds < LIMIT * outcome.pace, (event, outcome)
            assert "Traceback" not in outcome.errors, (event, outcome.errors)
            refuse_anything_lost(folder, before, checkpoints)
            kind = signal.Signals(event.signal).name
            said = outcome.errors.strip().splitlines()[-1:]
            line = {"number": tried, "run": runs, **event._asdict(), "signal": kind, "said": said}
            line |= {"seconds": round(outcome.seconds, 1), "pace": round(outcome.pace, 1)}
            note(log, line)
            events.append(line)
        tried += 1
    name = f"run-{runs}"
    result = run(begin_or_resume(base, folder, name, 2), folder)
    assert result.returncode == 0, result.stderr
    assert same(folder, name)
