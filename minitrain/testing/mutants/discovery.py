"""Finds what to mutate in a file, and the tests that are about it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError

GRADIENTS = re.compile(r"backward|bwd|vjp|pullback|grad", re.IGNORECASE)
"""Parts of the names of functions that compute gradients."""
FOLDERS = ("tests", "test")
NOT_THERE = {".git", ".venv", "venv", "node_modules", "build", "dist", "__pycache__"}


class Module(NamedTuple):
    """How a file is imported."""

    name: str
    """Such as ``my_package.layers``."""
    root: Path
    """The folder that must be on Python's path."""


def module_of(path: str | Path) -> Module:
    """The module that a file is: its packages are the folders above it that have an ``__init__.py``.

    Raises:
        ConfigError: if there is no such file, or its name cannot be imported.
    """
    file = Path(path).resolve()
    if not file.is_file() or file.suffix != ".py":
        raise ConfigError(f"there is no Python file {path}")
    parts, root = [file.stem], file.parent
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__":
        parts.pop()
    if wrong := [part for part in parts if not part.isidentifier()]:
        raise ConfigError(f"{path} cannot be imported: {wrong[0]!r} is no name in Python")
    return Module(".".join(parts), root)


def functions_in(path: str | Path, wanted: Collection[str] = ()) -> list[str]:
    """Names of functions and methods, such as ``Gate.backward``, in the order of the file.

    Args:
        path: the file; it is read, not run.
        wanted: names of functions, methods, or classes (all their methods); by default every function whose name says
            that it computes gradients.

    Raises:
        ConfigError: if the file is no Python, or there is no such function.
    """
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"{path} is no Python: {error}") from error
    every = list(_functions(tree))
    if not wanted:
        chosen = [name for name in every if GRADIENTS.search(name.rpartition(".")[2])]
        if not chosen:
            raise ConfigError(
                f"no function of {path} has 'backward', 'bwd', 'vjp' or 'grad' in its name: name some of "
                f"{', '.join(every) or 'its functions; it has none'}"
            )
        return chosen
    if unknown := [name for name in wanted if not any(_is(found, name) for found in every)]:
        raise ConfigError(f"there is no function {unknown[0]} in {path}; there are {', '.join(every)}")
    return [found for found in every if any(_is(found, name) for name in wanted)]


def _is(found: str, name: str) -> bool:
    return found == name or found.startswith(f"{name}.") or found.rpartition(".")[2] == name


def _functions(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef))


def tests_of(module: Module, path: str | Path) -> list[Path]:
    """The test files, next to the file or in folders ``tests`` above it, that name its module.

    Raises:
        ConfigError: if there is none.
    """
    file = Path(path).resolve()
    folders = [
        file.parent,
        *(above / name for above in file.parents for name in FOLDERS if above.is_relative_to(module.root.parent)),
    ]
    word = re.compile(rf"\b{re.escape(module.name.rpartition('.')[2])}\b")
    found: list[Path] = []
    for folder in folders:
        if folder.is_dir():
            deep = folder.name in FOLDERS
            for test in sorted([*folder.glob("**/test_*.py" if deep else "test_*.py"), *folder.glob("*_test.py")]):
                if not NOT_THERE & set(test.parts) and word.search(test.read_text(encoding="utf-8", errors="replace")):
                    found.append(test)
    if not found:
        raise ConfigError(
            f"no test file next to {path}, or in a folder tests above it, names {module.name}: give --tests FILE"
        )
    return list(dict.fromkeys(found))
