"""Which functions get mistakes: every backward with its helpers, steps of optimizers, rates, the choice of tokens."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import minitrain.generation
import minitrain.optim
from minitrain.backend.precision import operand_like
from minitrain.ops import op, registry
from minitrain.testing.mutants import Target

ROOT = Path(__file__).resolve().parents[2]
# The contract hands arrays over and computes nothing.
CONTRACT = op.__module__
# How backwards round their operands.
ROUNDING = operand_like.__module__
# These files of optim choose, check, load and draw.
NO_FORMULAS = {"checks", "factory", "groups", "plot", "registry", "settings", "state"}
SETTING_UP = ("__init__", "__post_init__", "state_dict", "load_state_dict")
# These files of generation choose tokens, and decide what each sample gets.
CHOOSING = {"bans", "choosing", "context", "cuts", "engine", "penalties", "requests"}
# Parts of minitrain that have mistakes, or stand close to what has.
UNITS = {"backend", "errors", "generation", "losses", "models", "nn", "ops", "optim", "random", "testing"}


def targets() -> dict[str, Target]:
    """All targets by name: what is registered, and what is found in the files."""
    found: dict[str, Target] = {}
    for pair in registry().values():
        _reach(pair.backward.reference, found)  # type: ignore[attr-defined]
    for module in _modules():
        for function, owner in _functions(importlib.import_module(module)):
            if function.__name__ not in SETTING_UP:
                target = Target(function, owner)
                found.setdefault(target.name, target)
    return found


def files_of_tests() -> list[str]:
    """The test files about these parts: they import nothing of minitrain that stands above them."""
    found = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "peers" not in path.parts)
    return [str(path) for path in found if _is_about_units(path.read_text(encoding="utf-8"))]


def _is_about_units(source: str) -> bool:
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    modules = {name if "." in name else f"{name}." for name in modules if name.startswith("minitrain")}
    parts = {name.split(".")[1] for name in modules}
    return (bool(parts & {"generation", "ops", "optim", "nn"}) or ROUNDING in modules) and parts <= UNITS


def _modules() -> Iterator[str]:
    """The files whose functions all get mistakes."""
    for package in (minitrain.optim, minitrain.generation):
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            name = entry.name.rpartition(".")[2]
            if not entry.ispkg and (name in CHOOSING if package is minitrain.generation else name not in NO_FORMULAS):
                yield entry.name


def _reach(function: FunctionType, found: dict[str, Target]) -> None:
    """Add a function and the helpers that it calls by name, in ``minitrain.ops`` and of rounding."""
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
    here = module.startswith("minitrain.ops.") or module == ROUNDING
    return here and module != CONTRACT and not function.__name__.endswith("_forward")


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
