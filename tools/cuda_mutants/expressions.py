"""Mistakes in expressions: operators, operands, constants, coordinates, calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .code import Code, Part
from .places import Finder

PRECEDENCE = {
    **dict.fromkeys(("*", "/", "%"), 10), **dict.fromkeys(("+", "-"), 9), **dict.fromkeys(("<<", ">>"), 8),
    **dict.fromkeys(("<", "<=", ">", ">="), 7), **dict.fromkeys(("==", "!="), 6), "&": 5, "^": 4, "|": 3, "&&": 2,
    "||": 1,
}  # fmt: skip
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "^=", "|=", "&=", "<<=", ">>="}
STOPS = {*"([{)]},;?:", *ASSIGNMENTS, "return", "else"}
# An operator: the function of mutants.h, what stands in its place, and which operands may be forgotten.
ARITHMETIC = {
    "+": ("plus", "-", "right left"), "-": ("minus", "+", "right left"), "*": ("times", "+", "right left"),
    "/": ("over", "*", "right"), "%": ("modulo", "/", "right"), "<<": ("left", ">>", "right"),
    ">>": ("right", "<<", "right"), "&": ("bit_and", "|", "right"), "|": ("bit_or", "&", "right"),
    "^": ("bit_xor", "|", "right"),
}  # fmt: skip
COMPARISONS = {
    "<": ("less", "<="), "<=": ("at_most", "<"), ">": ("more", ">="), ">=": ("at_least", ">"), "==": ("equal", "!="),
    "!=": ("unequal", "=="),
}  # fmt: skip
EXTREMES = {
    "min": ("smaller", "max"), "max": ("larger", "min"), "fminf": ("smaller_float", "fmaxf"),
    "fmaxf": ("larger_float", "fminf"),
}  # fmt: skip
COORDINATES = {"threadIdx", "blockIdx", "blockDim", "gridDim"}
OTHER_AXIS = {"x": "y", "y": "x", "z": "x"}
# Functions that may be forgotten, and which of their arguments stands in their place.
FORGETTABLE = {
    "expf": 0, "exp2f": 0, "exp2": 0, "logf": 0, "sqrtf": 0, "sqrt": 0, "erfcf": 0, "cos": 0, "sin": 0,
    "__shfl_xor_sync": 1, "__shfl_sync": 1, "warp_sum": 0, "block_sum": 0, "block_max": 0, "reduce_warp": 0,
    "reduce_block": 0, "row_sum": 0, "row_maximum": 0,
}  # fmt: skip
COMMUTATIVE = {"+", "*", "&", "|", "^"}


def find(code: Code, part: Part, finder: Finder) -> None:
    """Note every mistake in the expressions of a part; ``finder`` knows the tokens that are no expressions."""
    for i in range(part.first, part.last):
        if i in finder.skipped:
            continue
        token = code.tokens[i]
        if token.kind == "number":
            _number(code, i, finder)
        elif token.kind == "name":
            _name(code, part, i, finder)
        elif is_binary(code, i):
            _binary(code, part, i, finder)
        elif token.text == "-" and not _ends_operand(code, i - 1):
            end = _unary_end(code, i + 1)
            finder.site(i, end, ["mut::negated(@0, ", (i + 1, end), ")"], [("sign", code.slice(i + 1, end))])
        elif token.text in ("+=", "-="):
            end = right_end(code, part, i, 0)
            finder.site(
                i + 1, end, ["mut::added(@0, ", (i + 1, end), ")"], [],
                edits=[("operator", i, i + 1, "-=" if token.text == "+=" else "+=")],
            )  # fmt: skip
        elif token.text == "?":
            first = left_start(code, part, i, 0)
            condition(code, first, i, finder)
        elif token.text == "]" and code.tokens[i + 1].text == "[":
            _subscripts(code, i, finder)


def is_binary(code: Code, i: int) -> bool:
    """Whether a token is an operator with two operands."""
    return code.tokens[i].text in PRECEDENCE and _ends_operand(code, i - 1) and code.is_spaced(i)


def left_start(code: Code, part: Part, i: int, precedence: int) -> int:
    """The first token of the left operand of an operator ``i``."""
    j = i - 1
    while j >= part.first:
        text = code.tokens[j].text
        if text in (")", "]"):
            j = code.partner[j] - 1
            continue
        if text in STOPS or code.tokens[j].kind == "directive":
            break
        if is_binary(code, j) and PRECEDENCE[text] < precedence:
            break
        j -= 1
    return j + 1


def right_end(code: Code, part: Part, i: int, precedence: int) -> int:
    """The token after the right operand of an operator ``i``."""
    j = i + 1
    while j < part.last:
        text = code.tokens[j].text
        if text in ("(", "[") or (text == "{" and code.tokens[j - 1].kind == "name"):
            j = code.partner[j] + 1
            continue
        if text in STOPS and not (precedence == 0 and text in "?:"):
            break
        if precedence and is_binary(code, j) and PRECEDENCE[text] <= precedence:
            break
        j += 1
    return j


def arguments(code: Code, opening: int) -> list[tuple[int, int]]:
    """The arguments of a call, as stretches of tokens."""
    found, start, i, close = [], opening + 1, opening + 1, code.partner[opening]
    while i < close:
        text = code.tokens[i].text
        if text in ("(", "[", "{"):
            i = code.partner[i]
        elif text == ",":
            found.append((start, i))
            start = i + 1
        i += 1
    return [*found, (start, close)] if close > opening + 1 else []


def _ends_operand(code: Code, i: int) -> bool:
    token = code.tokens[i]
    if token.kind == "name":
        return token.text not in ("return", "case", "else")
    return token.kind == "number" or token.text in (")", "]")


def _unary_end(code: Code, i: int) -> int:
    """The token after a postfix expression, with a cast before it."""
    if code.tokens[i].text == "(":
        i = code.partner[i] + 1
        if code.tokens[i].kind in ("name", "number"):
            return _unary_end(code, i)
    else:
        i += 1
    while code.tokens[i].text in ("(", "[", ".", "->", "::"):
        i = code.partner[i] + 1 if code.tokens[i].text in "([" else i + 2
    return i


def _binary(code: Code, part: Part, i: int, finder: Finder) -> None:
    text = code.tokens[i].text
    first, last = left_start(code, part, i, PRECEDENCE[text]), right_end(code, part, i, PRECEDENCE[text])
    left, right = code.slice(first, i), code.slice(i + 1, last)
    breaks = "\n" * code.text[code.tokens[i - 1].end : code.tokens[i + 1].start].count("\n")
    if text in COMPARISONS:
        function, other = COMPARISONS[text]
        pieces = [f"mut::{function}(@0, ", (first, i), f", {breaks}", (i + 1, last), ")"]
        finder.site(first, last, pieces, [], edits=[("comparison", i, i + 1, other)])
    elif text in ("&&", "||"):
        neutral = "true" if text == "&&" else "false"
        pieces = [
            f"mut::part(@0, {neutral}, ", (first, i), f") {text} {breaks}mut::part(@1, {neutral}, ", (i + 1, last), ")",
        ]  # fmt: skip
        finder.site(first, last, pieces, [("term", right), ("term", left)])
    else:
        function, other, forgettable = ARITHMETIC[text]
        pieces = [f"mut::{function}(@0, ", (first, i), f", {breaks}", (i + 1, last), ")"]
        edits = [("operator", i, i + 1, other), ("term", first, last, left)]
        if "left" in forgettable:
            if _is_pointer(code, first, i):  # it cannot be forgotten
                finder.site(first, last, pieces, [], edits=edits)
                return
            edits.append(("term", first, last, f"-{right}" if text == "-" and not right.startswith("-") else right))
        finder.site(first, last, pieces, [], edits=edits)


def _is_pointer(code: Code, first: int, last: int) -> bool:
    """Whether a sum begins with a pointer."""
    name = code.tokens[first].text
    return name.startswith("reinterpret_cast") or (name in code.pointers and code.tokens[first + 1].text not in "[.(")


def condition(code: Code, first: int, last: int, finder: Finder) -> None:
    """Tokens that decide something: always true, or always false."""
    finder.site(
        first, last, ["mut::condition(@0, ", (first, last), ")"], [("condition", "true"), ("condition", "false")]
    )


def _number(code: Code, i: int, finder: Finder) -> None:
    text = code.tokens[i].text
    wrong = wrong_number(text)
    finder.site(i, i + 1, [f"mut::number(@0, {text}, {wrong})"], [("constant", wrong)])


def wrong_number(text: str) -> str:
    """A number near another one, in its type."""
    if text.lower().startswith("0x"):
        match = re.fullmatch(r"(0[xX][0-9a-fA-F]+)([uUlL]*)", text)
        assert match is not None
        return f"{int(match[1], 16) ^ (1 << 31 if match[1].lower() == '0xffffffff' else 1):#x}{match[2]}"
    match = re.fullmatch(r"([\d.eE+-]+?)([fFuUlL]*)", text)
    assert match is not None
    digits, suffix = match.groups()
    if re.fullmatch(r"\d+", digits):
        return f"{0 if digits == '1' else int(digits) + 1}{suffix}"
    value = float(digits)
    wrong = 1.0 if value == 0 else 2.0 if value == 1 else value * 1.01
    return f"{wrong!r}{suffix}"


def _name(code: Code, part: Part, i: int, finder: Finder) -> None:
    text, following = code.tokens[i].text, code.tokens[i + 1].text
    if text in COORDINATES and following == ".":
        axis = code.tokens[i + 2].text
        wrong = f"{text}.{OTHER_AXIS[axis]}"
        finder.site(i, i + 3, [f"mut::other(@0, {text}.{axis}, {wrong})"], [("index", wrong)])
        return
    if following != "(" or i + 1 in finder.skipped:
        return
    close, given = code.partner[i + 1] + 1, arguments(code, i + 1)
    function = text.partition("<")[0]
    if function in EXTREMES:
        name, other = EXTREMES[function]
        pieces = [f"mut::{name}(@0, ", *_with_commas(given), ")"]
        finder.site(i, close, pieces, [], edits=[("extreme", i, i + 1, other)])
    elif function == "fmaf":
        a, b, c = (code.slice(*x) for x in given)
        pieces = ["mut::fused(@0, ", *_with_commas(given), ")"]
        finder.site(i, close, pieces, [("term", c), ("term", f"{_bracketed(a)} * {_bracketed(b)}")])
    elif function in FORGETTABLE:
        start = i
        while code.tokens[start - 1].text == "::":
            start -= 2
        argument = code.slice(*given[FORGETTABLE[function]])
        flat = " ".join(argument.split())
        finder.site(start, close, ["MUT_WITHOUT(@0, (", (start, close), f"), ({flat}))"], [("call", argument)])


def _bracketed(text: str) -> str:
    return f"({text})" if " " in text else text


def _with_commas(given: list[tuple[int, int]]) -> Iterator[str | tuple[int, int]]:
    for number, stretch in enumerate(given):
        if number:
            yield ", "
        yield stretch


def _subscripts(code: Code, i: int, finder: Finder) -> None:
    """``x[a][b]`` with a and b exchanged."""
    first, last = code.partner[i], code.partner[i + 1]
    a, b = code.slice(first + 1, i), code.slice(i + 2, last)
    if a == b:
        return
    pieces = [
        "[mut::other<long long>(@0, ", (first + 1, i), f", {b})][mut::other<long long>(@0, ", (i + 2, last), f", {a})]",
    ]  # fmt: skip
    finder.site(first, last + 1, pieces, [("index", f"[{b}][{a}]")])
