"""The mutants of a function: all its variants with one small mistake, made on the syntax tree.

Each kind of mistake is one that people make in a backward: a wrong operator, a sign, a constant, an axis, a term that
was left out, two arguments that changed places, a comparison at its boundary.
"""

from __future__ import annotations
import __future__

import ast
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

KINDS = ("operator", "comparison", "sign", "constant", "axis", "term", "swap")

FunctionNode = ast.FunctionDef

_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_TWO_SIDED = (ast.Add, ast.Sub, ast.Mult, ast.BitAnd, ast.BitOr)  # either side can be the forgotten one
_ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)  # a ∘ b is not b ∘ a
# Changes that cannot make a difference are not made: these functions take their arguments in any order, ...
_COMMUTATIVE = {"max", "maximum", "min", "minimum", "swapaxes"}
_ZEROS = {"empty", "zeros", "zeros_like"}  # ... and zero has no sign,
_TRUTHS = {"all", "any", "bool", "callable", "hasattr", "isinstance"}  # ... nor has what is true or false
_TAKE_AXES = {"swapaxes", "transpose", "moveaxis", "expand_dims", "reshape", "sum", "mean", "max"}


@dataclass(frozen=True)
class Mutant:
    """One mistake in one function."""

    kind: str  # one of KINDS
    line: int  # in the file
    before: str  # the statement as it is, on one line
    after: str  # the statement with the mistake
    tree: FunctionNode  # the function with the mistake


def mutants(function: FunctionNode) -> Iterator[Mutant]:
    """All mutants of a function, without repetitions.

    Args:
        function: its tree, with the line numbers of its file; decorators, defaults and annotations stay as they are.
    """
    tree = copy.deepcopy(function)
    seen = {ast.dump(tree)}
    for body, index in _statements(tree):
        statement = body[index]
        before = _headline(statement)
        for kind in _mistakes(body, index):
            # Within this loop the tree has the mistake; the generator takes it back.
            if (dump := ast.dump(tree)) not in seen:
                seen.add(dump)
                yield Mutant(kind, statement.lineno, before, _headline(body[index]), copy.deepcopy(tree))


def compile_function(tree: FunctionNode, owner: str, filename: str, free: Collection[str] = ()) -> CodeType:
    """The code object of a function.

    Args:
        tree: the function.
        owner: the class it is a method of, or an empty string; ``super()`` and private names need it.
        filename: of its file, for tracebacks.
        free: names it must close over, used or not, such as ``__class__`` for ``super()``: only code that closes over
            the same names can take the place of other code.
    """
    bare = copy.copy(tree)
    bare.decorator_list = []
    bare.body = [*tree.body, *(ast.parse(f"if False:\n    {name}").body[0] for name in free)]
    inside: ast.stmt = bare
    if owner:
        inside = ast.ClassDef(name=owner, bases=[], keywords=[], body=[bare], decorator_list=[])
    module = ast.fix_missing_locations(ast.Module(body=[inside], type_ignores=[]))
    flags = __future__.annotations.compiler_flag
    code = compile(module, filename, "exec", flags=flags, dont_inherit=True)
    if owner:
        code = _constant_code(code, owner)
    return _constant_code(code, tree.name)


def _constant_code(code: CodeType, name: str) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def _headline(statement: ast.stmt) -> str:
    """The statement on one line, without the block beneath it."""
    return ast.unparse(statement).splitlines()[0]


def _statements(tree: ast.AST) -> Iterator[tuple[list[ast.stmt], int]]:
    """Every statement within ``tree`` as the list it stands in and its place there; docstrings are none."""
    for field in ("body", "orelse", "finalbody"):
        body = getattr(tree, field, None)
        if isinstance(body, list):
            for index, statement in enumerate(body):
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    yield body, index
                    yield from _statements(statement)


def _mistakes(body: list[ast.stmt], index: int) -> Iterator[str]:
    """Make each mistake in one statement, not in the block beneath it, in turn; yields its kind while it is there."""
    statement = body[index]
    if isinstance(statement, ast.AugAssign | ast.Expr) or _writes_in_place(statement):
        body[index] = ast.copy_location(ast.Pass(), statement)
        yield "term"
        body[index] = statement
    if isinstance(statement, ast.AugAssign) and type(statement.op) in _OPERATORS:
        before = statement.op
        statement.op = _OPERATORS[type(before)]()
        yield "operator"
        statement.op = before
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
        yield from _swaps(statement.value.elts)
    for parent, field, place in _expressions(statement):
        container = getattr(parent, field)
        node = container if place is None else container[place]
        for kind, replacement in list(_replacements(node, parent, field)):
            _put(parent, field, place, replacement)
            yield kind
            _put(parent, field, place, node)
        if isinstance(node, ast.Call):
            yield from _call_mistakes(node)


def _writes_in_place(statement: ast.stmt) -> bool:
    """Whether it assigns to an element or an attribute: a function can do without that, unlike without a local name."""
    return isinstance(statement, ast.Assign) and not isinstance(statement.targets[0], ast.Name | ast.Tuple)


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _expressions(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Where the expressions of a statement hang: parent, field, and the place in a list."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "targets", "target", "args") and not isinstance(parent, ast.Call):
            continue  # what is assigned to, and what is declared
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.expr):
                yield parent, field, place
            if isinstance(node, ast.expr | ast.keyword | ast.comprehension | ast.withitem):
                yield from _expressions(node)


