"""Windows, ALiBi and soft caps: each equals attention with a mask, a bias or a formula written out by the caller."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ShapeError
from minitrain.nn import create_causal_mask, create_window_mask
from minitrain.ops import attention_backward, attention_forward, second_order_registry
from minitrain.random import Key
from minitrain.testing.strategies import arrays, distinct_sizes

KERNELS = pytest.mark.parametrize("kernels", ["reference", "auto"])


def draw_inputs(data: Any, T: int, S: int, dtype: Any = np.float64) -> tuple[list[Any], Any]:
    """q, k, v with grouped heads, and a gradient of the output."""
    B, D = data.draw(distinct_sizes((1, 3), (1, 5)))
    shapes = [(B, T, 4, D), (B, S, 2, D), (B, S, 2, D), (B, T, 4, D)]
    *qkv, dout = [data.draw(arrays(shape, dtype)) for shape in shapes]
    return qkv, dout


def results(qkv: list[Any], dout: Any, **options: Any) -> list[Any]:
    out, cache = attention_forward(*qkv, **options)
    return [out, *attention_backward(dout, cache)[:3]]


def assert_same(actual: list[Any], expected: list[Any], tolerance: float = 1e-12) -> None:
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


def lead(T: int, S: int) -> Any:
    """(T, S): how far query t, counted from the end, stands after key s."""
    return np.arange(T)[:, None] + S - T - np.arange(S)


# The same with arrays.


@given(st.data())
def test_a_window_is_its_mask(data):
    T, S, window = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 7))
    qkv, dout = draw_inputs(data, T, S)
    if T <= S:
        mask = create_window_mask(S, window)[S - T :]  # the last T queries of a sequence of S
        assert_same(results(qkv, dout, causal=True, window=window), results(qkv, dout, mask=mask))
    mask = abs(lead(T, S)) < window
    assert_same(results(qkv, dout, window=window), results(qkv, dout, mask=mask))
    both = data.draw(arrays((T, S))) > 0
    assert_same(results(qkv, dout, window=window, mask=both), results(qkv, dout, mask=mask & both))


@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=15)
@given(st.data())
def test_a_window_is_its_mask_at_the_size_of_tiles(causal, data):
    """Where a kernel leaves out blocks of keys, and grouped queries, padding and dropout come in."""
    T, S = data.draw(st.sampled_from([(130, 130), (65, 200), (200, 65), (1, 193), (64, 128)]))
    window = data.draw(st.sampled_from([1, 2, 63, 64, 65, 100, 128]))
    qkv, dout = draw_inputs(data, T, S, np.float32)
    lengths = np.random.default_rng(window).integers(0, S + 1, len(dout))
    shared: dict[str, Any] = {"key_lengths": lengths, "causal": causal}
    if data.draw(st.booleans()):
        shared |= {"dropout": 0.3, "key": Key.from_seed(window)}
    mask = abs(lead(T, S)) < window
    assert_same(results(qkv, dout, window=window, **shared), results(qkv, dout, mask=mask, **shared), 2e-5)


@given(st.data())
def test_alibi_is_its_bias(data):
    T, S, slopes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)), data.draw(arrays((4,)))
    qkv, dout = draw_inputs(data, T, S)
    bias = -slopes[:, None, None] * abs(lead(T, S))  # (H, T, S)
    for causal in (False, True):
        expected = results([*qkv, bias], dout, causal=causal)
        assert_same(results(qkv, dout, causal=causal, alibi_slopes=slopes), expected)


def test_a_soft_cap_bounds_scores_before_the_bias():
    """With two keys the probabilities show the difference of their scores."""
    q, k, v = np.array([[100.0]]), np.array([[1.0], [-1.0]]), np.array([[1.0], [0.0]])
    bias = np.array([[0.0, 3.0]])
    q, k, v = (x[None, :, None] for x in (q, k, v))  # (T, D) -> (1, T, 1, D)
    out, _ = attention_forward(q, k, v, bias, softcap=2.0)
    difference = np.log(out / (1 - out)).item()
    assert difference == pytest.approx(2 * np.tanh(50) - 2 * np.tanh(-50) - 3, rel=1e-12)


@given(st.data())
def test_a_wide_cap_is_none(data):
    qkv, dout = draw_inputs(data, 4, 5)
    assert_same(results(qkv, dout, softcap=1e6), results(qkv, dout), 1e-9)


# A part of the sequence at a time.


FORMS: dict[str, dict[str, Any]] = {
    "causal": {},
    "window": {"window": 3},
    "wide window": {"window": 70},
    "ALiBi": {"alibi_slopes": np.array([0.5, 0.25, 0.1, 2.0])},
    "soft cap": {"softcap": 1.5},
    "all": {"window": 5, "alibi_slopes": np.array([0.5, 0.25, 0.1, 2.0]), "softcap": 1.5},
}


@KERNELS
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 9, 10), (0, 64, 65, 130)], ids=["short", "long"])
def test_queries_after_known_keys_equal_the_full_pass(kernels, form, cuts):
    """Generation: the keys and values of what came before are kept, and some new queries look at all of them."""
    rng, T = np.random.default_rng(4), cuts[-1]
    q, k, v = (rng.standard_normal((2, T, heads, 8)).astype(np.float32) for heads in (4, 2, 2))
    with use_kernels(kernels):
        full, _ = attention_forward(q, k, v, causal=True, **form)
        parts = [attention_forward(q[:, a:b], k[:, :b], v[:, :b], causal=True, **form)[0] for a, b in pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-5, atol=1e-5)


def test_a_kernel_reads_no_block_outside_the_window():
    """That is what makes it fast: not-a-number far before the window changes nothing."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 256, 1, 16)).astype(np.float32)
    far = np.s_[:, :64]
    with use_kernels("auto"):
        expected = results([q, k, v], q, causal=True, window=40)
        k[far] = v[far] = np.nan
        out, dq, dk, dv = results([q, k, v], q, causal=True, window=40)
    for actual, clean in zip((out, dq, dk, dv), expected, strict=True):
        np.testing.assert_array_equal(actual[:, 128:], clean[:, 128:])


