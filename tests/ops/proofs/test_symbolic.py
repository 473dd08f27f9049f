"""SymPy proves the formulas of twelve pages, and the code computes them to fifty digits.

For each operation, the forward is written as its page in ``docs/ops`` defines it, and the gradients as the page prints
them. SymPy differentiates the first and shows that the difference to the second is zero for all numbers. Then the
reference code runs in seventy digits at a rational point, against the printed formula.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.ops import registry
from tests.ops.proofs.big_numbers import CONTEXT, big, reference_code

sp = pytest.importorskip("sympy")

N = 3
X, G, W, U = (sp.symbols(f"{name}:{N}", real=True) for name in "xgwu")
DIGITS = 1e-45


class Formula(NamedTuple):
    """An operation as its page has it."""

    symbols: list[Any]
    """All inputs, flat."""
    outputs: list[Any]
    cotangents: list[Any]
    printed: list[Any]
    """The gradient by each symbol."""
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


def softmax() -> Formula:
    p = softmax_of(X)
    inner = sum(g * a for g, a in zip(G, p, strict=True))
    return Formula([*X], p, [*G], [a * (g - inner) for a, g in zip(p, G, strict=True)], run("softmax", [(N,)]))


def layer_norm() -> Formula:
    eps = sp.Rational(1, 10)
    mean = sum(X) / N
    rstd = 1 / sp.sqrt(sum((x - mean) ** 2 for x in X) / N + eps)
    xhat = [(x - mean) * rstd for x in X]
    g = [a * w for a, w in zip(G, W, strict=True)]
    mean_g, mean_gx = sum(g) / N, sum(a * b for a, b in zip(g, xhat, strict=True)) / N
    dx = [rstd * (a - mean_g - b * mean_gx) for a, b in zip(g, xhat, strict=True)]
    dw = [a * b for a, b in zip(G, xhat, strict=True)]
    out = [w * a + u for w, a, u in zip(W, xhat, U, strict=True)]
    code = run("layer_norm", [(N,), (N,), (N,)], eps=CONTEXT.mpf("0.1"))
    return Formula([*X, *W, *U], out, [*G], [*dx, *dw, *G], code)


def rms_norm() -> Formula:
    eps = sp.Rational(1, 10)
    rstd = 1 / sp.sqrt(sum(x * x for x in X) / N + eps)
    g = [a * w for a, w in zip(G, W, strict=True)]
    mean = sum(a * x * rstd for a, x in zip(g, X, strict=True)) / N
    dx = [rstd * (a - x * rstd * mean) for a, x in zip(g, X, strict=True)]
    out = [x * rstd * w for x, w in zip(X, W, strict=True)]
    dw = [a * x * rstd for a, x in zip(G, X, strict=True)]
    return Formula([*X, *W], out, [*G], [*dx, *dw], run("rms_norm", [(N,), (N,)], eps=CONTEXT.mpf("0.1")))


def attention() -> Formula:
    """T = 3 queries and keys of width 1, causal."""
    q, k, v = X, W, U
    rows = [softmax_of([q[i] * k[j] for j in range(i + 1)]) for i in range(N)]
    out = [sum(p * v[j] for j, p in enumerate(row)) for row in rows]
    ds = [[p * G[i] * (v[j] - out[i]) for j, p in enumerate(row)] for i, row in enumerate(rows)]
    dq = [sum(ds[i][j] * k[j] for j in range(i + 1)) for i in range(N)]
    dk = [sum(ds[i][j] * q[i] for i in range(j, N)) for j in range(N)]
    dv = [sum(rows[i][j] * G[i] for i in range(j, N)) for j in range(N)]
    code = run("attention", [(1, N, 1, 1)] * 3, causal=True)  # (B, T, H, D)
    return Formula([*q, *k, *v], out, [*G], [*dq, *dk, *dv], code, exponentials=False)


def cross_entropy() -> Formula:
    p, g = softmax_of(X), G[0]

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["cross_entropy"]
        _, cache = pair.forward(big(values).reshape(1, N), np.array([1]))
        return big(pair.backward(big(douts).reshape(()), cache)[0]).ravel().tolist()

    return Formula([*X], [-sp.log(p[1])], [g], [g * (p[0]), g * (p[1] - 1), g * p[2]], code)


def gelu() -> Formula:
    x, g = X[0], G[0]
    cdf = (1 + sp.erf(x / sp.sqrt(2))) / 2
    pdf = sp.exp(-x * x / 2) / sp.sqrt(2 * sp.pi)
    return Formula([x], [x * cdf], [g], [g * (cdf + x * pdf)], run("gelu", [(1,)], approximate="exact"), False)


def silu() -> Formula:
    x, g = X[0], G[0]
    s = 1 / (1 + sp.exp(-x))
    return Formula([x], [x * s], [g], [g * s * (1 + x * (1 - s))], run("silu", [(1,)]))


def swiglu() -> Formula:
    """Of one pair: gate x0, value x1."""
    gate, value, g = X[0], X[1], G[0]
    s = 1 / (1 + sp.exp(-gate))
    printed = [g * value * s * (1 + gate * (1 - s)), g * gate * s]
    return Formula([gate, value], [gate * s * value], [g], printed, run("swiglu", [(1,), (1,)]))


def log_sum_exp_loss() -> Formula:
    """The router's z-loss: the square of a log-sum-exp."""
    p, z, g = softmax_of(X), sp.log(sum(sp.exp(x) for x in X)), G[0]

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["router_z_loss"]
        _, cache = pair.forward(big(values).reshape(1, N))
        gradient = pair.backward(big(douts).reshape(()), cache)
        gradient = gradient[0] if isinstance(gradient, tuple) else gradient
        return big(gradient).ravel().tolist()

    return Formula([*X], [z**2], [g], [2 * g * z * a for a in p], code)


