"""Attention to more keys than the kernel takes at once: the softmax goes on from one part of the keys to the next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitrain import use_kernels
from minitrain.backend import set_threads
from minitrain.kernels.cpu.attention.attention import KEYS
from minitrain.kernels.cpu.common.attention_blocks import BLOCK
from minitrain.ops import attention_backward, attention_forward
from minitrain.random import Key


def run(mode, q, k, v, dout, **options):
    with use_kernels(mode):
        out, cache = attention_forward(q, k, v, **options)
        return [out, *attention_backward(dout, cache)[:3]]


def close(found, exact, growth):
    """Scores of ``growth`` lose that many of their last digits to their size, and so do exponentials of them."""
    digits = 2e-5 * max(1.0, abs(growth) / 4)
    for name, one, other in zip(("out", "dq", "dk", "dv"), found, exact, strict=True):
        np.testing.assert_allclose(one, other, atol=digits * max(1.0, abs(other).max()), err_msg=name)


def drawn(rng, T, S, H, G, D, growth=0.0):
    """Arguments in double precision; with ``growth``, later keys have larger scores, so that maxima rise."""
    q, dout = rng.standard_normal((2, 1, T, H, D))
    k, v = rng.standard_normal((2, 1, S, G, D))
    q[..., 0] = np.sqrt(D)
    k[..., 0] = growth * np.linspace(0, 1, S)[None, :, None]
    return q, k, v, dout


def single(arrays):
    return [x.astype(np.float32) for x in arrays]


@settings(max_examples=25, phases=[Phase.generate])  # shrinking such arrays would take long
@given(st.data())
def test_the_kernel_is_the_reference(data):
    S = data.draw(st.sampled_from([KEYS - 1, KEYS, KEYS + 1, KEYS + BLOCK, 2 * KEYS, 2 * KEYS + 77]), label="keys")
    T = data.draw(st.sampled_from([1, BLOCK + 1, 200, S]), label="queries")
    G, group = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]), label="key heads, queries for each")
    options = {"causal": data.draw(st.booleans(), label="causal")}
    options["window"] = data.draw(st.sampled_from([None, 1, BLOCK, KEYS, KEYS + 100]), label="window")
    if data.draw(st.booleans(), label="padded"):
        options["key_lengths"] = np.array([data.draw(st.integers(0, S), label="length")])
    if data.draw(st.booleans(), label="dropout"):
        options |= {"dropout": 0.2, "key": Key.from_seed(3)}
    growth = data.draw(st.sampled_from([-40.0, 0.0, 5.0, 40.0]), label="growth")
    arrays = drawn(np.random.default_rng(data.draw(st.integers(0, 9))), T, S, G * group, G, 16, growth)
    close(run("auto", *single(arrays), **options), run("reference", *arrays, **options), growth)


@pytest.mark.parametrize("growth", [-80.0, 80.0, 200.0])
def test_a_maximum_that_rises_or_falls_far_from_part_to_part(growth):
    """Of earlier parts nothing is left, or of later ones nothing comes in; neither overflows."""
    arrays = drawn(np.random.default_rng(0), 70, 3 * KEYS + 5, 2, 1, 8, growth)
    found = run("auto", *single(arrays))
    assert all(np.isfinite(x).all() for x in found)
    close(found, run("reference", *arrays), growth)


@pytest.mark.parametrize("place", [3, KEYS + 3, 2 * KEYS + 3])
def test_a_bad_number_is_seen_in_whichever_part_it_is(place):
    q, k, v, dout = single(drawn(np.random.default_rng(0), 2 * KEYS + 40, 2 * KEYS + 40, 1, 1, 8))
    before = place // BLOCK * BLOCK  # within a block of keys, hidden values count 0 times
    for bad in (v, k):
        good, bad[0, place] = bad[0, place].copy(), np.nan
        out = run("auto", q, k, v, dout, causal=True)[0]
        assert np.isfinite(out[0, :before]).all()
        assert np.isnan(out[0, place:]).all()
        bad[0, place] = good


def test_queries_that_see_only_a_late_part():
    """With a window, what comes before it has no part in any sum."""
    q, k, v, dout = single(drawn(np.random.default_rng(0), 50, 3 * KEYS, 1, 1, 8))
    whole = run("auto", q, k, v, dout, causal=True, window=30)
    k[0, : 2 * KEYS], v[0, : 2 * KEYS] = 1e4, np.nan
    for found, expected in zip(run("auto", q, k, v, dout, causal=True, window=30), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_number_of_threads_changes_no_byte():
    arrays = single(drawn(np.random.default_rng(0), 2 * KEYS, 2 * KEYS, 4, 4, 16))
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        try:
            found.append([x.tobytes() for x in run("auto", *arrays, causal=True)])
        finally:
            set_threads(None)
    assert found[0] == found[1] == found[2]


def test_up_to_so_many_keys_there_is_one_part():
    """Rows of scores that fit are formed at once: a query has the same bytes whatever other keys are hidden from it."""
    rng = np.random.default_rng(0)
    q, k, v, dout = single(drawn(rng, 2 * KEYS, 2 * KEYS, 1, 1, 16))
    short = run("auto", *(x[:, :KEYS] for x in (q, k, v, dout)), causal=True)[0]
    long = run("auto", q, k, v, dout, causal=True)[0]
    np.testing.assert_array_equal(long[:, :KEYS], short)
