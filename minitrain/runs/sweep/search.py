"""Optuna chooses the values: after each round of jobs it is shown what came out, and asked for the next.

There is no database: the choices and the outcomes of a sweep are in its folder, and Optuna is told them anew each time.
Its sampler is seeded by the number of the job that it chooses for. So a search that was interrupted chooses what
it would have chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...records.jsonl import METRICS, read_metrics
from .engines import check_count, engine
from .jobs import MOST_JOBS

Value = str | int | float


@dataclass(frozen=True)
class Options:
    """One of some values, each as it is written in an argument."""

    options: tuple[str, ...]

    def distribution(self, optuna: Any) -> Any:
        """As Optuna has it."""
        return optuna.distributions.CategoricalDistribution(self.options)

    def borders(self) -> tuple[Value, ...]:
        """Values that have to be good if all are to be."""
        return self.options

    def allows(self, value: object) -> bool:
        """Whether a value is one of them."""
        return value in self.options


@dataclass(frozen=True)
class Span:
    """A number between two others, both among them.

    Attributes:
        low: the lowest.
        high: the highest.
        whole: whether it is a whole number.
        log: whether its logarithm is what is spread evenly, as for a learning rate.
        step: the distance of two values, if only some count.
    """

    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in (self.low, self.high)):
            raise ConfigError(f"an interval needs two numbers, got {self.low} and {self.high}")
        if self.low >= self.high:
            raise ConfigError(f"an interval goes from a number to a higher one, got {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError("tag(log, ...) takes an interval above 0, and no steps")

    def distribution(self, optuna: Any) -> Any:
        """As Optuna has it."""
        kinds = optuna.distributions
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return kinds.IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return kinds.FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def borders(self) -> tuple[Value, ...]:
        """Values that have to be good if all are to be."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def allows(self, value: object) -> bool:
        """Whether a value is one of them."""
        kind = int if self.whole else int | float
        return isinstance(value, kind) and not isinstance(value, bool) and self.low <= value <= self.high


Range = Options | Span


@dataclass
class Search:
    """A search for the values with the best outcome.

    Attributes:
        trials: how many jobs there are to be.
        metric: what is compared: the last value of this name in the ``metrics.jsonl`` of a run.
        direction: ``minimize`` or ``maximize``.
        seed: of the choices.
        arguments: ``key=value`` of the settings that stay.
        ranges: what may be chosen for each of the others.
        chosen: what was chosen for each job, by its name.
    """

    trials: int
    metric: str = "val_loss"
    direction: str = "minimize"
    seed: int = 0
    arguments: tuple[str, ...] = ()
    ranges: dict[str, Range] = field(default_factory=dict)
    chosen: dict[str, dict[str, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_count("--trials", self.trials)
        check_count("search.seed", self.seed, 0)
        if self.trials > MOST_JOBS:
            raise ConfigError(f"--trials must be at most {MOST_JOBS:,}, got {self.trials:,}")
        if not isinstance(self.metric, str):
            raise ConfigError(f"search.metric must be a name, got {self.metric!r:.60}")
        if self.direction not in ("minimize", "maximize"):
            raise ConfigError(f"search.direction must be 'minimize' or 'maximize', got {self.direction!r}")

    def suggest(self, count: int, results: Mapping[str, float]) -> list[dict[str, Value]]:
        """Values for ``count`` more jobs.

        Args:
            count: how many.
            results: the outcomes of earlier jobs by their names; those that failed are not in it.

        Raises:
            ConfigError: if Optuna is not installed.
        """
        optuna = engine("optuna", "optuna", "--search optuna")
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            distributions = {key: one.distribution(optuna) for key, one in self.ranges.items()}
            seed = (self.seed * 1_000_003 + len(self.chosen)) % 2**32
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, 1 + self.trials // 3))
            study = optuna.create_study(direction=self.direction, sampler=sampler)
            for name, values in self.chosen.items():
                study.add_trial(
                    optuna.trial.create_trial(
                        # A failed trial Optuna would forget, and choose the same again; a pruned one counts as bad.
                        state=optuna.trial.TrialState.COMPLETE if name in results else optuna.trial.TrialState.PRUNED,
                        params=dict(values),
                        distributions=distributions,
                        value=results.get(name),
                    )
                )
            return [dict(study.ask(distributions).params) for _ in range(count)]
        finally:
            optuna.logging.set_verbosity(before)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Search:
        """From plain values.

        Raises:
            ConfigError, TypeError, ValueError, KeyError, AttributeError: if they are not those of a search.
        """
        known = {item.name for item in fields(cls)}
        if unknown := set(values) - known:
            raise ConfigError(f"unknown {', '.join(sorted(unknown))}")
        ranges = {str(key): _range(one) for key, one in values["ranges"].items()}
        chosen = {str(name): {key: one[key] for key in ranges} for name, one in values["chosen"].items()}
        if not all(one.allows(values[key]) for values in chosen.values() for key, one in ranges.items()):
            raise ConfigError("a value outside its range")
        arguments = tuple(str(argument) for argument in values["arguments"])
        return cls(**{**values, "ranges": ranges, "chosen": chosen, "arguments": arguments})


def result_of(run_dir: Path, metric: str) -> float:
    """The last value of a metric in a run.

    Raises:
        ConfigError: if the run never logged it; names those that it did log.
    """
    records = read_metrics(run_dir / METRICS)
    found = [record[metric] for record in records if isinstance(record.get(metric), int | float)]
    if not found:
        names = sorted({name for record in records for name, value in record.items() if isinstance(value, int | float)})
        raise ConfigError(f"search.metric: the run in {run_dir} logged no {metric}; it logged {', '.join(names)}")
    return float(found[-1])


def _range(values: Mapping[str, Any]) -> Range:
    return Options(tuple(str(one) for one in values["options"])) if "options" in values else Span(**values)
