"""SymPy proves the formulas of twelve pages, and the code computes them to fifty digits.

Forward and gradients are read from the text of the page in ``docs/ops`` (``printed.py``). SymPy differentiates the
first and shows that the difference to the second is zero for all numbers. Then the reference code runs in seventy
digits at a rational point, against the printed formula. What a page says in words, such as which softmax p is, is
written here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.ops import registry
from tests.ops.proofs import printed as printed_formulas
from tests.ops.proofs.big_numbers import CONTEXT, big, reference_code
from tests.ops.proofs.printed import Printed

sp = pytest.importorskip("sympy")

N = 3
X, G, W, U = (sp.symbols(f"{name}:{N}", real=True) for name in "xgwu")
Z = sp.symbols("z:4", real=True)
DIGITS = 1e-45


class Formula(NamedTuple):
    """An operation as its page has it."""

    symbols: list[Any]
    """All inputs, flat."""
    outputs: list[Any]
    cotangents: list[Any]
    printed: list[list[Any]]
    """The gradient by each symbol, once for each way in which the page writes it."""
    code: Callable[..., list[Any]]
    """Given numbers for symbols and cotangents, the gradients by the code."""
    exponentials: bool = True
    """Whether to prove it in exp(x) as a positive variable, where everything is rational."""
    proof: bool = True
    """Whether SymPy can simplify the difference to 0; if not, it is evaluated to sixty digits."""
    digits: float = DIGITS
    """How closely the code must agree."""


def run(name: str, shapes: list[tuple[int, ...]], **options: Any) -> Callable[..., list[Any]]:
    """The gradients of an operation by the reference code, flat."""

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair, pending = registry()[name], iter(values)
        inputs = [big([next(pending) for _ in range(int(np.prod(shape)))]).reshape(shape) for shape in shapes]
        out, cache = pair.forward(*inputs, **options)
        out = out[0] if isinstance(out, tuple) else out  # a Loss is (total, count)
        gradients = pair.backward(big(douts).reshape(np.shape(out)), cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return [x for g in gradients if g is not None for x in big(g).ravel().tolist()]

    return code


def softmax_of(x: Any) -> list[Any]:
    total = sum(sp.exp(a) for a in x)
    return [sp.exp(a) / total for a in x]


def of(*lists: Any) -> list[Callable[..., Any]]:
    """Each list as a function of its subscripts; a symbol with one row takes the row's number before."""
    return [lambda *subscripts, values=values: values[subscripts[-1]] for values in lists]


def all_of(page: Printed, left: str, count: int, letter: str, number: int = -1, **fixed: int) -> list[list[Any]]:
    """The right sides of an equation, each for all values of one index."""
    return [*map(list, zip(*(page.each(left, number, **{letter: i}, **fixed) for i in range(count)), strict=True))]


def softmax() -> Formula:
    x, g = of(X, G)
    page = Printed("softmax", {"x": x, r"\bar p": g}, {"c": N, "k": N}, ["p_c"])
    out = [page.value("p", [c]) for c in range(N)]
    printed = [*all_of(page, r"\bar x_k", N, "k", 0), *all_of(page, r"\bar x_k", N, "k")]
    return Formula([*X], out, [*G], printed, run("softmax", [(N,)]))


def layer_norm() -> Formula:
    x, g, w, u = of(X, G, W, U)
    values = {"x": x, r"\bar y": g, "w": w, "b": u, r"\varepsilon": sp.Rational(1, 10), "C": N}
    formulas = [r"\mu", "v", "r", r"\hat x_i", "y_i", "g_i"]
    # A symbol with the row n before has the same formula: there is one row.
    page = Printed("layer_norm", values, {"i": N, "n": 1}, formulas, rows={r"\hat x"})
    (dx,) = all_of(page, r"\bar x_j", N, "j")
    (dw,), (db,) = all_of(page, r"\bar w_i", N, "i"), all_of(page, r"\bar b_i", N, "i")
    out = [page.value("y", [i]) for i in range(N)]
    code = run("layer_norm", [(N,), (N,), (N,)], eps=CONTEXT.mpf("0.1"))
    return Formula([*X, *W, *U], out, [*G], [[*dx, *dw, *db]], code)


