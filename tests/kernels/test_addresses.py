"""Memory outlives its address. Numba frees an array after its last use, and does not know that its address is in use.

An argument lives until the function returns, since its caller holds it. An array that a function makes itself does
not: it has to be given to `keep_alive` as the last statement of the function, or of the loop that makes it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import minitrain
from minitrain.backend.cpu._simd import keep_alive
from minitrain.backend.cpu.jit import Kernel, device, kernel

PACKAGE = Path(minitrain.__file__).parent
FILES = [*sorted((PACKAGE / "kernels").rglob("*.py")), *sorted((PACKAGE / "backend" / "cpu").rglob("*.py"))]
COMPILED = {"kernel", "device"}
ALSO_COMPILED = {"sgemm", "product", "repeats", "float32", "bfloat16", "times_panels"}
"""Functions without a decorator that are compiled all the same."""


PLACES = {
    "attention_blocks.py": 2, "embedding.py": 4, "gemm.py": 6, "peak.py": 1, "bf16_product.py": 2, "sgemm.py": 1,
    "_attend.py": 6, "_panels.py": 5, "_columns.py": 2,
}  # fmt: skip
"""How often each file takes an address."""


def compiled_functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            decorators = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            names = {d.id for d in decorators if isinstance(d, ast.Name)}
            if names & COMPILED or node.name in ALSO_COMPILED:
                yield node


def base(node: ast.expr) -> str | None:
    """The variable whose memory an expression such as ``x[1:].T`` has; ``None`` for memory of its own."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def taken(function: ast.FunctionDef) -> list[ast.Attribute]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.attr == "ctypes"]


def problems(function: ast.FunctionDef) -> list[str]:
    """The addresses that may be used after their memory was freed."""
    arguments = {a.arg for a in function.args.args}
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for one, value in pairs:
                    for name in ast.walk(one):
                        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                            values.setdefault(name.id, []).append(value)
        elif isinstance(node, ast.For | ast.AugAssign | ast.NamedExpr):
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    values.setdefault(name.id, []).append(ast.Constant(None))
    end = function.body[-1]
    if isinstance(end, ast.For):  # what the loop makes lives until the end of its turn
        made = {
            target.id
            for s in end.body
            if isinstance(s, ast.Assign)
            for target in s.targets
            if isinstance(target, ast.Name)
        }
        end = end.body[-1]
    else:
        made = set(values)
    end = end.value if isinstance(end, ast.Expr) else end
    kept = set()
    if isinstance(end, ast.Call) and isinstance(end.func, ast.Name) and end.func.id == "keep_alive":
        kept = {a.id for a in end.args if isinstance(a, ast.Name)} & made
    leaves_early = any(isinstance(node, ast.Return) for node in ast.walk(function))

    def lives(name: str | None, seen: frozenset[str] = frozenset()) -> bool:
        if name is None or name in seen:
            return False
        if name not in values:
            return name in arguments  # a variable of the module is not compiled in as an array
        if name in kept and len(values[name]) == 1 and not leaves_early:
            return True
        choices = [branch for v in values[name] for branch in ([v.body, v.orelse] if isinstance(v, ast.IfExp) else [v])]
        return all(lives(base(choice), seen | {name}) for choice in choices)

    return [
        f"{function.name}, line {use.lineno}: {ast.unparse(use)} may be freed before its address is used; give "
        "it to keep_alive() in the last statement"
        for use in taken(function)
        if not lives(base(use.value))
    ]


def found_in(source: str) -> list[str]:
    return [p for function in compiled_functions(ast.parse(textwrap.dedent(source))) for p in problems(function)]


def test_no_address_outlives_its_memory() -> None:
    places: dict[str, int] = {}
    for path in FILES:
        tree = ast.parse(path.read_text())
        compiled = list(compiled_functions(tree))
        assert [p for function in compiled for p in problems(function)] == [], path
        if count := sum(len(taken(function)) for function in compiled):
            places[path.name] = count
    # These are all places: a new one is looked at by whoever adds it here.
    assert places == PLACES


