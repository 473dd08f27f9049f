"""Checks of attention's kernels that can be repeated for each mistake that is planted in them; see ``checks.py``.

The forward and the backward are checked apart. A backward starts from the results of the right forward, so each check
runs the kernels of one file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minitrain.backend.precision import use_precision
from minitrain.kernels.cuda.attention import attention as twins
from minitrain.kernels.cuda.attention import declared
from minitrain.ops import Into
from minitrain.ops.attention.attention import AttentionCache
from minitrain.random import Key
from minitrain.testing.cuda import Emulator, Schedule, emulate
from tests.helpers.cuda.attention_runs import Problem, Results, bounds, exact, problem
from tests.helpers.cuda.checks import Check

FORWARD, BACKWARD, DECODE = declared.FORWARD, declared.BACKWARD, declared.DECODE
ATTENTION = (FORWARD, BACKWARD, DECODE)


def _key() -> Key:
    return Key.from_seed(3).at_sample(2**33 + 5)


PROBLEMS: dict[str, Callable[[], tuple[Problem, str]]] = {
    "small": lambda: (problem(1, 20, 30, 2, 2, 8), "bfloat16"),
    "tails": lambda: (problem(1, 67, 70, 1, 1, 16), "bfloat16"),
    "groups": lambda: (problem(2, 40, 70, 4, 2, 16, causal=True), "bfloat16"),
    "causal": lambda: (problem(1, 130, 140, 2, 1, 16, causal=True), "bfloat16"),
    "float16": lambda: (problem(1, 67, 70, 1, 1, 16, causal=True), "float16"),
    "float32": lambda: (problem(1, 67, 70, 1, 1, 16, causal=True), "float32"),
    "tf32": lambda: (problem(1, 67, 70, 1, 1, 16, causal=True), "tf32"),
    "narrow float32": lambda: (problem(1, 20, 40, 2, 2, 4), "float32"),
    "narrow window": lambda: (problem(1, 130, 200, 1, 1, 16, window=3), "bfloat16"),
    "causal window": lambda: (problem(1, 200, 200, 1, 1, 16, causal=True, window=65), "bfloat16"),
    "lengths": lambda: (problem(2, 67, 70, 1, 1, 16, key_lengths=np.array([0, 66])), "bfloat16"),
    "most see nothing": lambda: (problem(1, 100, 30, 1, 1, 16, causal=True), "bfloat16"),
    "dropout": lambda: (problem(2, 67, 71, 2, 1, 16, dropout=0.4, key=_key()), "bfloat16"),
    "wide float32": lambda: (problem(1, 40, 50, 1, 1, 72, causal=True), "float32"),
    "wide bfloat16": lambda: (problem(1, 70, 100, 1, 1, 96, causal=True), "bfloat16"),
}
DECODINGS: dict[str, Callable[[], tuple[Problem, str]]] = {
    "short": lambda: (problem(1, 1, 200, 1, 1, 16, key_lengths=np.array([40])), "bfloat16"),
    "groups": lambda: (problem(2, 3, 300, 4, 2, 16, causal=True), "bfloat16"),
    "window": lambda: (problem(2, 2, 270, 6, 2, 16, causal=True, window=50), "bfloat16"),
    "lengths": lambda: (problem(3, 2, 150, 2, 2, 8, key_lengths=np.array([0, 129, 150])), "bfloat16"),
    "float16": lambda: (problem(1, 5, 140, 3, 1, 16, causal=True), "float16"),
    "float32": lambda: (problem(1, 5, 140, 3, 1, 16, causal=True), "float32"),
    "tf32": lambda: (problem(1, 5, 140, 3, 1, 16, causal=True), "tf32"),
    "wide float32": lambda: (problem(1, 3, 40, 2, 1, 72, causal=True), "float32"),
}


@functools.cache
def _expected(name: str, decoding: bool) -> tuple[Problem, str, Results, Results, AttentionCache]:
    """A problem with its precision, exact results, how far from them is allowed, and what the right forward keeps."""
    p, precision = (DECODINGS if decoding else PROBLEMS)[name]()
    e = exact(p, precision)
    with use_precision(precision), emulate(Emulator([Schedule("forward", True)], guard=False)):
        cache = AttentionCache(*twins.attention_forward(p.q, p.k, p.v, None, **p.options)[1])
    return p, precision, e, bounds(p, precision, e), cache


def _compare(name: str, found: Any, e: Any, bound: Any) -> None:
    blind = np.isneginf(e)
    np.testing.assert_array_equal(np.isneginf(found), blind, err_msg=name)
    with np.errstate(all="ignore"):
        assert np.where(blind, True, abs(found - e) <= bound).all(), name


def check_forward(name: str, decoding: bool) -> None:
    """Output, log-sum-exp and what is kept of the output are right."""
    p, precision, e, allowed, _ = _expected(name, decoding)
    with use_precision(precision):
        out, cache = twins.attention_forward(p.q, p.k, p.v, None, **p.options)
    cache = AttentionCache(*cache)
    _compare("out", out, e.out, allowed.out)
    _compare("lse", cache.lse, e.lse, allowed.lse)
    np.testing.assert_array_equal(cache.out, out.astype(cache.out.dtype))


def check_backward(name: str, add: bool = False) -> None:
    """The gradients are right, from what the right forward kept."""
    p, precision, e, allowed, cache = _expected(name, False)
    buffers = [np.full(x.shape, 0.5, np.float32) for x in (p.q, p.k, p.v)]
    into = (*(Into(b, accumulate=True) for b in buffers), None) if add else (None,) * 4
    with use_precision(precision):
        found = twins.attention_backward(p.dout, cache, into=into)
    for gradient, x, y, bound in zip(Results._fields[2:], found, e[2:], allowed[2:], strict=False):
        _compare(gradient, x - 0.5 if add else x, y, bound + 1e-6 if add else bound)


def check_unread() -> None:
    """No tile far outside a window is read: that is what makes a window fast."""
    p = problem(1, 256, 256, 1, 1, 16, causal=True, window=40)
    p.k[:, :64] = p.v[:, :64] = np.nan
    with use_precision("bfloat16"):
        out, _ = twins.attention_forward(p.q, p.k, p.v, None, **p.options)
    assert np.isfinite(out[:, 128:]).all()


def check_unread_backward() -> None:
    """The same for the gradients: queries far behind a key's window, and keys far before a query's."""
    p = problem(1, 256, 256, 1, 1, 16, causal=True, window=40)
    with use_precision("bfloat16"):
        cache = _kept(p)
        for at, clean in ((np.s_[:, :64], np.s_[:, 128:]), (np.s_[:, 192:], np.s_[:, :64])):
            spoiled = cache._replace(q=cache.q.copy(), k=cache.k.copy(), v=cache.v.copy())
            for x in (spoiled.q, spoiled.k, spoiled.v):
                x[at] = np.nan
            for x in twins.attention_backward(p.dout, spoiled, into=(None,) * 4)[:3]:
                assert np.isfinite(x[clean]).all()


_caches: list[AttentionCache] = []


def _kept(p: Problem) -> AttentionCache:
    """What the right forward keeps of the problem of ``check_unread_backward``."""
    if not _caches:
        with emulate(Emulator([Schedule("forward", True)], guard=False)):
            _caches.append(AttentionCache(*twins.attention_forward(p.q, p.k, p.v, None, **p.options)[1]))
    return _caches[0]


def checks_of_attention(path: str) -> list[Check]:
    """The checks of one of the three files, quick ones first."""
    if path == DECODE:
        return [Check(f"decoding {name}", functools.partial(check_forward, name, True)) for name in DECODINGS]
    if path == FORWARD:
        found = [Check(f"forward {name}", functools.partial(check_forward, name, False)) for name in PROBLEMS]
        return [*found, Check("unread", check_unread)]
    return [
        *(Check(f"backward {name}", functools.partial(check_backward, name)) for name in PROBLEMS),
        Check("backward groups, added", functools.partial(check_backward, "groups", True)),
        Check("unread backward", check_unread_backward),
    ]
