"""The array functions that minitrain calls exist in CuPy, with the same keywords.

CuPy imports without a GPU, so its real namespace can be asked. What the code calls is read from its syntax trees:
``xp.function(..., keyword=...)``, ``array_module(x).function(...)``, and methods of arrays.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minitrain

ROOT = Path(minitrain.__file__).parent
PARTS = ("ops", "nn", "losses", "models", "optim", "backend", "generation", "testing", "random.py")
HOST_ONLY = (
    "backend/pool.py",
    "backend/cpu/jit.py",
    "backend/cpu/products/blas.py",
    "testing/strategies.py",
)  # NumPy and numba alone
LIBRARY_CALLS = ("array_module", "library_for")
# Names that arrays share with other objects, and which are used on those here.
NOT_OF_ARRAYS = {"copy", "get", "item", "data", "flags", "strides", "ctypes", "base", "sort", "partition", "all", "any"}


class Use(NamedTuple):
    """One function of the array library (``"add.at"``) or method of an array, as called."""

    name: str
    keywords: frozenset[str]
    positional: int
    where: str


def sources() -> list[Path]:
    files = [file for part in PARTS for file in ((ROOT / part).rglob("*.py") if "." not in part else [ROOT / part])]
    return [file for file in files if file.relative_to(ROOT).as_posix() not in HOST_ONLY]


def library_path(node: ast.expr) -> str | None:
    """``"add.at"`` for ``xp.add.at`` and for ``array_module(x).add.at``, ``None`` for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    from_name = isinstance(node, ast.Name) and node.id == "xp"
    from_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LIBRARY_CALLS
    return ".".join(reversed(names)) if names and (from_name or from_call) else None


def calls(text: str, file: str) -> Iterator[tuple[ast.Call | None, ast.Attribute, str]]:
    """Every attribute in a file, with the call it is the function of, if it is."""
    tree = ast.parse(text)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield called.get(id(node)), node, f"{file}:{node.lineno}"


def use(name: str, call: ast.Call | None, where: str) -> Use:
    keywords = frozenset(k.arg for k in call.keywords if k.arg is not None) if call else frozenset()
    return Use(name, keywords, len(call.args) if call else 0, where)


def library_uses(text: str, file: str = "") -> list[Use]:
    found = [(call, library_path(node), where) for call, node, where in calls(text, file)]
    return [use(name, call, where) for call, name, where in found if name and name != "__name__"]


def method_uses(text: str, file: str = "") -> list[Use]:
    """Calls of what may be methods of arrays, by name."""
    methods = {name for name in dir(np.ndarray) if not name.startswith("_")} - NOT_OF_ARRAYS
    return [
        use(node.attr, call, where)
        for call, node, where in calls(text, file)
        if call is not None
        and node.attr in methods
        and library_path(node) is None
        and not (isinstance(node.value, ast.Name) and node.value.id in ("np", "numpy", "math", "json"))
    ]


def parameters(function: Any) -> set[str] | None:
    """The names of a function's parameters, from its signature or its docstring; ``None`` if neither tells."""
    try:
        signature = inspect.signature(function)
        if all(p.kind is not p.VAR_KEYWORD for p in signature.parameters.values()):
            return set(signature.parameters)
    except (TypeError, ValueError):
        pass
    documentation = function.__doc__ or ""
    first = re.match(r"\s*[\w.]+\((.*?)\)\s*(?:->.*)?(?:\n|$)", documentation, re.DOTALL)
    if first is None:
        return None
    named = set(re.findall(r"(\w+)\s*(?=[=,)\]]|$)", first.group(1)))
    return named | set(re.findall(r"^\s+(\w+) \(", documentation, re.MULTILINE))  # "name (type): what it is"


def problems(uses: list[Use], namespace: Any) -> list[str]:
    """What a library lacks of what is used."""
    found = []
    for name, keywords, _, where in uses:
        target = namespace
        for part in name.split("."):
            target = getattr(target, part, None)
        if target is None:
            found.append(f"{where}: {name} does not exist")
        elif keywords and (known := parameters(target)) is not None and not keywords <= known:
            found.append(f"{where}: {name} takes no {', '.join(sorted(keywords - known))}")
    return found


@pytest.fixture(scope="module")
def cupy():
    reason = "CuPy is not installed here (pip install 'minitrain[gpu]'): its namespace cannot be asked"
    return pytest.importorskip("cupy", reason=reason)


def all_uses(collect: Any) -> list[Use]:
    return [u for file in sources() for u in collect(file.read_text(), file.relative_to(ROOT).as_posix())]


def test_uses_are_found():
    """Nothing below would fail if nothing were collected."""
    functions = {u.name for u in all_uses(library_uses)}
    assert functions >= {"exp", "where", "matmul", "arange", "add.at", "uint64", "take_along_axis", "zeros"}
    methods = {(u.name, keyword) for u in all_uses(method_uses) for keyword in u.keywords}
    assert methods >= {("sum", "axis"), ("mean", "keepdims"), ("max", "axis"), ("sum", "dtype")}


def test_cupy_has_every_function(cupy):
    assert problems(all_uses(library_uses), cupy) == []


def test_cupy_arrays_have_every_method(cupy):
    assert problems(all_uses(method_uses), cupy.ndarray) == []


def test_cupy_has_the_special_functions(cupy):
    assert callable(pytest.importorskip("cupyx.scipy.special").erfc)


def test_numpy_is_not_used_behind_the_arrays_back():
    """Reference code takes its library from the array: ``np`` in ``ops`` is for types and the host alone."""
    allowed = {"ndarray", "dtype", "float32", "float64", "int64", "uint64", "unravel_index", "random"}
    for file in (ROOT / "ops").glob("*.py"):
        for _, node, where in calls(file.read_text(), file.name):
            if isinstance(node.value, ast.Name) and node.value.id == "np":
                assert node.attr in allowed, f"{where}: np.{node.attr} would fail on a GPU's array"


def test_a_missing_function_is_noticed(cupy):
    text = "xp.frobnicate(x)\nxp.where(a, b, otherwise=c)\narray_module(x).exp(x, dtype=d)\nxp.sum(x, axis=0, colour=1)"
    uses = library_uses(text, "f.py")
    assert [u.name for u in uses] == ["frobnicate", "where", "exp", "sum"]
    assert problems(uses, cupy) == [
        "f.py:1: frobnicate does not exist",
        "f.py:2: where takes no otherwise",
        "f.py:4: sum takes no colour",
    ]
    assert problems(method_uses("x.sum(axis=0, sideways=True)\nnp.sum(x, no=1)", "g.py"), cupy.ndarray) == [
        "g.py:1: sum takes no sideways"
    ]


def test_numpy_itself_passes():
    """The collection and the check agree with the library the tests run on; a device is CuPy's alone."""
    shared = [u for u in all_uses(library_uses) if u.name.partition(".")[0] not in ("cuda", "get_default_memory_pool")]
    assert problems(shared, np) == []
    assert problems(all_uses(method_uses), np.ndarray) == []
