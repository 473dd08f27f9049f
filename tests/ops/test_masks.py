"""Masks: what they let through, how they combine, and that attention takes them for what its options say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import DeviceError, ShapeError
from minitrain.nn import create_causal_mask, create_combined_mask, create_padding_mask, create_window_mask
from minitrain.ops import attention_backward, attention_forward
from minitrain.testing.strategies import arrays, distinct_sizes, integer_arrays

PAD = 3


@given(st.data())
def test_each_entry_is_as_documented(data):
    """Element by element: True where the rule lets query t see key s."""
    B, T, window = data.draw(distinct_sizes((1, 4), (0, 7), (1, 9)))
    tokens = data.draw(integer_arrays((B, T), 5))
    padding, causal = create_padding_mask(tokens, PAD), create_causal_mask(T)
    windowed, combined = create_window_mask(T, window), create_combined_mask(tokens, PAD)
    assert {mask.dtype for mask in (padding, causal, windowed, combined)} == {np.dtype(bool)}
    assert [mask.shape for mask in (padding, causal, windowed, combined)] == [
        (B, 1, 1, T),
        (T, T),
        (T, T),
        (B, 1, T, T),
    ]
    for b, t, s in np.ndindex(B, T, T):
        real, before = tokens[b, s] != PAD, s <= t
        assert padding[b, 0, 0, s] == real
        assert causal[t, s] == before
        assert windowed[t, s] == (before and t - s < window)
        assert combined[b, 0, t, s] == (real and before)


@given(st.data())
def test_combined_is_causal_and_padding(data):
    tokens = data.draw(integer_arrays((3, 6), 4, np.int32))
    for pad_idx in (0, 2, -1):
        expected = create_causal_mask(6) & create_padding_mask(tokens, pad_idx)
        np.testing.assert_array_equal(create_combined_mask(tokens, pad_idx), expected)


@given(st.integers(0, 8), st.integers(1, 10))
def test_a_window_lies_within_the_causal_mask(size, window):
    """It grows with its width, from the diagonal to all of the causal mask."""
    narrow, wide = create_window_mask(size, window), create_window_mask(size, window + 1)
    assert (narrow <= wide).all()
    assert (wide <= create_causal_mask(size)).all()
    np.testing.assert_array_equal(create_window_mask(size, 1), np.eye(size, dtype=bool))
    np.testing.assert_array_equal(create_window_mask(size, max(1, size)), create_causal_mask(size))


@settings(max_examples=30)
@given(st.data())
def test_attention_with_masks_is_attention_with_options(data):
    """Output and gradients, padding at the end; a sample may be padding throughout."""
    B, T, H, D = data.draw(distinct_sizes((1, 3), (1, 6), (1, 4), (1, 5)))
    lengths = data.draw(integer_arrays((B,), T + 1))
    tokens = np.where(np.arange(T) < lengths[:, None], 1, PAD)  # (B, T)
    q, k, v, dout = (data.draw(arrays((B, T, H, D))) for _ in range(4))
    pairs = [
        ({"mask": create_causal_mask(T)}, {"causal": True}),
        ({"mask": create_padding_mask(tokens, PAD)}, {"key_lengths": lengths}),
        ({"mask": create_combined_mask(tokens, PAD)}, {"causal": True, "key_lengths": lengths}),
        ({"mask": create_window_mask(T, T)}, {"causal": True}),
    ]
    for masked, optioned in pairs:
        results = []
        for options in (masked, optioned):
            out, cache = attention_forward(q, k, v, **options)
            results.append([out, *attention_backward(dout, cache)[:3]])
        for actual, expected in zip(*results, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_a_window_of_one_attends_to_itself():
    q = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
    v = np.random.default_rng(1).standard_normal((2, 5, 3, 4))
    np.testing.assert_allclose(attention_forward(q, q, v, mask=create_window_mask(5, 1))[0], v, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: create_padding_mask(np.zeros(3, int)),
            ShapeError,
            r"tokens must be \(B, S\) integers, got int64 \(3,\)",
        ),
        (lambda: create_combined_mask(np.zeros((2, 3))), ShapeError, r"integers, got float64 \(2, 3\)"),
        (lambda: create_causal_mask(-1), ShapeError, r"size = -1 of a mask must not be negative"),
        (lambda: create_window_mask(4, 0), ShapeError, r"window = 0 must be at least 1"),
        (lambda: create_causal_mask(3, device="tpu"), DeviceError, r"unknown device 'tpu'"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