def _replacements(node: ast.expr, parent: ast.AST, field: str) -> Iterator[tuple[str, ast.expr]]:
    """Replacements of an expression that could be mistakes."""
    if _is_result(node, parent, field):
        yield "sign", ast.UnaryOp(ast.USub(), node)
    if isinstance(parent, ast.If | ast.IfExp) and field == "test" and not isinstance(node, ast.Compare):
        yield "comparison", ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.BinOp(left, op, right):
            yield from _of_operation(left, op, right)
        case ast.UnaryOp(ast.USub(), ast.Constant(int(value))) if not _is_reshape(parent):
            for near in (-value + 1, -value - 1):
                yield _kind_of_number(parent, field), ast.Constant(near)
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert(), operand) if not _is_reshape(parent):
            yield "sign", operand
        case ast.Compare(left, ops, others):
            for i, comparison in enumerate(ops):
                for other in _COMPARISONS[type(comparison)]:
                    yield "comparison", ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], others)
        case ast.BoolOp(_, parts):
            for part in parts:
                yield "term", part
        case ast.IfExp(_, body, orelse):
            yield "term", body
            yield "term", orelse
        case ast.Constant(bool(flag)) if not _is_strict(parent):
            yield "constant", ast.Constant(not flag)
        case ast.Constant(int() | float() as number) if not isinstance(node.value, bool):
            for near_number in (number + 1, number - 1):
                if not isinstance(parent, ast.UnaryOp):  # -1 is one number
                    yield _kind_of_number(parent, field), ast.Constant(near_number)
        case ast.Tuple(elts) if isinstance(parent, ast.Subscript) and len(elts) > 1:
            yield "axis", ast.Tuple(elts[::-1], ast.Load())
        case ast.Call():
            for kept in _without_function(node):
                yield "term", kept


def _of_operation(left: ast.expr, op: ast.operator, right: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if type(op) in _OPERATORS:
        yield "operator", ast.BinOp(left, _OPERATORS[type(op)](), right)
    if not isinstance(op, ast.MatMult):
        yield "term", left
    if isinstance(op, _TWO_SIDED):
        yield "term", right
    if isinstance(op, _ORDERED):
        yield "swap", ast.BinOp(right, op, left)


def _call_mistakes(call: ast.Call) -> Iterator[str]:
    """Arguments that changed places, and a forgotten axis."""
    if _name(call) not in _COMMUTATIVE and not any(isinstance(argument, ast.Starred) for argument in call.args):
        yield from _swaps(call.args)
    for place, keyword in enumerate(call.keywords):
        if keyword.arg in ("axis", "keepdims"):
            del call.keywords[place]
            yield "axis"
            call.keywords.insert(place, keyword)


def _swaps(nodes: list[ast.expr]) -> Iterator[str]:
    for i in range(len(nodes) - 1):
        nodes[i], nodes[i + 1] = nodes[i + 1], nodes[i]
        yield "swap"
        nodes[i], nodes[i + 1] = nodes[i + 1], nodes[i]


def _without_function(call: ast.Call) -> list[ast.expr]:
    """The rest of ``xp.exp(x)`` if the function is forgotten: its argument; of ``xp.where`` either side."""
    match call.func:
        case ast.Attribute(ast.Name("xp" | "math"), name) | ast.Attribute(ast.Call(ast.Name("array_module")), name):
            kept: Any = call.args[1:] if name == "where" else call.args[:1]
            return [argument for argument in kept if not isinstance(argument, ast.Constant | ast.Starred)]
    return []


def _is_result(node: ast.expr, parent: ast.AST, field: str) -> bool:
    """Whether a wrong sign could go unnoticed there: a computed value that is assigned or returned."""
    if isinstance(node, ast.Constant | ast.Tuple | ast.Starred) or field not in ("value", "elts"):
        return False
    if (isinstance(node, ast.Call) and _name(node) in _ZEROS) or _is_truth(node):
        return False
    if isinstance(parent, ast.Assign):
        return not isinstance(node, ast.Name | ast.Attribute) and ast.unparse(parent.targets[0]) != "xp"
    return isinstance(parent, ast.Return | ast.Tuple)


def _is_truth(node: ast.expr) -> bool:
    """Whether it is true or false, by its form: -True is as true as True."""
    match node:
        case ast.Compare() | ast.UnaryOp(ast.Not()):
            return True
        case ast.BoolOp(_, values):
            return all(map(_is_truth, values))
        case ast.Call(ast.Name(name)):
            return name in _TRUTHS
    return False


def _name(call: ast.Call) -> str:
    """``sum`` for ``x.sum(...)`` as for ``sum(x)``."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def _is_reshape(parent: ast.AST) -> bool:
    """Whether -1 means "whatever is left" there; NumPy reads every negative number so."""
    return isinstance(parent, ast.Call) and _name(parent) == "reshape"


def _is_strict(parent: ast.AST) -> bool:
    """Whether it is the flag of ``zip(..., strict=True)``, which guards and computes nothing."""
    return isinstance(parent, ast.keyword) and parent.arg == "strict"


def _kind_of_number(parent: ast.AST, field: str) -> str:
    """``axis`` for a number that counts axes or places, ``constant`` for any other."""
    if isinstance(parent, ast.keyword):
        return "axis" if parent.arg == "axis" else "constant"
    if isinstance(parent, ast.Call) and _name(parent) in _TAKE_AXES:
        return "axis"
    inside_index = isinstance(parent, ast.Slice) or (isinstance(parent, ast.Subscript) and field == "slice")
    return "axis" if inside_index else "constant"
