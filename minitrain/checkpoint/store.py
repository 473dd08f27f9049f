"""The checkpoints of a run: saved so that nothing is lost whatever happens, the newest or the best found again."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

from ..distributed.group import Group
from ..errors import CheckpointError, ConfigError
from ..files import FileError
from ..settings.better import check_mode, is_better, sort_key
from .format import Checkpoint, Contents
from .local import CheckpointFolder, LocalFolder
from .manifest import Location, checkpoint_name, step_of
from .together import SaveTogether

Warn = Callable[[str], object]


def warn_user(message: str) -> None:
    """Issue a Python warning: what is told about checkpoints unless somebody else wants to tell it."""
    warnings.warn(message, stacklevel=3)


class CheckpointStore:
    """Saves, finds and clears up the checkpoints in one folder, local or remote.

    Old ones go only after a new one was written and read back: a folder is either a complete checkpoint or it is not
    called one, whenever the process is killed.

    Args:
        directory: the folder, made at the first save; or a URL for fsspec, such as ``s3://bucket/run``.
        keep: how many of the newest checkpoints to keep.
        keep_best: how many of the best to keep beside those.
        metric: the metric that says how good a checkpoint is, one of its ``metrics``.
        mode: ``"min"`` if less of it is better, ``"max"`` if more is.
        warn: called with a sentence when something is not as it should be but training can go on.

    Raises:
        ConfigError: if a setting is out of range, or there is no library for such a URL.
    """

    def __init__(
        self,
        directory: Location,
        *,
        keep: int = 3,
        keep_best: int = 0,
        metric: str = "val_loss",
        mode: str = "min",
        warn: Warn = warn_user,
    ) -> None:
        check_mode("checkpoints", mode)
        if keep < 1 or keep_best < 0:
            raise ConfigError(f"checkpoints: keep={keep} must be at least 1, keep_best={keep_best} at least 0")
        self.folder = open_folder(directory)
        self.keep, self.keep_best, self.metric, self.mode, self.warn = keep, keep_best, metric, mode, warn
        self._metrics: dict[str, float] = {}  # of checkpoints whose description was read already

    @property
    def directory(self) -> Location:
        """Where the checkpoints are."""
        return self.folder.location()

    def save(
        self, contents: Contents, *, name: str | None = None, warn: Warn | None = None, group: Group | None = None
    ) -> Location:
        """Save a checkpoint, check it, and delete those that are too many.

        Args:
            contents: what goes into it.
            name: its name; by default the one of its step.
            warn: told if old ones cannot be deleted; by default the store's.
            group: the ranks that save it together, each with a store of the same folder and ``contents``.

        Returns:
            Where it is.

        Raises:
            FileError: if it does not fit or cannot be written; older checkpoints are untouched.
            CheckpointError: if an intact checkpoint of that name exists, or the new one does not read back.
        """
        name = checkpoint_name(contents.step) if name is None else name
        location = self.save_as(name, contents, group)
        if group is None or group.is_main:
            self.clear_up(contents.step, warn or self.warn)
        return location

    def save_as(self, name: str, contents: Contents, group: Group | None = None) -> Location:
        """Save a checkpoint under a name of your own, check it, and delete nothing.

        Args:
            name: its name.
            contents: what goes into it.
            group: the ranks that save it together.

        Raises:
            FileError: if it does not fit or cannot be written.
            CheckpointError: if an intact checkpoint is there, or the new one does not read back.
        """
        if group is not None:
            saving = self._together(name, group)
            saving.save(contents)
            return saving.path
        self._refuse_intact(name)
        self._metrics.pop(name, None)
        self.folder.write(name, contents)
        return self.folder.location(name)

    def begin_together(self, contents: Contents, group: Group) -> SaveTogether:
        """Begin a checkpoint of several ranks, which each writes in its own time; see `minitrain.checkpoint.together`.

        Raises:
            FileError: on all ranks, if it does not fit.
            CheckpointError: if an intact checkpoint of that name exists.
        """
        saving = self._together(checkpoint_name(contents.step), group)
        saving.begin(contents)
        return saving

    def load(self, path: Location) -> Checkpoint:
        """Verify and read the checkpoint at ``path``: a name in this folder, or the place of any checkpoint.

        Raises:
            CheckpointError: if it is damaged, incomplete, or of a format this version cannot read.
        """
        parent, name = split_location(path)
        here = not is_url(path) and str(path) == name  # nothing but a name
        return (self.folder if here else open_folder(parent)).read(name)

    def load_latest(self, warn: Warn | None = None) -> Checkpoint | None:
        """The newest intact checkpoint, read and verified in one go; ``None`` if there is none.

        Args:
            warn: called with a sentence for each damaged checkpoint; by default the store's.
        """
        for name in self._names()[::-1]:
            try:
                return self.folder.read(name)
            except CheckpointError as error:
                _tell_damage(error, warn or self.warn)
        return None

    def checkpoints(self) -> list[Location]:
        """The folders that are called checkpoints, oldest first; they may be damaged."""
        return [self.folder.location(name) for name in self._names()]

    def latest(self, warn: Warn | None = None) -> Location | None:
        """The newest checkpoint that is intact; damaged ones are skipped, and ``warn`` is told of each.

        Args:
            warn: called with a sentence for each damaged checkpoint; by default the store's.

        Returns:
            Where it is, or ``None`` if there is none.
        """
        return self._first_intact(self._names()[::-1], warn or self.warn)

    def best(self, warn: Warn | None = None) -> Location | None:
        """The intact checkpoint with the best value of ``metric``, of equally good ones the oldest.

        A checkpoint without that metric, or with one that is NaN or infinite, is never the best.

        Args:
            warn: called with a sentence for each damaged checkpoint; by default the store's.

        Returns:
            Where it is, or ``None`` if there is none.
        """
        return self._first_intact(self._by_metric(), warn or self.warn)

    def is_among_best(self, value: float) -> bool:
        """Whether a checkpoint with this value of ``metric`` would be kept as one of the ``keep_best`` best."""
        best = self._by_metric()[: self.keep_best]
        worst_kept = self._metric_of(best[-1]) if best and len(best) == self.keep_best else None
        return self.keep_best > 0 and is_better(value, worst_kept, self.mode)

    def _together(self, name: str, group: Group) -> SaveTogether:
        """For several ranks that save a checkpoint of that name, unless there is an intact one."""
        saving = SaveTogether(self.folder.assembly(name), self.folder.location(name), group)
        saving.on_main(lambda: self._refuse_intact(name))
        self._metrics.pop(name, None)
        return saving

    def _refuse_intact(self, name: str) -> None:
        if self.folder.exists(name) and self._problem(name) is None:
            raise CheckpointError(f"{self.folder.location(name)} exists and is intact; it is not overwritten")

    def _names(self) -> list[str]:
        return sorted(self.folder.names(), key=lambda name: (step_of(name) or 0, name))

    def _by_metric(self) -> list[str]:
        """The checkpoints that have the metric, the best first, of equal ones the oldest."""
        known = [name for name in self._names() if math.isfinite(self._metric_of(name))]
        return sorted(known, key=lambda name: sort_key(self._metric_of(name), self.mode))

    def _metric_of(self, name: str) -> float:
        """The value of ``metric`` for a checkpoint; NaN if it has none, or its description is damaged."""
        if name not in self._metrics:
            try:
                self._metrics[name] = float(self.folder.read_metrics(name).get(self.metric, math.nan))
            except (CheckpointError, OverflowError):  # an integer may have any number of digits
                self._metrics[name] = math.nan
        return self._metrics[name]

    def _first_intact(self, names: list[str], warn: Warn) -> Location | None:
        for name in names:
            problem = self._problem(name)
            if problem is None:
                return self.folder.location(name)
            _tell_damage(problem, warn)
        return None

    def _problem(self, name: str) -> str | None:
        """The fault of a checkpoint, if it has one."""
        try:
            self.folder.verify(name)
        except CheckpointError as error:
            return str(error)
        return None

    def clear_up(self, newest: int, warn: Warn) -> None:
        """Delete what is neither among the ``keep`` newest up to step ``newest`` nor among the best.

        Later ones stay: if there are any, they are damaged, and so do not count.
        """
        try:
            own = [name for name in self._names() if (step_of(name) or 0) <= newest]
            best = set(self._by_metric()[: self.keep_best]) if self.keep_best else set()
            self.folder.remove([name for name in own[: -self.keep] if name not in best])
        except FileError as error:
            warn(f"{error}; training goes on")


def _tell_damage(problem: object, warn: Warn) -> None:
    warn(f"skipping a damaged checkpoint: {problem}")


def open_folder(directory: Location) -> CheckpointFolder:
    """The folder at a path, or at a URL.

    Raises:
        ConfigError: if there is no library for such a URL.
    """
    if is_url(directory):
        from .remote import RemoteFolder

        return RemoteFolder(str(directory))
    return LocalFolder(directory)


def is_url(path: Location | None) -> bool:
    """Whether a folder is remote: ``s3://bucket/run``, ``gs://…``, ``memory://…``."""
    return isinstance(path, str) and "://" in path


def split_location(path: Location) -> tuple[Location, str]:
    """The folder of a checkpoint, and its name in it."""
    if is_url(path):
        parent, _, name = str(path).rstrip("/").rpartition("/")
        return parent, name
    return Path(path).parent, Path(path).name
