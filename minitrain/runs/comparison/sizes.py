"""The sizes of runs, for a scaling law: their parameters, the tokens they were trained on, their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ...folder import RunFolder
from ...folder.names import METRICS
from ...folder.not_a_run import not_a_run
from ...records.jsonl import read_metrics
from ..config import RunConfig
from ..python_run import read_settings, run_info
from .scaling import ScalingFit, fit_scaling


class RunSize(NamedTuple):
    """One run.

    Attributes:
        name: of its folder.
        parameters: number of its weights.
        tokens: tokens that it was trained on, repeated ones too.
        loss: its last validation loss.
    """

    name: str
    parameters: int
    tokens: int
    loss: float


def run_size(run_dir: str | Path) -> RunSize:
    """The size and the loss of a run on a text.

    Raises:
        CheckpointError: if the folder is no run.
        DataError: if it has no validation loss yet, or its records do not say how large it is.
    """
    folder = RunFolder(run_dir)
    if not folder.exists(METRICS):
        raise not_a_run(folder.path, METRICS)
    records = [one for one in read_metrics(folder.file(METRICS)) if _is_number(one.get("val_loss"))]
    if not records:
        raise DataError(f"the run in {run_dir} has no validation loss yet: train it to its end")
    config, last = read_settings(folder, to_train=False), records[-1]
    length = getattr(config.data, "block_size", None) if isinstance(config, RunConfig) else None
    if not isinstance(config, RunConfig) or length is None:
        raise DataError(f"the run in {run_dir} is not of a text: give its numbers to fit_scaling in Python")
    try:
        count: Any = run_info(folder)["sessions"][-1]["parameters"]
    except (KeyError, IndexError, TypeError):
        count = None
    if type(count) is not int or count < 1 or type(last.get("step")) is not int or last["step"] < 1:
        raise DataError(f"the records of the run in {run_dir} are damaged: they do not say its parameters and steps")
    tokens = last["step"] * config.trainer.batch_size * length
    return RunSize(folder.path.resolve().name, count, tokens, float(last["val_loss"]))


def fit_runs(run_dirs: Sequence[str | Path]) -> ScalingFit:
    """Fit a scaling law to the last validation losses of runs; see `fit_scaling`.

    Raises:
        ConfigError: if all runs are of one size.
        DataError: if there are too few, or one has no loss.
    """
    sizes = [run_size(run_dir) for run_dir in run_dirs]
    columns: Mapping[str, list[float]] = {
        name: [float(getattr(size, name)) for size in sizes] for name in ("loss", "parameters", "tokens")
    }
    return fit_scaling(columns["loss"], parameters=columns["parameters"], tokens=columns["tokens"])


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < 1e300  # type: ignore[operator]
