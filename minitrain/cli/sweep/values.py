"""The values of a setting in a sweep, in Hydra's grammar: ``1,2``, ``choice(1,2)``, ``range(1,5)``, ``glob(warm*)``."""

from __future__ import annotations

import itertools
from typing import Any

from ...runs.recipes.options import config_groups
from ...runs.sweep.jobs import MOST_JOBS
from ...runs.sweep.plan import Values
from ...runs.sweep.search import Options, Range, Span
from ..arguments import UsageError
from ..compose import LITERAL


def read_values(argument: str) -> Values:
    """The values that ``key=value`` gives, each as composing takes it; the argument's own text if it has one value.

    Raises:
        UsageError: for an interval, which has no single values, and for what gives none or far too many.
    """
    override = _parse(argument)
    key, _, text = argument.partition("=")
    if override is None:
        return Values(key, (text,))
    if override.is_interval_sweep():
        raise UsageError(
            f"{argument}: an interval has no single values; give some, such as {key}=1,2 or {key}=range(1,3), "
            "or let --search optuna choose"
        )
    return Values(key, _texts(argument, override))


def read_range(argument: str) -> Range | None:
    """The values that a search may choose for ``key=value``; ``None`` if it has one value.

    ``interval(0.1,1)`` is any number between the two, ``int(interval(1,8))`` any whole number, ``range(8,64,8)`` one of
    its numbers. ``tag(log,interval(1e-4,1e-1))`` spreads the logarithm evenly. All others choose one of their values.

    Raises:
        UsageError: for a tag that is not ``log``, or one where there is nothing to spread.
        ConfigError: for an interval that is empty.
    """
    override = _parse(argument)
    if override is None:
        return None
    value = override.value()
    tags = getattr(value, "tags", None) or set()
    numbers = override.is_interval_sweep() or override.is_range_sweep()
    if wrong := [tag for tag in tags if tag != "log" or not numbers]:
        raise UsageError(f"{argument}: the one tag is log, for an interval or a range, not {wrong[0]}")
    if override.is_interval_sweep():
        return Span(value.start, value.end, isinstance(value.start, int) and isinstance(value.end, int), bool(tags))
    texts = _texts(argument, override)
    if len(texts) < 2:
        return Options(texts)
    if override.is_range_sweep():
        parsed = sorted((float(text), text) for text in texts)
        whole = all(text.lstrip("-").isdecimal() for text in texts)
        step = None if tags else abs(value.step)
        return Span(_number(parsed[0][1]), _number(parsed[-1][1]), whole, bool(tags), step)
    return Options(texts)


def _parse(argument: str) -> Any:
    """Hydra's reading of an argument with several values; ``None`` for one value, or what Hydra cannot read.

    Composing will say what is wrong with that.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override: Any = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    return override if override.is_sweep_override() else None


def _texts(argument: str, override: Any) -> tuple[str, ...]:
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    key, value = argument.partition("=")[0], override.value()
    if isinstance(value, Glob):
        return _matching(argument, key, value)
    try:
        texts = tuple(itertools.islice(override.sweep_iterator(lambda one: _text(key, one)), MOST_JOBS + 1))
    except (HydraException, ValueError) as error:  # such as a range in steps of 0
        raise UsageError(f"{argument}: {error}") from error
    if not texts:
        raise UsageError(f"{argument} gives no values")
    return texts


def _text(key: str, value: Any) -> str:
    """A value as an argument has it."""
    from hydra.core.override_parser.types import Transformer

    if key in LITERAL:  # which composing takes as they stand, without the grammar's quotes
        return str(getattr(value, "text", value))
    if isinstance(value, list):
        return "[" + ",".join(_text(key, one) for one in value) + "]"
    if isinstance(value, str) and "${" in value:  # a reference to another setting, which Hydra would escape
        return value
    return str(Transformer.str(value))


def _matching(argument: str, key: str, pattern: Any) -> tuple[str, ...]:
    """The options of group ``key`` that a glob matches."""
    groups = config_groups()
    if key not in groups:
        raise UsageError(f"{argument}: glob chooses among the options of a group, one of {', '.join(sorted(groups))}")
    found = tuple(pattern.filter(groups[key]))
    if not found:
        raise UsageError(f"{argument} matches none of the options: {', '.join(groups[key])}")
    return found


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)