def rms_norm() -> Formula:
    x, g, w = of(X, G, W)
    values = {"x": x, r"\bar y": g, "w": w, r"\varepsilon": sp.Rational(1, 10), "C": N}
    page = Printed("rms_norm", values, {"i": N, "n": 1}, ["m", "r", (r"\hat x_i", 0), "y_i", "g_i"], rows={r"\hat x"})
    (dx,), (dw,) = all_of(page, r"\bar x_j", N, "j"), all_of(page, r"\bar w_i", N, "i")
    out = [page.value("y", [i]) for i in range(N)]
    code = run("rms_norm", [(N,), (N,)], eps=CONTEXT.mpf("0.1"))
    return Formula([*X, *W], out, [*G], [[*dx, *dw]], code)


def attention() -> Formula:
    """T = 3 queries and keys of width 1, causal."""
    values = {"Q": of(X)[0], "K": of(W)[0], "V": of(U)[0], r"\bar O": of(G)[0]}
    values = {name: lambda t, d, column=column: column(t) for name, column in values.items()}
    values |= {r"\alpha": 1, "M": lambda t, s: 1, "b": lambda t, s: -sp.oo if s > t else 0}
    values[r"\bar R"] = lambda t, s: page.value(r"\bar Z", [t, s])  # without a cap, as the page says
    formulas = ["R_{ts}", "Z_{ts}", r"\ell_t", ("P_{ts}", 0), "O_{td}", r"\bar P_{ts}", r"\bar Z_{ts}"]
    page = Printed("attention", values, {"t": N, "s": N, "d": 1}, formulas)
    dq, dk = (all_of(page, left, N, letter, d=0) for left, letter in ((r"\bar Q_{td}", "t"), (r"\bar K_{sd}", "s")))
    dv = all_of(page, r"\bar V_{sd}", N, "s", d=0)
    out = [page.value("O", [t, 0]) for t in range(N)]
    code = run("attention", [(1, N, 1, 1)] * 3, causal=True)  # (B, T, H, D)
    return Formula([*X, *W, *U], out, [*G], [[*dq[0], *dk[0], *dv[0]]], code, exponentials=False)


