"""Checks of what a case of an operation cannot draw: memory around a kernel, bad ids, few blocks, 16 bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from minitrain.backend.cuda.float8 import E4M3, E5M2, Float8Format, float8_dtype, float8_scale, float8_values, to_float8
from minitrain.kernels.cuda.classification.linear_cross_entropy import _SCALE
from minitrain.kernels.cuda.common.ids import _WATCH
from minitrain.kernels.cuda.common.sizes import blocks_for
from minitrain.kernels.cuda.common.targets import slot
from minitrain.kernels.cuda.linear import dropout, float8
from minitrain.kernels.cuda.linear.column_sums import column_sums
from minitrain.kernels.cuda.linear.gelu_linear import _FORWARD, BACKWARD
from minitrain.kernels.cuda.linear.operands import rounded
from minitrain.ops import (
    CrossEntropyCache,
    EmbeddingCache,
    Into,
    cross_entropy_backward,
    cross_entropy_forward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    gelu_backward,
    gelu_forward,
    rope_backward,
    rope_forward,
)
from minitrain.random import Key, random_bits
from tests.helpers.cuda import launch


def check_packed_heads() -> None:
    """Rotary positions read and write slices of packed heads in place."""
    B, T, H, D = 2, 5, 3, 8
    rng = np.random.default_rng(0)
    packed, into = (rng.standard_normal((B, T, H, 3, D), np.float32) for _ in range(2))
    keys, gradient, before = packed[:, :, :, 1], into[:, :, :, 1], into.copy()
    expected, cache = rope_forward.reference(keys, np.arange(T))
    out, _ = launch(rope_forward.twin("cuda"), keys, np.arange(T))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    dx, _ = rope_backward.reference(keys, cache)
    into_slice = Into(gradient, accumulate=True), None
    assert launch(rope_backward.twin("cuda"), keys, cache, into=into_slice)[0] is gradient
    before[:, :, :, 1] += dx
    np.testing.assert_allclose(into, before, atol=1e-6)  # the neighbours keep what they hold


def check_ids() -> None:
    """The lowest and the highest id, wherever they are, are kept beside those of earlier calls; one is ignored."""
    for dtype, kernel in _WATCH.items():
        for n, threads in ((1, 32), (40, 64), (300, 256), (1500, 1024)):
            # All on one side of 0, which nothing that was not written is; the extremes in several places.
            never = -(1 << 40)
            for low, high, place, before in (
                (-900, -500, n - 1, never),
                (500, 900, n // 15, never),
                (500, 900, 0, 1 << 30),
            ):
                ids = np.random.default_rng(n).integers(low, high, n).astype(dtype)
                ids[place], ids[place - 1], ids[(place + n // 2) % n] = high + 5, low - 5, 7777
                counted = ids[ids != 7777].astype(np.int64)
                kept = np.array([before], np.int64), np.array([before], np.int64)
                kernel(1, threads, ids, *kept, n, 7777)
                assert kept[0][0] == max([before, *-counted])
                assert kept[1][0] == max([before, *counted])


def check_targets() -> None:
    """What a case cannot draw: targets that are no classes, upstream gradients of the host, and the count."""
    V, logits = 40, np.random.default_rng(0).standard_normal((5, 40), np.float32)
    targets, weight = np.array([-3, V, 2, -100, V - 1]), np.arange(1, V + 1, dtype=np.float32)
    nothing = np.full((1, V), -np.inf, np.float32)  # a row without a softmax says so
    assert np.isnan(CrossEntropyCache(*cross_entropy_forward.twin("cuda")(nothing, targets[2:3])[1]).total).all()
    for class_weight in (None, weight):
        (losses, count), cache = cross_entropy_forward.twin("cuda")(logits, targets, class_weight, each=True)
        np.testing.assert_array_equal(np.isnan(losses), [True, True, False, False, False])
        assert losses[3] == 0
        assert np.isnan(count)
        cache = CrossEntropyCache(*cache)
        (dlogits, *_) = cross_entropy_backward.twin("cuda")(2.0, cache, into=(None, None, None))
        np.testing.assert_array_equal(np.isnan(dlogits).all(axis=1), [True, True, False, False, False])
        assert not dlogits[3].any()
        good = slice(2, None)
        (_, counted), known = cross_entropy_forward.reference(logits[good], targets[good], class_weight)
        (_, found), _ = cross_entropy_forward.twin("cuda")(logits[good], targets[good], class_weight)
        assert found == counted
        expected, *_ = cross_entropy_backward.reference(2.0, known)
        np.testing.assert_allclose(dlogits[good], expected, rtol=1e-5, atol=1e-5)


def check_tokens() -> None:
    """Tokens outside a table: rows of NaN, and no gradient; nothing around the table is touched."""
    for C in (5, 8):
        table, tokens = np.ones((3, C), np.float32), np.array([3, -1, 2, 7, 2])
        out, _ = embedding_forward.twin("cuda")(tokens, table)
        np.testing.assert_array_equal(np.isnan(out).all(axis=1), [True, True, False, True, False])
        _, dtable = embedding_backward.twin("cuda")(out * 0 + 1, EmbeddingCache(tokens, table, None), into=(None, None))
        np.testing.assert_array_equal(dtable, np.array([[0.0], [0.0], [2.0]]) * np.ones((1, C)))


def check_dropout_loops() -> None:
    """Few blocks, so that their threads take several elements and samples; and a word that is just the threshold."""
    x, key = np.random.default_rng(0).standard_normal((3, 3004), np.float32), Key.from_seed(3)
    before, dropout.MOST_BLOCKS = dropout.MOST_BLOCKS, 1
    try:
        for first, p in ((0, 0.3), (1, int(random_bits(key, (1, 1))[0, 0]) / 2**32)):
            given_ = x[:, first:]
            expected, _ = dropout_forward.reference(given_, p=p, key=key)
            out, _ = dropout_forward.twin("cuda")(given_, p=p, key=key)
            np.testing.assert_allclose(out, expected, rtol=1e-6)
            assert out[0, 0] != 0 or p == 0.3
    finally:
        dropout.MOST_BLOCKS = before


def check_scale() -> None:
    """A factor of the host or of the device, for one block and for several, written or added."""
    for n in (5, 8, 1030, 3000):
        x, V = np.random.default_rng(n).standard_normal(n, np.float32), 4 if n % 4 == 0 else 1
        for factor, value in ((None, 1.5), (np.array(1.5, np.float32), np.nan)):
            for add in (0, 1):
                out = np.full(n, 2.0, np.float32)
                _SCALE[V](blocks_for(-(-n // V)), 256, factor, value, x, out, n, add)
                np.testing.assert_allclose(out, 1.5 * x + 2 * add, rtol=1e-6, atol=1e-6)


HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def check_rounding() -> None:
    """Operands are rounded as NumPy rounds."""
    for size in (1, 40, 1028, 270_000):
        x = np.random.default_rng(size).standard_normal(size, np.float32)
        for dtype in HALVES:
            np.testing.assert_array_equal(rounded(x, dtype).view(np.uint16), x.astype(dtype).view(np.uint16))


def check_float8() -> None:
    """Scales and rounded numbers have the bits of the readable code: sizes on both sides of packs, tiles and blocks.

    Among the numbers are the least and the largest of a format, ties, subnormal ones, both infinities and NaN.
    """
    odd = np.array([0, -0.0, 448, 449, 464, 57344, 1e-45, 2.0**-9, 2.0**-10, 1.0625, 1.1875, -3e38], np.float32)
    for form in (E4M3, E5M2):
        for R, C in ((1, 1), (3, 16), (130, 33), (7, 100), (300, 64), (1, 270_000)):
            x = np.random.default_rng(R).standard_normal((R, C), np.float32)
            for special in ((), odd[:6], odd, np.array([np.inf]), np.array([np.nan, 1]), np.array([-np.inf])):
                flat = x.copy().reshape(-1)
                flat[: len(special)] = np.resize(special, min(len(special), x.size)) if len(special) else []
                y = flat.reshape(R, C)
                scale = float8.float8_scale(y, form)
                np.testing.assert_array_equal(scale, float8_scale(y, form))
                codes = _codes(y, scale, form)
                np.testing.assert_array_equal(float8.to_float8(y, scale, form).codes, codes)
                if C > 1000:
                    continue
                for both in (False, True):
                    straight, turned = float8.turned_float8(y, scale, form, both=both)
                    assert (straight is None) is not both
                    if straight is not None:
                        np.testing.assert_array_equal(straight.codes, codes)
                    assert turned.codes.shape == (C, -(-R // 16) * 16)
                    np.testing.assert_array_equal(turned.codes[:, :R], codes.T)
                    assert not turned.codes[:, R:].any()
                if not len(special):
                    # Another scale: numbers beyond the range, and many that are subnormal.
                    for other in (np.float32(2.0**-12), np.float32(2.0**6)):
                        found = float8.to_float8(y, np.asarray(other), form).codes
                        np.testing.assert_array_equal(found, _codes(y, other, form))
    for name in ("tanh", "exact"):
        for shape in ((5, 48), (3, 7)):
            hidden = np.random.default_rng(0).standard_normal(shape, np.float32).astype(HALVES[1])
            exact, _ = gelu_forward.reference(hidden.astype(np.float32), approximate=name)
            functor = float8.functor_of(name)
            scale = float8.float8_scale(hidden, E4M3, functor)
            np.testing.assert_array_equal(scale, float8_scale(exact, E4M3))
            expected = to_float8(exact, scale, E4M3)
            for found in (
                float8.to_float8(hidden, scale, E4M3, functor).codes,
                float8.turned_float8(hidden, scale, E4M3, functor)[1].codes[:, : shape[0]].T,
            ):
                values = float8_values(found, E4M3) * scale
                np.testing.assert_allclose(values, expected, rtol=0.13, atol=1e-6)  # a digit, where a tie is near
                assert np.mean(values != expected) < 0.02


def _codes(x: np.ndarray, scale: np.ndarray, form: Float8Format) -> np.ndarray:
    """The bits of rounded numbers, by ml_dtypes; NaN has those of the kernels."""
    with np.errstate(all="ignore"):
        exact = to_float8(x, scale, form) / scale
        codes = exact.astype(float8_dtype(form.name)).view(np.uint8)
    return np.where(np.isnan(exact), 0x7F, codes)


def check_column_sums() -> None:
    """Sums over rows, alone and with the rounded matrix, for more rows than there are blocks and for odd columns."""
    for R, C in ((1, 1), (70, 33), (9, 300), (20_000, 3)):
        x = np.random.default_rng(R).standard_normal((R, C), np.float32)
        for dtype in (None, *HALVES):
            operand = None if dtype is None else np.full((R, C), np.nan, dtype)
            for add in (False, True):
                out = np.full(C, 2.0, np.float32)
                column_sums(x, slot(Into(out, add), (C,), out), operand)
                np.testing.assert_allclose(out, x.sum(0, dtype=np.float64) + 2 * add, rtol=1e-5, atol=2e-5)
            if operand is not None:
                np.testing.assert_array_equal(operand.view(np.uint16), x.astype(dtype).view(np.uint16))


def check_activation() -> None:
    """GELU of numbers of 16 bits, forward and backward; each result may be left out."""
    for n in (7, 40, 270_000):
        rng = np.random.default_rng(n)
        wide, given_ = rng.standard_normal(n), rng.standard_normal(n).astype(np.float32)
        for name, dtype in (("float32", np.dtype(np.float32)), ("float16", HALVES[0]), ("bfloat16", HALVES[1])):
            hidden, V = wide.astype(dtype), 4 if n % 4 == 0 else 1
            exact = hidden.astype(np.float64)
            value, cache = gelu_forward.reference(exact, approximate="none")
            (slope,) = (gelu_backward.reference(np.ones(n), cache),)
            gap = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}[name]
            out = np.full(n, np.nan, dtype)
            _FORWARD["GeluExact", name, V](blocks_for(n // V), 256, hidden, out, n)
            np.testing.assert_allclose(out.astype(np.float64), value, rtol=gap, atol=gap)
            for add in (0, 1):
                d, again = np.full(n, 3.0, np.float32), np.full(n, np.nan, dtype)
                BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, given_, hidden, d, again, n, add)
                np.testing.assert_allclose(d, given_ * slope + 3 * add, rtol=1e-5, atol=1e-5)
                np.testing.assert_array_equal(again.view(np.uint8), out.view(np.uint8))
            BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, None, hidden, None, again, n, 0)
            BACKWARD["GeluExact", name, V](blocks_for(n // V), 256, given_, hidden, d, None, n, 0)
            np.testing.assert_allclose(d, given_ * slope, rtol=1e-5, atol=1e-5)
