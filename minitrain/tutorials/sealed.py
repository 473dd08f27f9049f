"""Sealed cells: what students run, and do not read by accident.

A seal is no encryption. Who wants to open it can; who does not want to see the answer will not see it.
"""

from __future__ import annotations

import ast
import base64
import textwrap
import zlib
from typing import Any

from .exercise import Exercise

LARGEST = 2**20
"""Bytes of the longest cell."""


def seal(code: str) -> str:
    """Code as lines of letters and digits."""
    return "\n".join(textwrap.wrap(base64.b85encode(zlib.compress(code.encode(), 9)).decode(), 100))


def open_seal(text: str) -> str:
    """The code in a seal.

    Raises:
        ValueError: if the text is not a seal, or was changed.
    """
    try:
        opener = zlib.decompressobj()
        code = opener.decompress(base64.b85decode("".join(text.split())), LARGEST)
        if not opener.eof:
            raise ValueError
        return code.decode()
    except (ValueError, zlib.error):
        raise ValueError("this sealed cell was changed; copy it again from the notebook that you got") from None


def unseal_exercise(text: str, namespace: dict[str, Any]) -> None:
    """Set up an exercise in a student's notebook, without its last hint, which is the answer.

    Args:
        text: the sealed cell.
        namespace: the notebook's ``globals()``.

    Raises:
        ValueError: if the text is not a seal.
    """
    known = [value for value in namespace.values() if isinstance(value, Exercise)]
    exec(open_seal(text), namespace)
    for value in list(namespace.values()):
        if isinstance(value, Exercise) and not any(value is other for other in known):
            value.hints = value.hints[:-1]


def unseal_solution(text: str, namespace: dict[str, Any], exercise: Exercise) -> None:
    """Give later cells a function that works: the student's if it is right, else the solution.

    Args:
        text: the sealed solution.
        namespace: the notebook's ``globals()``.
        exercise: the exercise that it solves.

    Raises:
        ValueError: if the text is not a seal.
    """
    code = open_seal(text)
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    own = {name: namespace[name] for name in names if name in namespace}
    exec(code, namespace)  # also what else it defines
    if exercise.passed:
        namespace.update(own)
    whose = "your function" if exercise.passed else "a solution that you do not see, until yours is right"
    print(f"{exercise.name}: the cells below use {whose}.")