def cross_entropy() -> Formula:
    """Of class 1 of 4, with smoothing, class weights and the z-loss, all by numbers that float64 holds exactly."""
    g, weights, classes = G[0], [sp.Rational(n, 8) for n in (3, 10, 6, 9)], 4
    options = {"label_smoothing": 0.25, "z_loss": 0.125}
    values = {
        "z": of(Z)[0], "w": of(weights)[0], "a": sp.Rational(1, 8), r"\varepsilon": sp.Rational(1, 4), "V": classes,
        "p": lambda c: sp.exp(Z[c] - page.value(r"\ell", [])),
    }  # fmt: skip
    page = Printed("cross_entropy", values, {"c": classes, "y": 1}, [r"\ell", "t_c", "L"])
    (dz,) = all_of(page, r"\frac{\partial L}{\partial z_k}", classes, "k")

    def code(numbers: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["cross_entropy"]
        weight = big([CONTEXT.mpf(w.p) / w.q for w in weights])
        _, cache = pair.forward(big(numbers).reshape(1, classes), np.array([1]), weight, **options)
        return big(pair.backward(big(douts).reshape(()), cache)[0]).ravel().tolist()

    return Formula([*Z], [page.value("L", [])], [g], [[g * d for d in dz]], code)


def gelu() -> Formula:
    x, g = X[0], G[0]
    functions = {r"\Phi": lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2}
    functions[r"\varphi"] = lambda x: sp.diff(functions[r"\Phi"](x), x)
    page = Printed("gelu", {"x": x, r"\bar y": g}, {}, [("y", 0)], functions)
    for name in (r"\Phi(x)", r"\varphi(x)"):
        assert sp.simplify(page.each(name)[-1] - functions[name.removesuffix("(x)")](x)) == 0
    printed = [page.each(r"\bar x", 1)]
    return Formula([x], [page.value("y", [])], [g], printed, run("gelu", [(1,)], approximate="exact"), False)


def gelu_tanh() -> Formula:
    x, g = X[0], G[0]
    values = {"x": x, r"\bar y": g, "a": sp.Rational("0.044715")}
    functions: dict[str, Any] = {"c": lambda _: page.each("c(x)", 0)[-1], "c'": lambda _: page.each("c'(x)")[-1]}
    page = Printed("gelu", values, {}, ["u", r"\frac{du}{dx}", ("y", 1)], functions)
    code = run("gelu", [(1,)], approximate="tanh")
    return Formula([x], [page.value("y", [])], [g], [page.each(r"\bar x", 2)], code, exponentials=False)


def silu() -> Formula:
    x, g = X[0], G[0]
    s = {"s": 1 / (1 + sp.exp(-x))}
    out = Printed("silu", {"x": x}, {}, [], {"s": lambda x: s["s"]}).each("y", 0)[0]
    return Formula(
        [x], [out], [g], [Printed("silu", {"x": x, r"\bar y": g, **s}, {}, []).each(r"\bar x")], run("silu", [(1,)])
    )


def swiglu() -> Formula:
    """Of one pair: gate x0, value x1."""
    g = G[0]

    def s(x: Any) -> Any:
        return 1 / (1 + sp.exp(-x))

    functions = {"s": s, "f": lambda x: x * s(x), "f'": lambda x: s(x) * (1 + x * (1 - s(x)))}
    values = {"g": lambda i: X[0], "u": lambda i: X[1], r"\bar y": lambda i: g}
    page = Printed("swiglu", values, {}, ["y_i"], functions)
    printed = [[gate, page.each(r"\bar u_i", i=0)[-1]] for gate in page.each(r"\bar g_i", i=0)]
    return Formula(X[:2], [page.value("y", [0])], [g], printed, run("swiglu", [(1,), (1,)]))


def log_sum_exp_loss() -> Formula:
    """The router's z-loss: the square of a log-sum-exp."""
    g = G[0]
    values = {"z": of(X)[0], "p": of(softmax_of(X))[0]}
    page = Printed("router_z_loss", values, {"e": N}, [r"\ell", "L_n"])
    dz = [page.each(r"\frac{\partial L_n}{\partial z_i}", i=i)[-1] for i in range(N)]

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["router_z_loss"]
        _, cache = pair.forward(big(values).reshape(1, N))
        gradient = pair.backward(big(douts).reshape(()), cache)
        gradient = gradient[0] if isinstance(gradient, tuple) else gradient
        return big(gradient).ravel().tolist()

    return Formula([*X], [page.value("L", [0])], [g], [[g * d for d in dz]], code)


def sigmoid_cross_entropy() -> Formula:
    """Binary cross-entropy of a logit x0 with the target 1/4 and the weight 3/2."""
    x, g, target, weight = X[0], G[0], sp.Rational(1, 4), sp.Rational(3, 2)

    def s(x: Any) -> Any:
        return 1 / (1 + sp.exp(-x))

    functions = {"s": s, "f": lambda x: sp.log(1 + sp.exp(x))}
    page = Printed("binary_cross_entropy", {"x": x, "w": weight, "t": target, "p": s(x)}, {}, ["L"], functions)
    printed = [[g * side] for side in page.each(r"\frac{\partial L}{\partial x}")]

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["binary_cross_entropy"]
        _, cache = pair.forward(big(values[:1]), big([CONTEXT.mpf("0.25")]), big([CONTEXT.mpf("1.5")]))
        return big(pair.backward(big(douts).reshape(()), cache)[0]).ravel().tolist()

    return Formula([x], [page.value("L", [])], [g], printed, code)


def rope() -> Formula:
    """One pair of features at position 3, one radian a position: the gradient is rotated back."""
    values = {"x": of(X)[0], r"\bar y": of(G)[0], r"\theta": lambda *_: sp.Integer(3)}
    page = Printed("rope", values, {"D": 2}, [])
    out = [page.each(left, i=0)[-1] for left in ("y_i", "y_{i+D/2}")]
    printed = [[page.each(left, i=0)[-1] for left in (r"\bar x_i", r"\bar x_{i+D/2}")]]

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["rope"]
        _, cache = pair.forward(big(values).reshape(1, 1, 1, 2), np.array([3]), frequencies=(1.0,))
        return big(pair.backward(big(douts).reshape(1, 1, 1, 2), cache)[0]).ravel().tolist()

    return Formula(X[:2], out, G[:2], printed, code, digits=1e-14)  # the table of cosines is float64


def info_nce() -> Formula:
    """Two images and two texts of width 2."""
    image, text = [sp.symbols(f"i{n}:2", real=True) for n in "ab"], [sp.symbols(f"t{n}:2", real=True) for n in "ab"]
    scale, g = sp.symbols("l", real=True), G[0]
    x, y = [sp.Matrix(row) for row in image], [sp.Matrix(row) for row in text]
    u, v = ([row / sp.sqrt(row.dot(row)) for row in rows] for rows in (x, y))
    values = {"x": of(x)[0], "y": of(y)[0], "u": of(u)[0], "v": of(v)[0], r"\tau": sp.exp(scale)}
    values["p"] = lambda i, j: softmax_of([page.value("z", [i, k]) for k in range(2)])[j]  # of row i
    values["q"] = lambda i, j: softmax_of([page.value("z", [k, j]) for k in range(2)])[i]  # of column j
    formulas = ["s_{ij}", "z_{ij}", "L_i", "g_{ij}", r"\bar s_{ij}", r"\bar u_i", r"\bar v_j"]
    page = Printed("info_nce", values, {"i": 2, "j": 2}, formulas)
    loss = sum(page.value("L", [i]) for i in range(2))
    dimage = [page.each(r"\bar x_i", i=i)[-1] for i in range(2)]
    # "the same for y_j": the same formula, with the texts in place of the images
    texts = {**values, "u": values["v"], "x": values["y"], r"\bar u": lambda j: page.value(r"\bar v", [j])}
    dtext = [Printed("info_nce", texts, {}, []).each(r"\bar x_i", i=j)[-1] for j in range(2)]
    dscale = page.each(r"\bar \lambda")
    flat = [g * entry for row in (*dimage, *dtext) for entry in row]
    printed = [[*flat, g * side] for side in dscale]
    symbols = [*image[0], *image[1], *text[0], *text[1], scale]
    code = run("info_nce", [(2, 2), (2, 2), ()])
    return Formula(symbols, [loss], [g], printed, code, exponentials=False, proof=False)


FORMULAS = [
    rope,
    info_nce,
    softmax,
    layer_norm,
    rms_norm,
    attention,
    cross_entropy,
    gelu,
    gelu_tanh,
    silu,
    swiglu,
    log_sum_exp_loss,
    sigmoid_cross_entropy,
]


def point_of(formula: Formula) -> dict[Any, Any]:
    """Rational numbers for symbols and cotangents."""
    point = [sp.Rational(7 * i % 11 - 4, 5) for i in range(1, len(formula.symbols) + 1)]
    douts = [sp.Rational(3 * i % 7 - 2, 4) for i in range(1, len(formula.cotangents) + 1)]
    return dict(zip([*formula.symbols, *formula.cotangents], [*point, *douts], strict=True))


each = pytest.mark.parametrize("build", FORMULAS, ids=lambda build: build.__name__)


@each
def test_the_printed_gradient_is_the_derivative(build):
    formula = build()
    total = sum(g * out for g, out in zip(formula.cotangents, formula.outputs, strict=True))
    absent = [symbol for symbol in formula.symbols if not total.has(symbol)]  # the first query has one key only
    assert len(absent) <= 1, "a formula that was read wrongly may hold for nothing"
    positive = {sp.exp(x): sp.Symbol(f"e_{x}", positive=True) for x in (*X, *Z)}
    for way in formula.printed:
        for symbol, printed in zip(formula.symbols, way, strict=True):
            gap = sp.diff(total, symbol) - printed
            if formula.exponentials:
                gap = gap.subs(sp.exp(-X[0]), 1 / sp.exp(X[0])).subs(positive)
            if formula.proof:
                assert sp.simplify(sp.together(sp.expand(gap))) == 0
            else:
                assert abs(sp.N(gap.subs(point_of(formula)), 60)) < 1e-50


@each
def test_the_code_computes_the_printed_gradient(build):
    formula = build()
    values = point_of(formula)
    point, douts = [values[x] for x in formula.symbols], [values[x] for x in formula.cotangents]
    expected = [sp.N(printed.subs(values), 60) for printed in formula.printed[-1]]
    with reference_code():
        found = formula.code(*([CONTEXT.mpf(x.p) / x.q for x in numbers] for numbers in (point, douts)))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert abs(a - CONTEXT.mpf(str(b))) < formula.digits


def test_a_wrong_formula_is_refused():
    formula = silu()
    gap = sp.diff(formula.outputs[0] * G[0], X[0]) - formula.printed[0][0] * sp.Rational(1001, 1000)
    assert sp.simplify(gap) != 0


def test_a_mistake_on_a_page_is_noticed(monkeypatch):
    """The text of the page is what is proved."""
    right = printed_formulas.equations

    def with_a_mistake(page):
        for left, sides in right(page):
            yield left, [side.replace(r"(1 - s)", r"(1 - 2 s)") for side in sides]

    monkeypatch.setattr(printed_formulas, "equations", with_a_mistake)
    with pytest.raises(AssertionError):
        test_the_printed_gradient_is_the_derivative(silu)
