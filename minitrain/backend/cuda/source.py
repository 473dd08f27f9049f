"""Files of kernels, and what Python declares of the kernels in them."""

from __future__ import annotations

import re
from pathlib import Path

from .signature import Parameter

KERNELS = Path(__file__).parents[2] / "kernels" / "cuda"
INCLUDE = KERNELS / "include"
_BOUNDS = re.compile(r"__launch_bounds__\((\d+)\s*(?:,[^)]*)?\)\s*(\w+)\s*\(")


class SourceFile:
    """A ``.cu`` file and the kernels of it that Python uses.

    Args:
        path: below ``minitrain/kernels/cuda``.
        text: the code, if it is not that of the file (a test that plants a mistake).

    Attributes:
        kernels: those declared, in order.
    """

    def __init__(self, path: str, text: str | None = None) -> None:
        self.path, self.kernels, self._text = path, list[Declaration](), text

    @property
    def file(self) -> Path:
        """Where the code is."""
        return KERNELS / self.path

    @property
    def text(self) -> str:
        """The code."""
        return self.file.read_text() if self._text is None else self._text

    def launch_bounds(self) -> dict[str, int]:
        """The most threads of a block that kernels are compiled for, where the text says so in a number."""
        return {name: int(most) for most, name in _BOUNDS.findall(self.text)}


class Declaration:
    """The description of a kernel for Python.

    Args:
        source: the file that it is in.
        name: of the function in C++, with its template arguments.
        parameters: its parameters.
    """

    def __init__(self, source: SourceFile, name: str, parameters: tuple[Parameter, ...]) -> None:
        self.source, self.name, self.parameters = source, name, parameters

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source.path}: {self.name})"
