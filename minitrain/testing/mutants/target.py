"""A function that gets mistakes: its syntax, and exchanging its code."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from .mistakes import Mutant, compile_function, mutants


@dataclass(frozen=True)
class Target:
    """A function whose code can be exchanged; every reference to the function then runs the other code.

    Attributes:
        function: without decorators.
        owner: the class of a method, or an empty string.
    """

    function: FunctionType
    owner: str

    @property
    def name(self) -> str:
        """File and function, such as ``softmax.softmax_backward`` or ``nadam.NAdam.update``."""
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__qualname__}"

    @property
    def reference(self) -> tuple[str, str]:
        """The name by which another process finds it: module and qualified name."""
        return self.function.__module__, self.function.__qualname__

    @property
    def path(self) -> str:
        """Its file, from the working directory if it lies within."""
        path = Path(inspect.getfile(self.function)).resolve()
        here = Path(os.getcwd())
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    @property
    def folder(self) -> str:
        """The package that its module is in, or the module itself."""
        return _folder(self.function.__module__)

    @functools.cached_property
    def tree(self) -> ast.FunctionDef:
        """Its syntax, with the line numbers of the file."""
        lines, first = inspect.getsourcelines(self.function)
        indented = "if True:\n" + "".join(lines) if self.owner else "".join(lines)
        tree = ast.parse(indented).body[0]
        node: Any = tree.body[0] if isinstance(tree, ast.If) else tree
        return ast.increment_lineno(node, first - 1 - bool(self.owner))  # type: ignore[no-any-return]

    def mutants(self) -> Iterator[Mutant]:
        """All its mutants, always in the same order."""
        return mutants(self.tree)

    def compiled(self, tree: ast.FunctionDef) -> CodeType:
        """Code to exchange for the function's."""
        free = self.function.__code__.co_freevars
        return compile_function(tree, self.owner, inspect.getfile(self.function), free)

    def forget(self) -> None:
        """Empty the caches of the modules in its folder: they may hold what the code before has computed."""
        for name, module in list(sys.modules.items()):
            if _folder(name) == self.folder:
                for value in list(vars(module).values()):
                    if hasattr(value, "cache_clear"):
                        value.cache_clear()


def _folder(module: str) -> str:
    return module.rpartition(".")[0] or module


def target_of(function: Callable[..., Any] | str) -> Target:
    """The target for a function or method of a module.

    Args:
        function: itself, decorated or not, or its name, such as ``"my_package.layers:Gate.backward"``.

    Raises:
        ValueError: if it is no function written in Python at the top of a module or in a class there.
    """
    if isinstance(function, str):
        module, _, path = function.partition(":")
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            if part not in vars(found):
                raise ValueError(f"{function}: there is no {part} in {found.__name__}")
            found = vars(found)[part]
            found = found.fget if isinstance(found, property) else inspect.unwrap(found)
    else:
        found = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(found, FunctionType) or "<" in found.__qualname__:
        raise ValueError(f"{function!r} is no function at the top of a module, and no method of a class there")
    return Target(found, found.__qualname__.rpartition(".")[0].rpartition(".")[2])
