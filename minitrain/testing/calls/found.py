"""Finds what has a backward in a user's file, and guesses shapes for it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from ...errors import ConfigError
from ..adapters.torch_functions import is_function_class
from ..gradients import check_gradients
from ..report import GradientMismatch, GradientReport
from ..settings import CheckSettings
from ..suite import Subject, Verdict
from .drawn import check_drawn

DECLARED = "GRADCHECK"
"""The name in a file that has shapes, by the names of functions."""
# Shapes of one to four arguments that fit most functions, the most common first. The last one is repeated.
_GUESSES = (
    ("A B",),
    ("A B", "B"),
    ("A B", "C B", "C"),
    ("A B", "B C", "C"),
    ("A B", "B C"),
    ("A B", "A"),
    ("A B", "A B", "B"),
    ("A B", "A B", "A C"),
    ("A", "B"),
    ("A",),
    ("",),
    ("A B C",),
    ("A B C", "C"),
    ("A B C D",),
    ("A B C D", "E B 3 3", "E"),
)


class Found(NamedTuple):
    """Something with a backward."""

    name: str
    subject: Any
    arguments: list[str]
    """The arguments that its forward needs."""
    declared: str
    """Its shapes, if the file says them."""


def subjects_of(namespace: Mapping[str, Any], framework: str | None = None) -> list[Subject]:
    """The functions that ``minitrain gradcheck`` checks in a file.

    Args:
        namespace: the names of the file after it ran.
        framework: ``"numpy"``, ``"torch"`` or ``"jax"``; all by default.
    """
    finders: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, Any, Any]]]] = {
        "numpy": _pairs,
        "torch": _torch,
        "jax": _jax,
    }
    chosen = [finders[framework]] if framework else list(finders.values())
    shapes = namespace.get(DECLARED, {})
    found = []
    for name, subject, forward in (entry for finder in chosen for entry in finder(namespace)):
        thing = Found(name, subject, _required(forward), shapes.get(name, ""))
        found.append(Subject(name, "function", "functions", thing, partial(check_found, thing)))  # type: ignore[arg-type]
    return found


def check_found(found: Found, examples: int, seed: int) -> Verdict:
    """Check it at drawn shapes.

    Args:
        found: what to check.
        examples: the number of calls.
        seed: the same seed gives the same calls.
    """
    verdict = Verdict(found.name, "function")
    letters, note = found.declared, ""
    if not letters:
        letters = guess(found, seed)
        note = (
            f"the shapes are guesses, {letters!r}: if they do not fit, write {DECLARED} = {{{found.name!r}: "
            "'x: B C; weight: C'}} in the file"
        )
        if not letters:
            verdict.failure = (
                f"no guess of shapes fits {', '.join(found.arguments) or 'a function without arguments'}: write "
                f"{DECLARED} = {{{found.name!r}: 'x: B C; weight: C'}} in the file, each letter a size"
            )
            return verdict

    def once(subject: Any, *inputs: Any, settings: CheckSettings) -> GradientReport:
        reports: list[GradientReport] = []

        def kept(*arguments: Any, **options: Any) -> GradientReport:
            reports.append(check_gradients(*arguments, **options))
            return reports[-1]

        shown = ", ".join(f"{name} {x.shape}" for name, x in zip(found.arguments, inputs, strict=False))
        verdict.failure = ""  # the last failure, which is the smallest, counts
        if not verdict.check(f"{found.name}({shown})", kept, subject, *inputs, settings=settings):
            raise _WrongError
        return reports[-1]

    try:
        check_drawn(found.subject, letters, examples=examples, seed=seed, check=once)
    except _WrongError:
        verdict.failure += f"\n{note}" if note else ""
    except ConfigError as error:
        verdict.failure = str(error)
    return verdict


class _WrongError(Exception):
    """A call is wrong; the verdict says how."""


def guess(found: Found, seed: int = 0) -> str:
    """Shapes in letters that the function takes, or an empty string.

    Shapes at which all gradients are right are preferred: at others, an argument may be broadcast in the forward, which
    the backward does not foresee.
    """
    fallback = ""
    for pattern in _GUESSES:
        shapes = [pattern[min(i, len(pattern) - 1)] for i in range(len(found.arguments))]
        if len(pattern) > max(1, len(found.arguments)) or not found.arguments:
            continue
        letters = "; ".join(f"{name}: {shape}" for name, shape in zip(found.arguments, shapes, strict=True))
        try:
            check_drawn(found.subject, letters, examples=3, seed=seed)
            return letters
        except GradientMismatch:
            fallback = fallback or letters
        except Exception:  # the function's own: these shapes do not fit it
            continue
    return fallback


def _required(forward: Callable[..., Any]) -> list[str]:
    """The names of the arguments without a default."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return []
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    names = [p.name for p in needed]
    return names[1:] if names[:1] == ["ctx"] else names


def _pairs(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Functions ``f`` or ``f_forward`` with an ``f_backward``."""
    for name, backward in namespace.items():
        if name.endswith("_backward") and callable(backward):
            stem = name.removesuffix("_backward")
            for forward in (namespace.get(f"{stem}_forward"), namespace.get(stem)):
                if callable(forward):
                    yield stem, (forward, backward), forward
                    break


def _torch(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Subclasses of ``autograd.Function`` that the file defines, and modules."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    for name, thing in namespace.items():
        own = getattr(thing, "__module__", "") == namespace.get("__name__")
        if (own and is_function_class(torch, thing)) or isinstance(thing, torch.nn.Module):
            yield name, thing, thing.forward


def _jax(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Functions with a ``custom_vjp``."""
    jax = sys.modules.get("jax")
    if jax is None:
        return
    for name, thing in namespace.items():
        if isinstance(thing, jax.custom_vjp):
            yield name, thing, thing
