"""Parallel loops of kernels: ``for t in prange(threads)`` becomes a function of t, and a call that runs all parts.

numba can do this itself (``parallel=True``). But it analyses the whole function for what else could run in parallel,
and infers the types in the body of the loop twice, which takes a third of the time of compiling. Kernels need only the
simplest case, so here the source is cut in two. From ::

    def scale(x, out, threads):
        n = x.size
        for t in prange(threads):
            lo, hi = chunk(n, t, threads)
            out[lo:hi] = 2 * x[lo:hi]

come the *part*, and a function that calls it through ``minitrain_parallel_for``, the team of ``team.py``::

    def part(t, n, out, threads, x):
        lo, hi = chunk(n, t, threads)
        out[lo:hi] = 2 * x[lo:hi]

    def scale(x, out, threads):
        n = x.size
        run_parts(threads, (n, out, threads, x))

The variables in parentheses are those of the function that the body reads. What the body assigns stays inside of it: a
result must be written to an array.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import device

PARALLEL_FOR = "minitrain_parallel_for"
"""Runs the parallel loops of kernels. The user's numba functions call ``numba_parallel_for``, of another pool."""
WORD, POINTER, NOTHING = ir.IntType(64), ir.IntType(8).as_pointer(), ir.VoidType()
BODY = ir.FunctionType(NOTHING, [POINTER.as_pointer(), WORD.as_pointer(), WORD.as_pointer(), POINTER])


