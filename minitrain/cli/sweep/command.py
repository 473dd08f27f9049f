"""``minitrain train --multirun``: begin or resume a sweep, and compare its runs."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...distributed.group import Group
from ...errors import ConfigError
from ...folder import RunFolder
from ...folder.names import CONFIG
from ...records.jsonl import METRICS
from ...reports.html import REPORT
from ...runs import Run, RunConfig, resume_run, start_run
from ...runs.confine import refuse_what_leads_out
from ...runs.sweep.jobs import LOG, Job, Outcome
from ...runs.sweep.plan import check_surroundings, plan_jobs
from ...runs.sweep.process import obeying_the_starter
from ...runs.sweep.run import Means, best_of, run_sweep
from ...runs.sweep.search import Options, Search, Span
from ...runs.sweep.store import Sweep, begin_sweep, go_on, load_sweep
from ...training import Interrupted
from ..arguments import UsageError
from ..compare import show_comparison
from ..compose import compose_config
from ..failures import RUN_FAILED, report, traceback_kept_in, warn
from ..options.ranks import is_a_rank, ranks_of_this_process, start_ranks_of_job
from .arguments import SweepArguments
from .values import read_range, read_values

PICTURE = "comparison.png"
Train = Callable[[Run], object]
"""Trains one run to its end and says what came out."""


def train_sweep(arguments: argparse.Namespace, train: Train) -> int:
    """Do what ``minitrain train --multirun`` asks for.

    Returns:
        The exit code: 1 if a run failed.

    Raises:
        MinitrainError: for what is wrong with the arguments, before anything is trained.
        Interrupted: by Ctrl-C or SIGTERM; its message says how to go on.
    """
    if arguments.job is not None:
        return _do_job(arguments, train)
    given = SweepArguments.sort(arguments.settings, arguments.launcher, arguments.jobs)
    if arguments.resume is not None:
        sweep = _resume(Path(arguments.resume), given, arguments)
    else:
        folder, configs, search = compose_sweep(given, arguments.search, arguments.trials)
        if arguments.show:
            _show(configs, search)
            return 0
    launcher = given.make_launcher()
    if arguments.resume is None:
        sweep = begin_sweep(folder, configs, search)
    trusted = arguments.trust or arguments.resume is None  # whoever starts a sweep chose its settings
    command = job_command(sweep.folder, arguments.plugin, trusted)

    def in_this_process(job: Job) -> Outcome:
        return _outcome_here(sweep.folder, job, train, command, trusted=trusted)

    means = Means(
        train=in_this_process,
        command=lambda name: [sys.executable, "-m", "minitrain", "train", *command, "--job", name],
        compose=compose_config,
        say=lambda text: print(("\n" if given.launcher == "serial" else "") + text, flush=True),
        go_on=lambda: go_on(sweep.folder, sweep.configs) + given.typed_launcher(),
    )
    if given.launcher != "serial":
        print(f"sweep folder: {sweep.folder}; each run writes {LOG} in a folder of its own there", flush=True)
    run_sweep(sweep, launcher, means)
    _compare(sweep)
    failed = [name for name, state in sweep.states.items() if state == "failed"]
    stopped = [name for name, state in sweep.states.items() if state == "interrupted"]  # by someone else than us
    if failed:
        print(f"failed: {', '.join(failed)}")
    if stopped:
        print(f"interrupted: {', '.join(stopped)}; {means.go_on()}")
    return RUN_FAILED if failed or stopped else 0


def compose_sweep(
    given: SweepArguments, engine: str | None = None, trials: int | None = None
) -> tuple[Path, dict[str, RunConfig], Search | None]:
    """The folder of a sweep, the settings of its runs by their names, and the search if there is one; all checked.

    Args:
        given: the words that were typed.
        engine: of the search; ``None`` tries all combinations.
        trials: how many runs a search makes.

    Raises:
        MinitrainError: for whatever is wrong with one of them.
    """
    folder = given.folder or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
    if engine is not None:
        return folder, {}, _compose_search(given, engine, trials)
    if trials is not None or given.search_settings:
        raise UsageError("--trials and search.KEY=VALUE belong to a search: add --search optuna")
    choices = [read_values(argument) for argument in given.settings]
    if not any(len(values.texts) > 1 for values in choices):
        compose_config(given.settings)  # if something else is wrong, that comes first
        raise UsageError(
            "--multirun has nothing to sweep: give a setting several values, such as optimizer.learning_rate=1e-3,3e-4"
        )
    return folder, plan_jobs(folder, choices, compose_config), None


def _compose_search(given: SweepArguments, engine: str, trials: int | None) -> Search:
    ranges = {argument: read_range(argument) for argument in given.settings}
    search = given.make_search(engine, trials)
    search.arguments = tuple(argument for argument, found in ranges.items() if found is None)
    search.ranges = {argument.partition("=")[0]: found for argument, found in ranges.items() if found is not None}
    if not search.ranges:
        compose_config(given.settings)
        raise UsageError(
            "--search has nothing to choose: give a setting a range, such as "
            "'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))'"
        )
    check_surroundings(_compose_borders(search))
    return search


def _compose_borders(search: Search) -> list[RunConfig]:
    """Settings with the lowest and the highest value of each range, and with each option.

    What only fits some values of the others is not refused here; a run that does not fit fails by itself.
    """
    lowest = {key: one.borders()[0] for key, one in search.ranges.items()}
    highest = {key: one.borders()[-1] for key, one in search.ranges.items()}
    configs = []
    for key, one in search.ranges.items():
        for border in one.borders():
            errors: list[ConfigError] = []
            for others in (lowest, highest):
                chosen = others | {key: border}
                try:
                    configs.append(compose_config([*search.arguments, *(f"{k}={v}" for k, v in chosen.items())]))
                    break
                except ConfigError as error:
                    errors.append(error)
            else:
                if isinstance(one, Span) and not one.whole:
                    errors[0].add_note("interval")
                    raise ConfigError(f"{errors[0]} (whole numbers are {key}=int(interval(LOW,HIGH)))") from errors[0]
                raise errors[0]
    return configs


def _resume(folder: Path, given: SweepArguments, arguments: argparse.Namespace) -> Sweep:
    """The sweep in a folder; of its settings only the number of trials can be changed."""
    kept = [*given.settings, *(f"search.{one}" for one in given.search_settings)]
    if kept or given.folder is not None or arguments.search is not None:
        what = kept[0] if kept else ("--search" if arguments.search is not None else "run_dir")
        raise UsageError(f"a resumed sweep keeps its settings: leave {what} out, or start a new sweep without --resume")
    sweep = load_sweep(folder)
    for name, config in sweep.configs.items():
        refuse_what_leads_out(config, RunFolder(folder / name, trusted=arguments.trust))
    if arguments.trials is not None:
        if sweep.search is None:
            raise UsageError(f"--trials belongs to a search, and the sweep in {folder} is none")
        sweep.search = replace(sweep.search, trials=arguments.trials)
    return sweep


def _do_job(arguments: argparse.Namespace, train: Train) -> int:
    """Be the process of a job, or one of its ranks; returns the exit code."""
    folder, name = Path(arguments.resume), arguments.job
    if is_a_rank():
        if hasattr(signal, "pthread_sigmask"):  # blocked in the process of a job, which hands requests to rank 0
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        with ranks_of_this_process() as group:
            _train_job(folder, name, train, trusted=arguments.trust, group=group)
        return 0
    config = _config_of(folder, name)
    with obeying_the_starter():
        if config.ranks > 1:
            command = job_command(folder, arguments.plugin, arguments.trust)
            return start_ranks_of_job(config, [*command, "--job", name])
        _train_job(folder, name, train, trusted=arguments.trust)
    return 0


def job_command(folder: Path, plugins: Sequence[str], trusted: bool) -> list[str]:
    """The arguments of ``minitrain train`` that do a job of a sweep, but for its name."""
    command = ["--multirun", "--resume", str(folder.resolve())]
    for file in plugins:
        command += ["--plugin", str(Path(file).resolve())]
    return command + ["--trust"] * trusted


def _config_of(folder: Path, name: str) -> RunConfig:
    config = load_sweep(folder).configs.get(name)
    if config is None:
        raise UsageError(f"the sweep in {folder} has no run {name}")
    return config


def _train_job(folder: Path, name: str, train: Train, *, trusted: bool, group: Group | None = None) -> None:
    """Train the run of a job, or what is left of it."""
    config, run_dir = _config_of(folder, name), folder / name
    with traceback_kept_in(run_dir):
        begun = (run_dir / CONFIG).exists()
        if begun if group is None else group.from_main(begun):
            prepared = resume_run(run_dir, trusted=trusted, warn=warn, group=group)
            over = prepared.trainer.view.is_over and (run_dir / REPORT).exists()
            if over if group is None else group.from_main(over):
                print("finished before")
                return
        else:
            refuse_what_leads_out(config, RunFolder(run_dir, trusted=trusted))
            prepared = start_run(config, warn=warn, group=group)
        train(prepared)


def _outcome_here(folder: Path, job: Job, train: Train, command: Sequence[str], *, trusted: bool) -> Outcome:
    """Do a job in this process; its errors are printed as those of a single run are."""
    started = time.monotonic()
    try:
        config = _config_of(folder, job.name)
        if config.ranks > 1:
            code = start_ranks_of_job(config, [*command, "--job", job.name])
            if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
                raise KeyboardInterrupt if code == 128 + signal.SIGINT else SystemExit(code)
            if code:  # a rank has said why
                return Outcome(job.name, "failed", seconds=time.monotonic() - started)
        else:
            _train_job(folder, job.name, train, trusted=trusted)
    except (Interrupted, KeyboardInterrupt, SystemExit) as stop:
        number = stop.signal_number if isinstance(stop, Interrupted) else _signal_of(stop)
        job.stop.ask(number)
        return Outcome(job.name, "interrupted", seconds=time.monotonic() - started)
    except BrokenPipeError:
        raise
    except Exception as error:
        report(error)
        return Outcome(job.name, "failed", seconds=time.monotonic() - started)
    return Outcome(job.name, "finished", seconds=time.monotonic() - started)


def _signal_of(stop: BaseException) -> int:
    return signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM


def _compare(sweep: Sweep) -> None:
    """The table and the picture of all runs that began, and the best of a search."""
    folders = [sweep.folder / name for name in sweep.configs]
    begun = [folder for folder in folders if (folder / METRICS).exists() and (folder / CONFIG).exists()]
    if len(begun) > 1:
        print()
        show_comparison(begun, sweep.folder / PICTURE)
    best = best_of(sweep)
    if best is not None and sweep.search is not None:
        print(f"best        {best[0]}: {sweep.search.metric} {best[1]:.4g}")


def _show(configs: dict[str, RunConfig], search: Search | None) -> None:
    if search is None:
        print("\n".join(configs))
        return
    for key, one in search.ranges.items():
        if isinstance(one, Options):
            print(f"{key}: one of {', '.join(one.options)}")
        else:
            steps = "" if one.step is None else f" in steps of {one.step:g}"
            print(f"{key}: {one.low:g} to {one.high:g}{steps}{', spread by its logarithm' if one.log else ''}")
