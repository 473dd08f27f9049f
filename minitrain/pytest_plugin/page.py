"""The HTML page of ``--gradcheck-report``: every check with its errors, nothing outside the file is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..display.grid import heat_map
from ..display.markup import GREEN, RED, ROOT, Html, code, element, joined, quiet, table
from ..files import write_atomically

EXACT = -16.0  # the logarithm of an error that is drawn as nothing
LARGEST_CELL, SMALLEST_CELL, PICTURE = 14.0, 2.0, 420.0  # pixels


def write_page(path: str | Path, tests: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]) -> Path:
    """Write the page.

    Args:
        path: the HTML file; its folder is made.
        tests: the outcome and the checks of each test, as ``Checks.records`` has them.

    Returns:
        The path.
    """
    wrong_first = sorted(tests.items(), key=lambda test: (test[1][0] == "passed", test[0]))
    failed = sum(outcome != "passed" for outcome, _ in tests.values())
    summary = f"{len(tests)} tests with gradient checks, {failed} failed"
    scale = (
        "In a heat map, a cell is an element of the argument, its leading axes one below the other. "
        "It is the darker the larger its relative error: invisible at 1e-16, halfway at 1e-8, full at 1."
    )
    body = [element("h1", "Gradient checks"), element("p", summary), element("p", quiet(scale))]
    body += [_test(name, outcome, checks) for name, (outcome, checks) in wrong_first]
    head = Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width">')
    html = element(
        "html",
        element("head", head, element("title", "Gradient checks")),
        element("body", joined(body), style=f"{ROOT};max-width:70em;margin:2em auto;padding:0 1em"),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"<!doctype html>\n{html}\n".encode())
    return path


def _test(name: str, outcome: str, checks: Sequence[Mapping[str, Any]]) -> Html:
    color = GREEN if outcome == "passed" else RED
    title = element("h2", code(name), " ", element("span", outcome, style=f"color:{color}"), style="font-size:1.1em")
    return joined([title, *map(_check, checks)])


def _check(check: Mapping[str, Any]) -> Html:
    rows = []
    for argument in check["arguments"]:
        wrong = bool(argument["summary"])
        verdict = element("b", "wrong" if wrong else "right", style=f"color:{RED if wrong else GREEN}")
        said = [argument["summary"], argument["hint"], *argument["notes"]]
        words = joined(element("div", text) for text in said if text)
        shape = tuple(argument["shape"])
        rows.append([code(argument["name"]), str(shape), verdict, f"{argument['error']:.1e}", _map(argument), words])
    head = ["gradient of", "shape", "", "relative error", "errors of the elements", ""]
    about = f"{check['subject']}, tolerance {check['tolerance']:.0e}"
    return joined([element("p", code(about)), table(head, rows, right=(3,))])


def _map(argument: Mapping[str, Any]) -> str:
    """The errors of the elements, or nothing where they were not measured one by one."""
    if not argument["errors"]:
        return Html("")
    shape = argument["shape"] or [1]
    errors = np.array([_share(x) for x in argument["errors"]]).reshape(-1, shape[-1])  # (leading axes, last axis)
    rows, columns = ([str(i) for i in range(n)] for n in errors.shape)
    cell = min(LARGEST_CELL, max(SMALLEST_CELL, PICTURE / max(errors.shape)))
    return heat_map(errors, rows, columns, cell=cell)


def _share(error: float | None) -> float:
    """From 0 at 1e-16 to 1 at 1; NaN for an element that was not measured."""
    if error is None:
        return math.nan
    return min(1.0, max(0.0, 1 - math.log10(error) / EXACT)) if error > 0 else 0.0