@pytest.mark.parametrize("file", PLACES)
def test_the_check_fails_without_the_precaution(file: str) -> None:
    """In each place: an array made in the function instead of an argument, or no `keep_alive`."""
    path = next(path for path in FILES if path.name == file)
    for function in compiled_functions(ast.parse(path.read_text())):
        for name in {base(use.value) for use in taken(function)}:
            spoilt = ast.parse(ast.unparse(function)).body[0]
            assert isinstance(spoilt, ast.FunctionDef)
            last = spoilt.body[-1]
            if isinstance(last, ast.For) and "keep_alive" in ast.unparse(last.body[-1]):
                last.body.pop()
            elif "keep_alive" in ast.unparse(last):
                spoilt.body.pop()
            else:
                spoilt.body.insert(1, ast.parse(f"{name} = np.zeros((4, 4))").body[0])
            assert problems(spoilt), (function.name, name)


@pytest.mark.parametrize(
    "body",
    [
        "address = np.empty(n).ctypes.data",
        "memory = np.empty(n); address = memory.ctypes.data",
        "memory = np.empty(n); address = memory[2:].ctypes.data",
        "memory = np.empty(n); address = memory.ctypes.data; keep_alive(memory); use(address)",
        "memory = np.empty(n); memory = np.ones(n); use(memory.ctypes); keep_alive(memory)",
        "memory = np.empty(n); view = memory[1:]; use(view.ctypes); n = 2",
        "memory = x if n else np.empty(n); use(memory.ctypes)",
        "for memory in x: use(memory.ctypes)",
        "memory = np.empty(n); address = memory.ctypes\n    if n: return\n    keep_alive(memory)",
        "memory = np.empty(n); address = memory.ctypes\n    for i in x:\n        keep_alive(memory)",
    ],
)
def test_what_the_check_finds(body: str) -> None:
    assert found_in(f"@kernel('void()')\ndef f(x, n):\n    {body}")


@pytest.mark.parametrize(
    "body",
    [
        "use(x.ctypes.data)",
        "use(x[1:].T.ctypes.data)",
        "view = x[n]; use(view.ctypes)",
        "memory = x if n else y; use(memory.ctypes)",
        "memory = np.empty(n); use(memory.ctypes.data); keep_alive(memory)",
        "memory = np.empty(n); view = memory[1:]; use(view.ctypes.data); keep_alive(memory)",
        "for i in x:\n        memory = np.empty(n); use(memory.ctypes.data); keep_alive(memory)",
    ],
)
def test_what_it_allows(body: str) -> None:
    assert found_in(f"@device\ndef f(x, y, n):\n    {body}") == []


@kernel("void(i8, i8[::1])", parallel=False)
def forgotten(n, addresses):
    memory = np.empty(n, np.float32)
    addresses[0] = memory.ctypes.data
    for i in range(1, addresses.size):  # numba frees at the end of a block of code without branches
        other = np.empty(n, np.float32)
        addresses[i] = other.ctypes.data


@kernel("void(i8, i8[::1])", parallel=False)
def kept(n, addresses):
    memory = np.empty(n, np.float32)
    addresses[0] = memory.ctypes.data
    for i in range(1, addresses.size):
        other = np.empty(n, np.float32)
        addresses[i] = other.ctypes.data
    keep_alive(memory)


@device
def compare(x, addresses):
    addresses[0] = x.ctypes.data
    for i in range(1, addresses.size):
        other = np.empty(x.size, np.float32)
        addresses[i] = other.ctypes.data


@kernel("void(i8, i8[::1])", parallel=False)
def passed_on(n, addresses):
    compare(np.empty(n, np.float32), addresses)


@kernel("void(i8, i8[::1])", parallel=False)
def passed_on_as_a_view(n, addresses):
    memory = np.empty((1, n), np.float32)
    compare(memory[0], addresses)


def is_taken_again(function: Kernel, n: int) -> bool:
    """Whether memory that is asked for after an address was taken lies at that address."""
    addresses = np.zeros(20, np.int64)
    function(n, addresses)
    return bool((addresses[0] == addresses[1:]).any())


def test_numba_frees_what_it_does_not_see_in_use() -> None:
    """The danger is real, and it does not arise for arguments or with `keep_alive`."""
    sizes = [64, 1000, 4096]
    assert any(is_taken_again(forgotten, n) for n in sizes), "then keep_alive is not needed any more"
    for function in (kept, passed_on, passed_on_as_a_view):
        assert not any(is_taken_again(function, n) for n in sizes), function
