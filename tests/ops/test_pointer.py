"""A pointer where its parts are extreme: sure gates, far scores, padding, and the same token in several places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import TokenError
from minitrain.ops import pointer_backward, pointer_forward

B, T, S, C, V = 2, 3, 4, 2, 6
SOURCE = np.array([[1, 3, 1, 5], [2, 2, 0, 0]])


def inputs(dtype: Any = np.float64, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((B, T, V), (B, T, C), (B, S, C), (B, T))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gate", [-1e4, -200.0, 0.0, 200.0, 1e4])
@pytest.mark.parametrize("factor", [1.0, 1e4])
def test_probabilities_sum_to_1_and_stay_finite(dtype: Any, gate: float, factor: float) -> None:
    logits, q, k, u = inputs(dtype)
    u[...] = gate
    log_p, cache = pointer_forward(logits, factor * q, k, u, SOURCE, key_lengths=np.array([4, 2]))
    assert np.isfinite(log_p).all()
    assert log_p.dtype == dtype
    np.testing.assert_allclose(np.exp(log_p).sum(axis=-1), 1, rtol=1e-5)
    for gradient in pointer_backward(np.ones_like(log_p), cache)[:4]:
        assert np.isfinite(gradient).all()


def test_a_token_in_several_places_gets_all_of_their_copies() -> None:
    logits, q, k, gate = inputs()
    q[...], gate[...] = 0, -50.0  # all places alike, and nothing from the vocabulary
    p = np.exp(pointer_forward(logits, q, k, gate, SOURCE)[0])
    np.testing.assert_allclose(p[0], np.tile([0, 0.5, 0, 0.25, 0, 0.25], (T, 1)), atol=1e-12)
    np.testing.assert_allclose(p[1], np.tile([0.5, 0, 0.5, 0, 0, 0], (T, 1)), atol=1e-12)


def test_padding_is_never_copied_and_changes_nothing() -> None:
    logits, q, k, gate = inputs()
    lengths = np.array([4, 2])
    k[1, 2:] = 1e6
    log_p, _ = pointer_forward(logits, q, k, gate, SOURCE, key_lengths=lengths)
    alone, _ = pointer_forward(logits[1:], q[1:], k[1:, :2], gate[1:], SOURCE[1:, :2])
    np.testing.assert_array_equal(log_p[1:], alone)


def test_without_a_source_everything_is_from_the_vocabulary() -> None:
    logits, q, k, gate = inputs()
    log_p, cache = pointer_forward(logits, q, k, gate, SOURCE, key_lengths=np.array([4, 0]))
    plain = logits[1] - np.log(np.exp(logits[1]).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(log_p[1], plain, rtol=1e-12)
    _, dq, dk, dgate, _ = pointer_backward(inputs(seed=1)[0], cache)
    assert not any(gradient[1].any() for gradient in (dq, dk, dgate))
    assert all(gradient[0].any() for gradient in (dq, dk, dgate))


def test_a_source_token_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(TokenError, match=r"pointer_forward: source\[0, 3\] = 5 is outside \[0, 5\)"):
        logits, *others = inputs()
        pointer_forward(logits[..., :5], *others, SOURCE)
