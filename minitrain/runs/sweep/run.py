"""Doing the jobs of a sweep that are left, with any launcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...errors import ConfigError, MinitrainError
from ...training.signals import Interrupted
from .jobs import Job, Launcher, Outcome, Work
from .names import job_name
from .plan import Compose, compose_job
from .search import Search, result_of
from .stop import StopFile
from .store import Sweep


class Means(NamedTuple):
    """The parts of a sweep beside an engine.

    Attributes:
        train: does a job in this process, see `Work`.
        command: the program and its arguments that do the job of a name in another process.
        compose: makes settings from ``key=value`` arguments.
        say: told of each event, in a line or two.
        go_on: says how to go on after an interruption.
    """

    train: Callable[[Job], Outcome]
    command: Callable[[str], Sequence[str]]
    compose: Compose
    say: Callable[[str], None]
    go_on: Callable[[], str]


def run_sweep(sweep: Sweep, launcher: Launcher, means: Means) -> None:
    """Do the jobs of a sweep that are not finished; one that fails does not stop the others.

    Jobs that were interrupted or failed go on from their last checkpoint. ``sweep.states`` says what came of each.

    Raises:
        Interrupted: by SIGINT or SIGTERM, when all running jobs have saved; its message says how to go on.
        ConfigError: if the engine refuses its settings, or no run logs what a search compares.
        FileError: if the file cannot be written.
    """
    stop = StopFile.new(sweep.folder)
    try:
        _run(sweep, list(sweep.configs), launcher, means, stop)
        while sweep.search is not None and (missing := sweep.search.trials - len(sweep.search.chosen)) > 0:
            names = _add_trials(sweep, sweep.search, min(missing, launcher.at_once or missing), means)
            _run(sweep, names, launcher, means, stop)
    except Interrupted:
        stop.remove()
        raise
    except BaseException:
        stop.ask(0)  # jobs that still run save and end; the file stays until the last has seen it
        raise
    stop.remove()


def best_of(sweep: Sweep) -> tuple[str, float] | None:
    """The name and the result of the best job of a search; ``None`` without a search or a result."""
    if sweep.search is None or not (results := _results(sweep, sweep.search)):
        return None
    choose = min if sweep.search.direction == "minimize" else max
    return choose(results.items(), key=lambda item: item[1])


def _run(sweep: Sweep, names: Sequence[str], launcher: Launcher, means: Means, stop: StopFile) -> None:
    """Do some of the jobs, those that are not finished."""
    every = list(sweep.configs) if sweep.search is None else list(sweep.search.chosen)
    total = len(every) if sweep.search is None else max(sweep.search.trials, len(every))
    numbers = {name: number for number, name in enumerate(every, 1)}
    apart: set[str] = set()  # jobs whose output is not on the screen

    def title(name: str) -> str:
        return f"run {numbers[name]} of {total}: {name}"

    def begun(job: Job, remark: str) -> None:
        if remark:
            apart.add(job.name)
        means.say(f"{title(job.name)} {remark}".strip())

    jobs = []
    for name in names:
        if sweep.is_finished(name):
            means.say(f"{title(name)}\nfinished before")
        else:
            jobs.append(Job(name, (sweep.folder / name).resolve(), tuple(means.command(name)), stop))
    interrupted = []
    for outcome in launcher.run(jobs, Work(means.train, begun, stop)):
        if outcome.state == "waiting":
            continue
        sweep.record(outcome)
        if outcome.state == "interrupted":
            interrupted.append(numbers[outcome.name])
        if outcome.name in apart:
            reason = f": {outcome.message}" if outcome.message else ""
            means.say(f"{title(outcome.name)} {outcome.state} after {outcome.seconds:.0f} s{reason}")
    if stop.level():
        running = " and ".join(map(str, sorted(interrupted)))
        where = f"in run {running} of {total}" if running else "between two runs"
        raise Interrupted(f"the sweep is stopped {where}; {means.go_on()}", stop.number())


def _add_trials(sweep: Sweep, search: Search, count: int, means: Means) -> list[str]:
    """Let the search choose values for more jobs, and add these to the sweep; returns their names."""
    results = _results(sweep, search)
    finished = [name for name in sweep.configs if sweep.states.get(name) == "finished"]
    if finished and not results:
        result_of(sweep.folder / finished[0], search.metric)  # says what is wrong
    names = []
    for values in search.suggest(count, results):
        shown = [(key, f"{value:.4g}" if isinstance(value, float) else str(value)) for key, value in values.items()]
        name = job_name(len(search.chosen), len(str(search.trials - 1)), shown)
        search.chosen[name] = values
        try:
            arguments = [*search.arguments, *(f"{key}={value}" for key, value in values.items())]
            sweep.configs[name] = compose_job(sweep.folder / name, arguments, means.compose)
            names.append(name)
        except ConfigError as error:  # values that do not fit each other; the search learns to avoid them
            sweep.record(Outcome(name, "failed", str(error)))
            means.say(f"run {len(search.chosen)} of {search.trials}: {name} failed: {error}")
    sweep.save()
    return names


def _results(sweep: Sweep, search: Search) -> dict[str, float]:
    results = {}
    for name in sweep.configs:
        if sweep.states.get(name) == "finished":
            try:
                results[name] = result_of(sweep.folder / name, search.metric)
            except MinitrainError:
                continue
    return results
