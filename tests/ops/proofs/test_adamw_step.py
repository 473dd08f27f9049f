"""The update of AdamW: the rule that ``optim/rules/adam.py`` prints, proved by SymPy and compared with its code.

The lines of the rule are read from the docstring, so what is proved is what is printed. From them follow: what the hats
are for, that the first step has the same length for every gradient, and that the decay does not pass the moments.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from minitrain.optim.rules import adam
from tests.ops.proofs.big_numbers import CONTEXT, big, reference_code

sp = pytest.importorskip("sympy")
parser = pytest.importorskip("sympy.parsing.sympy_parser")

NAMES = "g m v w lr beta1 beta2 eps weight_decay t a b"
SYMBOLS = {name: sp.Symbol(name, positive=name not in "gmw") for name in NAMES.split()}
READ = (*parser.standard_transformations, parser.implicit_multiplication, parser.convert_xor)
LINE = re.compile(r"^    (\w) <- (.*?)(?:  +(coupled|decoupled).*)?$", re.MULTILINE)
MIX = {SYMBOLS["a"]: 1 / (1 - SYMBOLS["beta1"] ** SYMBOLS["t"]), SYMBOLS["b"]: 0}


def rule(kind: str = "decoupled") -> list[tuple[str, Any]]:
    """The lines of the docstring that AdamW (or Adam, with ``"coupled"``) runs, in order: a name and its new value."""
    found = LINE.findall(adam.__doc__ or "")
    assert [name for name, *_ in found] == [*"gwmvw"], "the rule in the docstring has other lines"
    texts = [(name, text) for name, text, only in found if only in ("", kind)]
    return [(name, parser.parse_expr(text, local_dict=SYMBOLS, transformations=READ)) for name, text in texts]


def stepped(state: dict[Any, Any], step: int, kind: str = "decoupled") -> dict[Any, Any]:
    """The state after one update by the printed rule; a line sees what the lines before it have changed."""
    state = {**state, SYMBOLS["t"]: sp.Integer(step)}
    for name, value in rule(kind):
        state[SYMBOLS[name]] = value.subs(MIX).subs(state, simultaneous=True)
    return state


def test_the_rule_says_that_adam_and_adamw_mix_nothing_else():
    assert "Adam and AdamW have ``a = 1 / (1 - beta1^t)`` and ``b = 0``" in (adam.__doc__ or "")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_constant_gradient_keeps_its_value_under_the_hats(steps):
    """``m / (1 - beta1^t) = g`` and ``v / (1 - beta2^t) = g^2`` from moments of zero: the hats remove the start."""
    state = {SYMBOLS["m"]: sp.Integer(0), SYMBOLS["v"]: sp.Integer(0)}
    for step in range(1, steps + 1):
        state = stepped({k: state[k] for k in (SYMBOLS["m"], SYMBOLS["v"])}, step)
    g, beta1, beta2 = (SYMBOLS[name] for name in ("g", "beta1", "beta2"))
    assert sp.simplify(state[SYMBOLS["m"]] / (1 - beta1**steps) - g) == 0
    assert sp.simplify(state[SYMBOLS["v"]] / (1 - beta2**steps) - g**2) == 0


def test_the_hats_hold_for_every_step():
    """By induction: if ``m = (1 - beta1^(t - 1)) g`` before step t, then ``m = (1 - beta1^t) g`` after it."""
    g, t, beta1 = SYMBOLS["g"], SYMBOLS["t"], SYMBOLS["beta1"]
    (line,) = [value for name, value in rule() if name == "m"]
    assert sp.simplify(line.subs(SYMBOLS["m"], (1 - beta1 ** (t - 1)) * g) - (1 - beta1**t) * g) == 0


def test_the_first_step_is_as_long_as_the_rate_and_the_decay_is_apart():
    zero = {SYMBOLS["m"]: sp.Integer(0), SYMBOLS["v"]: sp.Integer(0)}
    w, g, lr, eps, decay = (SYMBOLS[name] for name in ("w", "g", "lr", "eps", "weight_decay"))
    expected = w * (1 - lr * decay) - lr * g / (sp.Abs(g) + eps)
    real = {
        g: sp.Symbol("g", real=True),
        w: sp.Symbol("w", real=True),
        SYMBOLS["beta2"]: 1 - sp.Symbol("q", positive=True),
    }
    assert sp.simplify((stepped(zero, 1)[w] - expected).subs(real)) == 0
    assert not stepped(zero, 1)[SYMBOLS["m"]].has(decay)
    assert stepped(zero, 1, "coupled")[SYMBOLS["m"]].has(decay)


@pytest.mark.parametrize("kind", ["decoupled", "coupled"])
def test_the_code_computes_the_printed_rule_to_forty_digits(kind):
    """Three updates, whose gradients have both signs."""
    point = {"lr": (1, 8), "beta1": (7, 8), "beta2": (15, 16), "eps": (1, 32), "weight_decay": (3, 4)}
    settings = {SYMBOLS[name]: sp.Rational(*number) for name, number in point.items()}
    state = {SYMBOLS["w"]: sp.Rational(3, 5), SYMBOLS["m"]: sp.Integer(0), SYMBOLS["v"]: sp.Integer(0)}
    weight, m, v = big([CONTEXT.mpf(3) / 5]), big([0]), big([0])
    numbers = {name: CONTEXT.mpf(p) / q for name, (p, q) in point.items()}
    for step, gradient in enumerate([sp.Rational(2, 3), sp.Rational(-5, 7), sp.Rational(1, 9)], start=1):
        state = stepped({**settings, **state, SYMBOLS["g"]: gradient}, step, kind)
        state = {SYMBOLS[name]: state[SYMBOLS[name]] for name in "wmv"}
        with reference_code():
            adam.adam_update.reference(  # type: ignore[attr-defined]
                weight, big([CONTEXT.mpf(gradient.p) / gradient.q]), m, v, step=step, grad_scale=1.0,
                decoupled=kind == "decoupled", **numbers,
            )  # fmt: skip
    exact = 1e-45 if kind == "decoupled" else 1e-15  # a penalty brings the rounding of w into the moments
    for name, array, digits in (("m", m, exact), ("v", v, exact), ("w", weight, 1e-15)):
        gap = abs(array[0] - CONTEXT.mpf(str(sp.N(state[SYMBOLS[name]], 60))))
        assert gap < digits, name  # sqrt(1 - beta2^t) is a float64 number, so w has sixteen digits


def test_a_wrong_rule_is_noticed(monkeypatch):
    monkeypatch.setattr(adam, "__doc__", (adam.__doc__ or "").replace("(1 - beta2) g^2", "(1 - beta2) g"))
    with pytest.raises(AssertionError):
        test_a_constant_gradient_keeps_its_value_under_the_hats(1)
    with pytest.raises(AssertionError):
        test_the_code_computes_the_printed_rule_to_forty_digits("decoupled")