def split(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with each ``prange`` loop as a call of a part. It is meant for numba's compiler.

    Raises:
        ValueError: if a loop assigns a variable that the function reads outside of it.
    """
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list = []
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    names = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    file, first = inspect.getfile(function), function.__code__.co_firstlineno
    cutter = _Cutter(tree)
    tree.body = [cutter.visit(statement) for statement in tree.body]
    for name, part in cutter.parts.items():
        made = _define(part, names, file, first, f"{function.__qualname__}.{name}")
        names[f"run_{name}"] = _runner(device(made))
    made = _define(tree, names, file, first, function.__qualname__)
    made.__module__ = function.__module__
    return made


def is_part(qualname: str) -> bool:
    """Whether this is the name of the body of a loop."""
    return re.search(r"\.part\d+$", qualname) is not None


def _define(tree: ast.FunctionDef, names: dict[str, Any], file: str, first: int, qualname: str) -> Callable[..., Any]:
    """The function of ``tree``; ``names`` are its globals, and its lines are those of ``file`` from ``first`` on."""
    module = ast.fix_missing_locations(ast.increment_lineno(ast.Module([tree], []), first - 1))
    found: dict[str, Any] = {}
    exec(compile(module, file, "exec"), names, found)
    made: Callable[..., Any] = found[tree.name]
    made.__qualname__ = qualname
    return made


class _Cutter(ast.NodeTransformer):
    """Cuts the ``prange`` loops out of a function.

    Attributes:
        parts: the functions made of the loops' bodies, by name.
    """

    def __init__(self, tree: ast.FunctionDef) -> None:
        self.parts: dict[str, ast.FunctionDef] = {}
        inside = {node for loop in ast.walk(tree) if _is_parallel(loop) for node in ast.walk(loop)}
        arguments = {argument.arg for argument in tree.args.args}
        outside = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in inside]
        self._own = arguments | {node.id for node in outside if isinstance(node.ctx, ast.Store)}
        self._read_outside = arguments | {node.id for node in outside if isinstance(node.ctx, ast.Load)}

    def visit_For(self, node: ast.For) -> ast.stmt:
        """Replace a parallel loop by a call, and look into others."""
        if not _is_parallel(node):
            self.generic_visit(node)
            return node
        assert isinstance(node.iter, ast.Call)
        stored = _names(node, ast.Store)
        if escaping := stored & self._read_outside:
            raise ValueError(f"{', '.join(sorted(escaping))}: assigned in a parallel loop, read outside; use an array")
        captured = sorted((_names(node, ast.Load) & self._own) - stored)
        name = f"part{len(self.parts)}"
        assert isinstance(node.target, ast.Name)
        arguments = [ast.arg(argument) for argument in (node.target.id, *captured)]
        self.parts[name] = ast.parse(f"def {name}(): pass").body[0]  # type: ignore[assignment]
        self.parts[name].args.args, self.parts[name].body = arguments, node.body
        values = ast.Tuple([ast.Name(each, ast.Load()) for each in captured], ast.Load())
        call = ast.Call(ast.Name(f"run_{name}", ast.Load()), [node.iter.args[0], values], [])
        return ast.copy_location(ast.Expr(call), node)


def _is_parallel(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.For)
        and isinstance(node.iter, ast.Call)
        and isinstance(node.iter.func, ast.Name)
        and node.iter.func.id == "prange"
    )


def _names(loop: ast.For, kind: type[ast.expr_context]) -> set[str]:
    nodes: Iterable[ast.AST] = (node for statement in (loop.target, *loop.body) for node in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, kind)}


def _runner(part: Any) -> Callable[..., None]:
    """The function of (parts, captured) that calls ``part(p, *captured)`` for all p below ``parts``, on the team."""

    @intrinsic  # type: ignore[untyped-decorator]
    def run(typing: Any, parts: Any, captured: Any) -> Any:
        kinds = tuple(types.unliteral(kind) for kind in captured.types)
        arguments = (types.int64, *kinds)
        part.get_call_template(arguments, {})  # compiles it

        def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            compiled = part.overloads[arguments]
            context.active_code_library.add_linking_library(compiled.library)
            parts, captured = given
            data = cgutils.alloca_once(builder, ir.LiteralStructType([captured.type, WORD]))
            failed = cgutils.gep_inbounds(builder, data, 0, 1)
            builder.store(captured, cgutils.gep_inbounds(builder, data, 0, 0))
            builder.store(WORD(0), failed)
            body = _body(context, builder.module, compiled.fndesc, data.type)
            address = builder.bitcast(data, POINTER)
            # One argument, which grows by a byte from part to part: that is how a body knows its number.
            argument = cgutils.alloca_once_value(builder, address)
            count, step = cgutils.alloca_once_value(builder, parts), cgutils.alloca_once_value(builder, WORD(1))
            with builder.if_else(builder.icmp_signed("==", parts, WORD(1))) as (alone, together):
                with alone:  # no other thread is woken
                    builder.call(body, [argument, count, step, address])
                with together:
                    threads = builder.call(_outside(builder.module, "get_num_threads", WORD), [])
                    pointers = [builder.bitcast(x, POINTER) for x in (body, argument, count, step)]
                    launch = _outside(builder.module, PARALLEL_FOR, NOTHING, *[POINTER] * 5, *[WORD] * 3)
                    # The team does not need the last argument. To numba's pool it is the user's setting.
                    builder.call(launch, [*pointers, address, WORD(0), WORD(1), threads])
            with builder.if_then(builder.icmp_signed("!=", builder.load(failed), WORD(0)), likely=False):
                context.call_conv.return_user_exc(builder, MemoryError, ("no memory for a part of a kernel",))
            return context.get_dummy_value()

        return types.none(types.int64, types.Tuple(kinds)), codegen

    return run  # type: ignore[no-any-return]


def _outside(module: Any, symbol: str, result: Any, *arguments: Any) -> Any:
    return cgutils.get_or_insert_function(module, ir.FunctionType(result, arguments), symbol)


def _body(context: Any, module: Any, part: Any, data_type: Any) -> Any:
    """The entry point of the team: takes the arguments of numba's parallel loops, and runs the parts they stand for."""
    body = ir.Function(module, BODY, f"{part.mangled_name}.parts")
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    args, dims, _, address = body.args
    data = builder.bitcast(address, data_type)
    values = cgutils.unpack_tuple(builder, builder.load(cgutils.gep_inbounds(builder, data, 0, 0)))
    first = builder.sub(builder.ptrtoint(builder.load(args), WORD), builder.ptrtoint(address, WORD))
    callee = context.declare_function(module, part)
    with cgutils.for_range(builder, builder.load(dims)) as loop:
        number = builder.add(first, loop.index)
        arguments = [number, *values]
        # Inlined, the part would lose the width of its vectors, and be compiled with what only this function needs.
        status, _ = context.call_conv.call_function(
            builder, callee, types.none, part.argtypes, arguments, attrs=("noinline",)
        )
        with builder.if_then(status.is_error, likely=False):
            builder.store(WORD(1), cgutils.gep_inbounds(builder, data, 0, 1))
    builder.ret_void()
    return body
