"""A sweep on disk: the list of its jobs, written before the first begins, and what came of them, added one by one.

::

    runs/sweep-20250102-030405/
      sweep.json                                  the settings of all jobs
      outcomes.jsonl                              what came of them
      0_learning_rate=1e-3,n_layer=2/             a run folder, with what the run printed in log.txt
      1_learning_rate=1e-3,n_layer=4/
      comparison.png
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from ...errors import ConfigError, DataError
from ...files import file_error, make_folder, write_atomically
from ...folder.commands import resume_command
from ...folder.not_a_run import SWEEP
from ...records.jsonl import MetricsWriter, read_metrics
from ...reports.html import REPORT
from ..config import RunConfig
from ..confine import needs_trust
from .jobs import Outcome, State
from .search import Search

OUTCOMES = "outcomes.jsonl"


@dataclass
class Sweep:
    """A sweep and its folder.

    Attributes:
        folder: of the sweep.
        configs: the settings of its jobs by their names.
        search: what chooses values, if something does; jobs are then added as it goes.
    """

    folder: Path
    configs: dict[str, RunConfig]
    search: Search | None = None
    states: dict[str, State] = field(default_factory=dict)
    """what came of jobs, by their names; those that never ended are not in it"""

    def save(self) -> None:
        """Write the list of jobs.

        Raises:
            FileError: if the file cannot be written.
        """
        contents: dict[str, Any] = {
            "version": 1,
            "runs": {name: config.to_dict() for name, config in self.configs.items()},
        }
        if self.search is not None:
            contents["search"] = self.search.to_dict()
        write_atomically(make_folder(self.folder) / SWEEP, json.dumps(contents, indent=1).encode())

    def record(self, outcome: Outcome) -> None:
        """Write down what came of a job.

        Raises:
            FileError: if the file cannot be written.
        """
        self.states[outcome.name] = outcome.state
        with MetricsWriter(self.folder / OUTCOMES) as file:
            file.write(asdict(outcome))

    def is_finished(self, name: str) -> bool:
        """Whether there is nothing left to do for a job, as far as is known without opening its run."""
        return self.states.get(name) == "finished" and (self.folder / name / REPORT).exists()


def begin_sweep(folder: Path, configs: Mapping[str, RunConfig], search: Search | None = None) -> Sweep:
    """A new sweep, written down.

    Raises:
        DataError: if there is a sweep in the folder.
        FileError: if the file cannot be written.
    """
    if (folder / SWEEP).exists():
        raise DataError(f"{folder} holds a sweep already: {go_on(folder, configs)}; or choose another run_dir")
    sweep = Sweep(folder, dict(configs), search)
    sweep.save()
    return sweep


def load_sweep(folder: Path) -> Sweep:
    """The sweep in ``folder``.

    Raises:
        DataError: if there is none, it is damaged, or what is in it is a link to somewhere else.
        ConfigError: if a setting is none of this version's.
    """
    path = folder / SWEEP
    if not path.is_file():
        raise DataError(f"{folder} is not the folder of a sweep: it has no {SWEEP}")
    try:
        contents = json.loads(path.read_bytes())
    except OSError as error:
        raise file_error("read", path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    match contents:
        case {"version": 1, "runs": dict(runs)} if all(_is_plain_name(name) for name in runs):
            configs = {
                name: replace(RunConfig.from_dict(_mapping(path, values)), run_dir=str(folder / name))
                for name, values in runs.items()
            }
            given = contents.get("search")
            search = None if given is None else _search(path, given, configs)
            if links := [name for name in (OUTCOMES, *configs) if (folder / name).is_symlink()]:
                raise DataError(f"{folder / links[0]} is a link, which would lead out of the sweep; remove it")
            names = configs if search is None else search.chosen
            return Sweep(folder, configs, search, _read_states(folder / OUTCOMES, names))
    raise DataError(f"{path} is damaged: it is not a list of runs")


def go_on(folder: Path, configs: Mapping[str, RunConfig]) -> str:
    """How to go on with a sweep of these runs."""
    trust = any(needs_trust(config, folder / name) for name, config in configs.items())
    return f"go on with: {resume_command(folder, sweep=True, trust=trust)}"


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and "\0" not in name


def _read_states(path: Path, names: Iterable[str]) -> dict[str, State]:
    """The last state of each job. What is no record is passed over: at worst a job is looked at again."""
    if not path.is_file():
        return {}
    states: dict[str, State] = {}
    for record in read_metrics(path):
        name = record.get("name")
        for state in get_args(State):
            if isinstance(name, str) and name in names and record.get("state") == state:
                states[name] = state
    return states


def _search(path: Path, values: Any, configs: Mapping[str, RunConfig]) -> Search:
    try:
        search = Search.from_dict(_mapping(path, values))
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is damaged: its search is not one of this version's ({error})") from error
    if not set(configs) <= set(search.chosen):
        raise DataError(f"{path} is damaged: its search has other runs than the list")
    return search


def _mapping(path: Path, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise DataError(f"{path} is damaged: the settings of a run are {values!r:.60}")
    return values
