"""A teacher's notebook with two exercises, and students who write their answers into it."""

from __future__ import annotations

import copy
from typing import Any

GIVEN = """
import numpy as np
from minitrain.tutorials import Exercise

def cube_forward(x):
    return x**3, x

def helper(x):
    return 3 * x**2
"""
CUBE = """
cube = Exercise("cube_backward", forward=cube_forward, inputs={"x": (2, 3)},
                hints=["the slope", "dout * SECRET"], advice={"wrong sign": "no minus"})
"""
TWICE = """
def secret_reference(x):
    return 2 * x

twice = Exercise("twice", reference=secret_reference, inputs={"x": (3,)}, hints=["add", "SECRET"])
"""
CELLS: list[tuple[str, str]] = [
    ("", GIVEN),
    ("folded", CUBE),
    ("exercise", "def cube_backward(dout, cache): ...\n\ncube.check(cube_backward)"),
    (
        "solution",
        "def cube_backward(dout, cache):\n    return dout * helper(cache)  # SECRET\n\ncube.check(cube_backward)",
    ),
    ("hidden", "cube.expect(lambda dout, cache: -dout * 3 * cache**2, 'no minus')"),
    ("", "gradient = cube_backward(np.ones(2), np.ones(2))\nassert gradient[0] == 3"),
    ("folded", TWICE),
    ("exercise", "def double(x): ...\n\ntwice.check(double)"),
    ("solution", "SECRET = 2\ndef double(x):\n    return SECRET * x\n\ntwice.check(double)"),
    ("", "assert double(4) == 8"),
]
RIGHT = ("def cube_backward(dout, cache):\n    return dout * helper(cache)", "def double(x):\n    return x + x")


def teacher(cells: list[tuple[str, str]] = CELLS) -> dict[str, Any]:
    """The notebook with solutions."""
    title = {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "Text."]}
    code = [
        {
            "cell_type": "code",
            "metadata": {"tags": [tag] if tag else []},
            "source": text,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "SECRET"}],
            "execution_count": 1,
        }
        for tag, text in cells
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [title, *code]}


def filled(notebook: dict[str, Any], *answers: str) -> dict[str, Any]:
    """A notebook whose exercise cells have other code."""
    out = copy.deepcopy(notebook)
    cells = [cell for cell in out["cells"] if "exercise" in cell["metadata"].get("tags", ())]
    for cell, answer in zip(cells, answers, strict=True):
        cell["source"] = answer
    return out
