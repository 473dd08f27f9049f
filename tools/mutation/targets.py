"""Functions that get mistakes: backwards of both orders, their helpers, optimizers, and the parts of own_tests.py."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import minitrain.optim
from minitrain.backend.precision import operand_like
from minitrain.ops import op, registry, second_order_registry
from minitrain.testing.mutants import Target

from .own_tests import OWN_TESTS

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
# The contract hands arrays over and computes nothing.
CONTRACT = op.__module__
# How backwards round their operands.
ROUNDING = operand_like.__module__
# These files of optim choose, check, load and draw.
NO_FORMULAS = {"checks", "factory", "groups", "picture", "plot", "registry", "settings", "state"}
SETTING_UP = ("__init__", "__post_init__", "state_dict", "load_state_dict")
DRAWING = {"plot"}  # tests do not look at a picture
OPERATIONS, OPTIMIZERS = "operations", "optimizers"
# Parts of minitrain that have mistakes, or stand close to what has.
UNITS = {"backend", "errors", "generation", "losses", "models", "nn", "ops", "optim", "random", "testing"}


def parts() -> dict[str, dict[str, Target]]:
    """The functions of each part, by their names. A function is in one part."""
    taken: set[FunctionType] = set()
    found: dict[str, dict[str, Target]] = {name: {} for name in (OPERATIONS, OPTIMIZERS, *OWN_TESTS)}
    for part, modules in OWN_TESTS.items():
        for module in modules:
            for function, owner in _functions(importlib.import_module(f"minitrain.{module}")):
                _add(found[part], Target(function, owner), taken)
    for pair in registry().values():
        _reach(pair.backward.reference, found[OPERATIONS], taken)  # type: ignore[attr-defined]
    for name in sorted({pair.backward.__module__ for pair in second_order_registry().values()}):
        for function, owner in _functions(importlib.import_module(name)):
            _add(found[OPERATIONS], Target(function, owner), taken)
    for name in _optimizers():
        for function, owner in _functions(importlib.import_module(name)):
            if function.__name__ not in SETTING_UP:
                _add(found[OPTIMIZERS], Target(function, owner), taken)
    return found


def targets() -> dict[str, Target]:
    """All functions of all parts, by their names."""
    every: dict[str, Target] = {}
    for found in parts().values():
        if doubled := every.keys() & found.keys():
            raise ValueError(f"two parts have functions of the names {', '.join(sorted(doubled))}: rename one")
        every |= found
    return every


def files_of_tests(chosen: Iterable[Target]) -> list[str]:
    """The test files for these functions: those named for their files, and for all others those about these parts."""
    chosen = list(chosen)
    own = own_tests(chosen)
    found = {test for tests in own.values() for test in tests}
    others = {target.function.__module__ for target in chosen if target.name not in own}
    if any(not module.startswith("minitrain.optim.") for module in others):
        paths = (path for path in TESTS.rglob("test_*.py") if not {"docs", "peers"} & {*path.parts})
        found.update(path for path in paths if _is_about_units(path.read_text(encoding="utf-8")))
    elif others:
        found.update((TESTS / "optim").rglob("test_*.py"))
    return sorted(map(str, found))


def own_tests(chosen: Iterable[Target]) -> dict[str, list[Path]]:
    """The test files that are named for the files of functions, by the names of the functions."""
    own = {f"minitrain.{module}": tests for modules in OWN_TESTS.values() for module, tests in modules.items()}
    return {
        target.name: [TESTS / test for test in own[target.function.__module__]]
        for target in chosen
        if target.function.__module__ in own
    }


def _add(found: dict[str, Target], target: Target, taken: set[FunctionType]) -> None:
    if target.function in taken:
        return
    if target.name in found:
        raise ValueError(f"two functions of a part have the name {target.name}: rename one of their files")
    taken.add(target.function)
    found[target.name] = target


def _is_about_units(source: str) -> bool:
    """Whether a test imports nothing of minitrain that stands above operations, layers and optimizers."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    modules = {name if "." in name else f"{name}." for name in modules if name.startswith("minitrain")}
    parts_of = {name.split(".")[1] for name in modules}
    return (bool(parts_of & {"generation", "ops", "optim", "nn"}) or ROUNDING in modules) and parts_of <= UNITS


def _optimizers() -> Iterator[str]:
    """The files of optim that have formulas."""
    for entry in pkgutil.walk_packages(minitrain.optim.__path__, f"{minitrain.optim.__name__}."):
        if not entry.ispkg and entry.name.rpartition(".")[2] not in NO_FORMULAS:
            yield entry.name


def _reach(function: FunctionType, found: dict[str, Target], taken: set[FunctionType]) -> None:
    """Add a function and the helpers that it calls by name, in ``minitrain.ops`` and of rounding."""
    if function in taken:
        return
    _add(found, Target(function, ""), taken)
    for name in _names(function.__code__):
        helper = inspect.unwrap(function.__globals__.get(name))  # type: ignore[arg-type]
        if isinstance(helper, FunctionType) and _is_helper(helper):
            _reach(helper, found, taken)


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
            # A property has a function, and a class method wraps one.
            function = member.fget if isinstance(member, property) else inspect.unwrap(member)
            # The file tells what is written there from what a NamedTuple or a dataclass was given.
            if not isinstance(function, FunctionType) or function.__name__ in DRAWING:
                continue
            if function.__code__.co_filename == module.__file__:
                yield function, owner