# Queries that may attend to nothing.


@KERNELS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("T", "S", "options", "blind"),
    [
        (5, 2, {"window": 2}, np.s_[:, :2]),  # the first queries stand too far before the first key
        (200, 70, {"window": 2}, np.s_[:, :129]),
        (6, 6, {"window": 2, "causal": True, "key_lengths": np.array([3, 6])}, np.s_[0, 4:]),  # only padding in reach
        (200, 200, {"window": 9, "key_lengths": np.array([70, 200])}, np.s_[0, 78:]),
        (4, 4, {"softcap": 2.0, "alibi_slopes": np.ones(2), "key_lengths": np.array([0, 4])}, np.s_[0]),
    ],
)
def test_a_query_with_nothing_in_its_window_gets_zero(kernels, dtype, T, S, options, blind):
    rng = np.random.default_rng(1)
    q, k, v, dout = (rng.standard_normal((2, n, 2, 4)).astype(dtype) for n in (T, S, S, T))
    with use_kernels(kernels):
        out, cache = attention_forward(q, k, v, **options)
        dq, dk, dv, _ = attention_backward(dout, cache)
        only_blind = np.zeros_like(dout)
        only_blind[blind] = 1  # what such a query is told changes nothing
        for gradient in attention_backward(only_blind, cache)[:3]:
            assert not gradient.any()
    seeing = np.ones((2, T), bool)
    seeing[blind] = False
    assert not out[~seeing].any()
    assert not dq[~seeing].any()
    assert out[seeing].all()
    assert np.isneginf(cache.lse.swapaxes(1, 2)[~seeing]).all()  # (B, H, T) -> (B, T, H)
    assert np.isfinite(dk).all()
    assert np.isfinite(dv).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"window": 0},
            r"window = 0 must be a whole number of at least 1 \(a query sees itself\), or None for no window",
        ),
        ({"window": 2.5}, r"window = 2.5 must be a whole number"),
        ({"softcap": 0.0}, r"softcap = 0.0 must be positive, or None for no cap"),
        ({"softcap": float("nan")}, r"softcap = nan must be positive"),
        ({"alibi_slopes": np.ones(3)}, r"alibi_slopes must hold H = 2 floats, got float64 \(3,\)"),
        ({"alibi_slopes": np.ones(2, int)}, r"alibi_slopes must hold H = 2 floats, got int64 \(2,\)"),
    ],
)
def test_wrong_options_are_named(options, message):
    q = np.zeros((1, 3, 2, 4))
    with pytest.raises(ShapeError, match=f"attention_forward: {message}"):
        attention_forward(q, q, q, **options)


def test_a_window_of_the_whole_text_is_the_causal_mask():
    q = np.random.default_rng(3).standard_normal((1, 5, 2, 4))
    expected = results([q, q, q], q, mask=create_causal_mask(5))
    for window in (5, 1000):
        assert_same(results([q, q, q], q, causal=True, window=window), expected)


def test_without_dropout_no_random_number_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the forward, nor in its backward, nor in the backward of that."""

    def draws(*_: Any) -> Any:
        raise AssertionError("a mask was drawn")

    # the package has functions of these names
    for module in ("minitrain.ops.attention.attention", "minitrain.ops.second.attention"):
        monkeypatch.setattr(importlib.import_module(module), "dropout_mask", draws)
    q, k, v, dout = (np.random.default_rng(i).standard_normal((1, 3, 2, 4)) for i in range(4))
    with use_kernels("reference"):
        _, cache = attention_forward(q, k, v, causal=True, dropout=0.0, key=Key.from_seed(0))
        attention_backward(dout, cache)
        second_order_registry()["attention"].backward(q, k, v, None, dout, cache)
        with pytest.raises(AssertionError, match="a mask was drawn"):
            attention_forward(q, k, v, causal=True, dropout=0.5, key=Key.from_seed(0))