def sigmoid_cross_entropy() -> Formula:
    """Binary cross-entropy of a logit x0 with the target u0."""
    x, y, g = X[0], U[0], G[0]
    loss = sp.log(1 + sp.exp(x)) - x * y
    s = sp.exp(x) / (1 + sp.exp(x))

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["binary_cross_entropy"]
        _, cache = pair.forward(big(values[:1]), np.array([1.0]))
        return big(pair.backward(big(douts).reshape(()), cache)[0]).ravel().tolist()

    return Formula([x], [loss.subs(y, 1)], [g], [g * (s - 1)], code)


def rope() -> Formula:
    """One pair of features at position 3, one radian a position: the gradient is rotated back."""
    (a, b), (ga, gb), angle = X[:2], G[:2], sp.Integer(3)
    c, s = sp.cos(angle), sp.sin(angle)

    def code(values: list[Any], douts: list[Any]) -> list[Any]:
        pair = registry()["rope"]
        _, cache = pair.forward(big(values).reshape(1, 1, 1, 2), np.array([3]), frequencies=(1.0,))
        return big(pair.backward(big(douts).reshape(1, 1, 1, 2), cache)[0]).ravel().tolist()

    out, printed = [a * c - b * s, a * s + b * c], [ga * c + gb * s, gb * c - ga * s]
    return Formula([a, b], out, [ga, gb], printed, code, digits=1e-14)  # the table of cosines is float64


def info_nce() -> Formula:
    """Two images and two texts of width 2."""
    image, text = [sp.symbols(f"i{n}:2", real=True) for n in "ab"], [sp.symbols(f"t{n}:2", real=True) for n in "ab"]
    scale, g = sp.symbols("l", real=True), G[0]

    def unit(x: Any) -> tuple[list[Any], Any]:
        length = sp.sqrt(sum(a * a for a in x))
        return [a / length for a in x], length

    u, v = [unit(x) for x in image], [unit(x) for x in text]
    cosine = [[sum(a * b for a, b in zip(x[0], y[0], strict=True)) for y in v] for x in u]
    logits = [[sp.exp(scale) * c for c in row] for row in cosine]
    rows = [softmax_of(row) for row in logits]
    columns = [softmax_of([logits[i][j] for i in range(2)]) for j in range(2)]  # [j][i]
    loss = -sum(sp.log(rows[i][i]) + sp.log(columns[i][i]) for i in range(2)) / 2
    d = [[g * ((rows[i][j] + columns[j][i]) / 2 - int(i == j)) for j in range(2)] for i in range(2)]
    factor = sp.exp(scale)
    dimage = [
        factor * sum(d[i][j] * (v[j][0][c] - cosine[i][j] * u[i][0][c]) for j in range(2)) / u[i][1]
        for i in range(2)
        for c in range(2)
    ]
    dtext = [
        factor * sum(d[i][j] * (u[i][0][c] - cosine[i][j] * v[j][0][c]) for i in range(2)) / v[j][1]
        for j in range(2)
        for c in range(2)
    ]
    dscale = sum(d[i][j] * logits[i][j] for i in range(2) for j in range(2))
    symbols = [*image[0], *image[1], *text[0], *text[1], scale]
    code = run("info_nce", [(2, 2), (2, 2), ()])
    return Formula(symbols, [loss], [g], [*dimage, *dtext, dscale], code, exponentials=False, proof=False)


FORMULAS = [
    rope,
    info_nce,
    softmax,
    layer_norm,
    rms_norm,
    attention,
    cross_entropy,
    gelu,
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
    positive = {sp.exp(x): sp.Symbol(f"e_{x}", positive=True) for x in X}
    for symbol, printed in zip(formula.symbols, formula.printed, strict=True):
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
    expected = [sp.N(printed.subs(values), 60) for printed in formula.printed]
    with reference_code():
        found = formula.code(*([CONTEXT.mpf(x.p) / x.q for x in numbers] for numbers in (point, douts)))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert abs(a - CONTEXT.mpf(str(b))) < formula.digits


def test_a_wrong_formula_is_refused():
    formula = silu()
    gap = sp.diff(formula.outputs[0] * G[0], X[0]) - formula.printed[0] * sp.Rational(1001, 1000)
    assert sp.simplify(gap) != 0
