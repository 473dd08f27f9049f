"""``minitrain train --multirun``: one run after the other, for every combination of some settings.

Hydra's grammar says what a list of values is: ``1,2``, ``choice(1,2)``, ``range(1,5)``, ``glob(warm*)``. Its launcher,
its folders and its logging stay out of it. A sweep is a folder::

    runs/sweep-20250102-030405/
      sweep.json                                  the settings of all its runs, written before the first
      0_learning_rate=1e-3,n_layer=2/             the folder of a run
      1_learning_rate=1e-3,n_layer=4/
      comparison.png
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import FileError, file_error, make_folder, parse_json, read_file, write_atomically
from ..folder.names import CONFIG, METRICS, REPORT
from ..runs import Run, RunConfig, resume_run, start_run
from ..training import Interrupted
from .arguments import UsageError
from .compare import show_comparison
from .compose import LITERAL, compose_config
from .failures import RUN_FAILED, report, traceback_kept_in, warn
from .groups import config_groups

SWEEP, PICTURE = "sweep.json", "comparison.png"
_LARGEST = 16_000_000  # bytes of the list of runs
_LONGEST_NAME = 120  # of a folder; file systems allow 255 bytes


def compose_sweep(arguments: Sequence[str]) -> tuple[Path, dict[str, RunConfig]]:
    """The folder of a sweep, and the settings of its runs by their names, all of them checked.

    Args:
        arguments: ``key=value`` as `compose_config` takes them; at least one with several values. ``run_dir`` is the
            folder of the sweep.

    Raises:
        ConfigError: for whatever is wrong with one of them.
    """
    given = [argument for argument in arguments if not argument.startswith("run_dir=")]
    choices = [_alternatives(argument) for argument in given]
    swept = [i for i, values in enumerate(choices) if len(values) > 1]
    if not swept:
        compose_config(given)  # if something else is wrong, that comes first
        raise UsageError(
            "--multirun has nothing to sweep: give a setting several values, such as optimizer.learning_rate=1e-3,3e-4"
        )
    combinations = list(itertools.product(*choices))
    width = len(str(len(combinations) - 1))
    runs = {
        f"{number:0{width}}_{_label([values[i] for i in swept])}": compose_config(values)
        for number, values in enumerate(combinations)
    }
    place = compose_config([argument for argument in arguments if argument.startswith("run_dir=")]).run_dir
    folder = Path(place) if place else Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
    return folder, {name: replace(config, run_dir=str(folder / name)) for name, config in runs.items()}


def begin_sweep(folder: Path, runs: Mapping[str, RunConfig]) -> None:
    """Write down what the runs of a sweep are.

    Raises:
        DataError: if there is a sweep in the folder.
        FileError: if the disk refuses.
    """
    if (folder / SWEEP).exists():
        raise DataError(f"{folder} holds a sweep already: {_go_on(folder)}, or choose another run_dir")
    settings = {name: config.to_dict() for name, config in runs.items()}
    write_atomically(make_folder(folder) / SWEEP, json.dumps({"version": 1, "runs": settings}, indent=1).encode())


def load_sweep(folder: Path) -> dict[str, RunConfig]:
    """The settings of the runs of a sweep, by their names.

    Raises:
        DataError: if the folder is not that of a sweep, or its list of runs is damaged.
        ConfigError: if a setting is none of this version's.
    """
    path = folder / SWEEP
    if not path.exists():
        raise DataError(f"{folder} is not the folder of a sweep: it has no {SWEEP}")
    try:
        contents = parse_json(read_file(path, _LARGEST, links=False))
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    match contents:
        case {"version": 1, "runs": dict(runs)} if all(Path(name).name == name for name in runs):
            configs = {name: RunConfig.from_dict(_mapping(path, values)) for name, values in runs.items()}
            return {name: replace(config, run_dir=str(folder / name)) for name, config in configs.items()}
    raise DataError(f"{path} is damaged: it is not a list of runs")


def run_sweep(folder: Path, runs: Mapping[str, RunConfig], train: Callable[[Run], object]) -> int:
    """Train the runs of a sweep that are not finished, and compare them all; one that fails does not stop the others.

    Args:
        folder: of the sweep.
        runs: settings by name.
        train: trains one run to its end and says what came out.

    Returns:
        The exit code: 1 if a run failed.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; its message says how to go on.
    """
    failed = []
    for number, (name, config) in enumerate(runs.items(), 1):
        print(f"\nrun {number} of {len(runs)}: {name}", flush=True)
        try:
            _train_one(folder / name, config, train)
        except (Interrupted, KeyboardInterrupt) as stop:
            by = stop.signal_number if isinstance(stop, Interrupted) else signal.SIGINT
            raise Interrupted(f"the sweep is stopped in run {number} of {len(runs)}; {_go_on(folder)}", by) from stop
        except BrokenPipeError:
            raise
        except Exception as error:
            report(error)
            failed.append(name)
    begun = [folder / name for name in runs if (folder / name / METRICS).exists() and (folder / name / CONFIG).exists()]
    if len(begun) > 1:
        print()
        show_comparison(begun, folder / PICTURE)
    if failed:
        print(f"failed: {', '.join(failed)}")
        return RUN_FAILED
    return 0


def _train_one(run_dir: Path, config: RunConfig, train: Callable[[Run], object]) -> None:
    with traceback_kept_in(run_dir):
        if (run_dir / CONFIG).exists():
            one = resume_run(run_dir, warn=warn)
            if one.trainer.view.is_over and (run_dir / REPORT).exists():
                print("finished before")
                return
        else:
            one = start_run(config, warn=warn)
        train(one)


def _alternatives(argument: str) -> list[str]:
    """``argument`` once for each of its values; as it is, if it has one or cannot be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    key = argument.partition("=")[0]
    try:
        override: Any = OverridesParser.create().parse_override(argument)
        if not override.is_sweep_override():
            return [argument]
        value = override.value()
        if isinstance(value, Glob):
            return [f"{key}={option}" for option in _matching(argument, key, value)]
        if not override.is_discrete_sweep():
            raise UsageError(f"{argument}: a sweep needs single values, such as {key}=1,2 or {key}=range(1,3)")
        if key in LITERAL:  # which composing takes as they stand, without the grammar's quotes
            return [f"{key}={getattr(value, 'text', value)}" for value in override.sweep_iterator()]
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    except HydraException:
        return [argument]  # composing will say what is wrong with it


def _matching(argument: str, key: str, pattern: Any) -> list[str]:
    """The options of group ``key`` that a glob matches."""
    groups = config_groups()
    if key not in groups:
        raise UsageError(f"{argument}: glob chooses among the options of a group, one of {', '.join(sorted(groups))}")
    found: list[str] = pattern.filter(groups[key])
    if not found:
        raise UsageError(f"{argument} matches none of the options: {', '.join(groups[key])}")
    return found


def _label(arguments: Sequence[str]) -> str:
    """What sets a run apart, as a part of a folder's name: ``learning_rate=1e-3,n_layer=2``."""
    short = (f"{key.rpartition('.')[2]}={value}" for key, _, value in (one.partition("=") for one in arguments))
    return re.sub(r"[^\w.=,+-]", "_", ",".join(short))[:_LONGEST_NAME]


def _mapping(path: Path, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise DataError(f"{path} is damaged: the settings of a run are {values!r:.60}")
    return values


def _go_on(folder: Path) -> str:
    return f"go on with: minitrain train --multirun --resume {shlex.quote(str(folder))}"
