"""The functions that get mistakes: every backward with its helpers, what the optimizers do in a step, and the rates."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import minitrain.ops
import minitrain.optim
import minitrain.optim.rules
import minitrain.optim.schedules
from minitrain.ops import registry

from .mutants import Mutant, compile_function, mutants

ROOT = Path(__file__).resolve().parents[2]
# The contract hands arrays over and computes nothing; these parts of optim choose, check, load and draw.
NO_FORMULAS = {
    "minitrain.ops.contract.op",
    *(f"minitrain.optim.{part}" for part in ("checks", "factory", "groups", "plot", "registry", "settings", "state")),
}
SETTING_UP = ("__init__", "__post_init__", "state_dict", "load_state_dict")


@dataclass(frozen=True)
class Target:
    """A function whose code can be exchanged; every reference to the function then runs the other code."""

    function: FunctionType
    owner: str  # the class of a method, or an empty string

    @property
    def name(self) -> str:
        """Such as ``softmax.softmax_backward`` or ``nadam.NAdam.update``."""
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__qualname__}"

    @property
    def path(self) -> str:
        """Its file, from the root of the repository."""
        return str(Path(inspect.getfile(self.function)).relative_to(ROOT))

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
        """Empty the caches of its module: they hold what the code before has computed."""
        for value in vars(importlib.import_module(self.function.__module__)).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def targets() -> dict[str, Target]:
    """All targets by name: what is registered, and what is found in the files."""
    found: dict[str, Target] = {}
    for pair in registry().values():
        _reach(pair.backward.reference, found)  # type: ignore[attr-defined]
    for module in (*_modules(minitrain.optim), *_modules(minitrain.optim.rules), *_modules(minitrain.optim.schedules)):
        for function, owner in _functions(module):
            if function.__name__ not in SETTING_UP:
                target = Target(function, owner)
                found.setdefault(target.name, target)
    return found


def _reach(function: FunctionType, found: dict[str, Target]) -> None:
    """Add a function and, through the names in its code, the helpers of ``minitrain.ops`` that it calls."""
    target = Target(function, "")
    if target.name in found:
        return
    found[target.name] = target
    for name in _names(function.__code__):
        helper = inspect.unwrap(function.__globals__.get(name))  # type: ignore[arg-type]
        if isinstance(helper, FunctionType) and _is_helper(helper):
            _reach(helper, found)


def _names(code: CodeType) -> Iterator[str]:
    """The global names that code uses, its inner functions and comprehensions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_helper(function: FunctionType) -> bool:
    module = function.__module__
    return (
        module.startswith("minitrain.ops.") and module not in NO_FORMULAS and not function.__name__.endswith("_forward")
    )


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not entry.ispkg and entry.name not in NO_FORMULAS:
            yield importlib.import_module(entry.name)


def _functions(module: ModuleType) -> Iterator[tuple[FunctionType, str]]:
    """The functions and methods that a module defines, each with its class."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = [(v, value.__name__) for v in vars(value).values()] if isinstance(value, type) else [(value, "")]
        for member, owner in members:
            function = inspect.unwrap(member)  # a class method is no function, but wraps one
            # The file tells what is written there from what a NamedTuple or a dataclass was given.
            if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                yield function, owner
