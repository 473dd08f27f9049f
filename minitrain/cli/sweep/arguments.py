"""The arguments of a sweep: settings of runs, of the launcher (``launcher.``) and of the search (``search.``)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runs.sweep.engines import engine as require_engine
from ...runs.sweep.jobs import Launcher
from ...runs.sweep.launchers import create_launcher
from ...runs.sweep.search import Search
from ...settings.declared import arguments as constructor_arguments
from ...settings.declared import settings_of
from ..arguments import UsageError

_SEARCH_OWN = ("trials", "arguments", "ranges", "chosen")  # of `Search`, but not given as search.KEY=VALUE


@dataclass(frozen=True)
class SweepArguments:
    """The arguments of a sweep, sorted.

    Attributes:
        settings: ``key=value`` of the runs.
        folder: the ``run_dir`` among them.
        launcher: the name of a launcher.
        launcher_settings: ``key=value`` of it.
        search_settings: ``key=value`` of the search.
    """

    settings: tuple[str, ...]
    folder: Path | None
    launcher: str
    launcher_settings: tuple[str, ...]
    search_settings: tuple[str, ...]

    @classmethod
    def sort(cls, settings: Sequence[str], launcher: str | None, jobs: int | None) -> SweepArguments:
        """Sort what was typed; ``--jobs`` alone means joblib.

        Raises:
            UsageError: for ``--jobs`` with a launcher that does one job at a time.
        """
        name = launcher or ("serial" if jobs is None else "joblib")
        if name == "serial" and jobs is not None:
            raise UsageError("--launcher serial does one run at a time: leave --jobs out, or --launcher")
        of_runs = [one for one in settings if not one.startswith(("launcher.", "search.", "run_dir="))]
        places = [one.partition("=")[2] for one in settings if one.startswith("run_dir=")]
        of_launcher = [one.removeprefix("launcher.") for one in settings if one.startswith("launcher.")]
        of_launcher += [] if jobs is None else [f"jobs={jobs}"]
        of_search = [one.removeprefix("search.") for one in settings if one.startswith("search.")]
        folder = Path(places[-1]) if places and places[-1] else None
        return cls(tuple(of_runs), folder, name, tuple(of_launcher), tuple(of_search))

    def make_launcher(self) -> Launcher:
        """The launcher.

        Raises:
            ConfigError: if there is none of the name, its engine is not installed, or a setting is wrong.
        """
        return create_launcher(self.launcher, _read(self.launcher_settings, "launcher"))

    def make_search(self, engine: str, trials: int | None) -> Search:
        """The search, with nothing to choose yet.

        Raises:
            ConfigError: if a setting is wrong.
        """
        if engine != "optuna":
            raise UsageError(f"--search {engine}: the one search is optuna")
        require_engine("optuna", "optuna", "--search optuna")  # before anything is written
        known = settings_of(Search, without=_SEARCH_OWN)
        values = constructor_arguments("search", known, _read(self.search_settings, "search"))
        return Search(trials=20 if trials is None else trials, **values)

    def typed_launcher(self) -> str:
        """The launcher's part of the command line, to be typed again."""
        if self.launcher == "serial":
            return ""
        settings = [f"launcher.{one}" for one in self.launcher_settings]
        return " " + shlex.join(["--launcher", self.launcher, *settings])


def _read(settings: Sequence[str], prefix: str) -> dict[str, Any]:
    """Values by name, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    values = {}
    for one in settings:
        name, equals, _ = one.partition("=")
        try:
            override = OverridesParser.create().parse_override(one if equals else f"{one}=")
        except HydraException as error:
            raise UsageError(f"cannot read {prefix}.{one}: write {prefix}.{name}=VALUE") from error
        if not equals or override.is_sweep_override():
            raise UsageError(f"{prefix}.{one}: write {prefix}.{name}=VALUE, with one value")
        values[name] = override.value()
    return values
