"""Grades notebooks that students hand in, with the exercises of the teacher's."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import linecache
import os
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from ..backend.threads import environment, set_threads, thread_count
from ..errors import ConfigError
from ..testing.watch import Watch
from . import sealed
from .confined import PLACE, Confined
from .exercise import Exercise
from .notebook import Cell, Notebook, checked, code_cells, first_line, functions, source, tags
from .submission import MAGIC, Submission, definitions
from .verdict import Verdict

SECONDS = 20.0
"""Seconds that a student's function may take."""
LONGEST = 4000
"""Characters of findings: an error's message comes from the student's code."""


class Mark(NamedTuple):
    """The verdict on one exercise of one file.

    Attributes:
        file: the student's notebook.
        exercise: its name.
        passed: whether the function is right.
        findings: the findings of the checker.
        advice: advice about the mistake, if the exercise knows it.
    """

    file: str
    exercise: str
    passed: bool
    findings: str
    advice: str = ""


def grade(
    teacher: Notebook, handed_in: Mapping[str, Notebook | ConfigError], *, seconds: float = SECONDS
) -> list[Mark]:
    """Run the teacher's notebook once, and check all students' functions at each of its exercises.

    Only the definitions in a student's notebook count. They run in processes of their own, so that nothing in them
    changes an exercise, the checker or the work of another student.

    Args:
        teacher: the notebook with solutions; `minitrain.tutorials.read_notebook` reads it.
        handed_in: the students' notebooks by name; an error stands for one that cannot be read.
        seconds: for each function.

    Returns:
        For each notebook, a mark for each exercise.

    Raises:
        ConfigError: if the teacher's notebook has no exercises, does not run, or fails an exercise of its own.
    """
    if not hasattr(os, "fork"):
        raise ConfigError("grading needs Linux or macOS: on others, a student's function cannot be confined")
    cells = [cell for cell in code_cells(teacher) if "hidden" not in tags(cell)]
    kinds = [kind for cell in cells for kind in tags(cell) & {"exercise", "solution"}]
    if not kinds or kinds != ["exercise", "solution"] * (len(kinds) // 2) or "unseal_" in str(teacher):
        raise ConfigError("the teacher's notebook must have a cell tagged 'solution' after each one tagged 'exercise'")
    known = definitions(teacher)
    solutions = {"cells": [cell for cell in cells if "solution" in tags(cell)]}
    own = Submission("", solutions, set())
    students = [Submission(name, notebook, known) for name, notebook in handed_in.items()]
    marks: dict[str, list[Mark]] = {name: [] for name in handed_in}
    for cell, namespace in _exercises(cells):
        solved = _mark(own, cell, namespace, max(seconds, SECONDS))
        if not solved.passed:
            raise ConfigError(f"the teacher's own solution of {solved.exercise!r} fails: {solved.findings}")
        for student in students:
            marks[student.name].append(_mark(student, cell, namespace, seconds))
    return [mark for found in marks.values() for mark in found]


def _exercises(cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Run the cells in turn, and stop before each exercise."""
    namespace = types.ModuleType("notebook").__dict__
    namespace["display"] = lambda *_, **__: None
    threads = thread_count()
    set_threads(1)  # a fork has none of its parent's threads
    try:
        with environment("MPLBACKEND", "Agg"), tempfile.TemporaryDirectory() as folder:
            for number, cell in enumerate(cells, 1):
                if "exercise" in tags(cell):
                    yield cell, namespace
                with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of plots that nobody sees
                    _run(MAGIC.sub("", source(cell)), f"code cell {number} of the teacher's notebook", namespace)
    finally:
        set_threads(threads)


def _execute(code: str, name: str, namespace: dict[str, Any]) -> None:
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # for tracebacks and numba
    exec(compile(code, name, "exec"), namespace)


def _run(code: str, name: str, namespace: dict[str, Any]) -> None:
    try:
        _execute(code, name, namespace)
    except Exception as error:
        first = first_line(code)
        raise ConfigError(f"{name}, which begins with {first!r}, fails: {type(error).__name__}: {error}") from error


def _mark(file: Submission, cell: Cell, namespace: dict[str, Any], seconds: float) -> Mark:
    found, wanted = checked(source(cell)), functions(source(cell))
    exercise = namespace.get(found[0]) if found else None
    if found is None or not isinstance(exercise, Exercise):
        raise ConfigError(
            f"the cell that begins with {first_line(source(cell))!r} does not end with EXERCISE.check(...)"
        )
    variable, expression = found
    if missing := [name for name in wanted if not file.has(name)]:
        findings = "\n".join([f"The notebook has no function {missing[0]}.", *file.broken])
        return Mark(file.name, exercise.name, False, _clean(findings))
    for seed in (exercise.seed, exercise.seed + 1):
        fresh = dataclasses.replace(exercise, seed=seed)
        confined = {name: Confined(_preparation(file, name, fresh, namespace), seconds) for name in wanted}
        verdict: Verdict = eval(expression, {**namespace, variable: fresh, **confined})
        if not verdict.passed:
            other = "Right for the numbers in the notebook, but not for others.\n" if seed != exercise.seed else ""
            return Mark(file.name, exercise.name, False, _clean(other + verdict.findings), verdict.advice)
    return Mark(file.name, exercise.name, True, _clean(verdict.findings))


def _preparation(
    file: Submission, name: str, exercise: Exercise, namespace: dict[str, Any]
) -> Callable[[], Callable[..., Any]]:
    def prepare() -> Callable[..., Any]:
        """Make the student's function; runs in a fork, whose copies of all this are its own."""
        answers = [thing for thing in gc.get_objects() if type(thing) is Exercise]
        hidden = [*answers, *(answer.reference for answer in answers if answer.reference)]
        for key in [key for key, value in namespace.items() if any(value is other for other in hidden)]:
            del namespace[key]
        for answer in answers:
            answer.reference = None
        sealed.open_seal = _stays_closed
        _execute(file.code, PLACE, namespace)
        function: Callable[..., Any] = namespace[name]
        return function if exercise.forward is None else _watched(function)

    return prepare


def _watched(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that may not write to its arguments: outside its fork nobody would see it."""

    def watched(dout: Any, cache: Any) -> Any:
        watch = Watch({"dout": dout, "cache": cache})
        result = backward(dout, cache)
        watch.check("the backward", "its arguments")
        return result

    return watched


def _stays_closed(text: str) -> NoReturn:
    raise ValueError("a sealed cell is not a solution of your own")


def _clean(text: str) -> str:
    """Text from somebody else's code, without what would control a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text[:LONGEST])
