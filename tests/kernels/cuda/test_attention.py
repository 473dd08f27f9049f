"""Attention on tensor cores, run by the emulator in two schedules, against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.arrays import to_device, to_numpy
from minitrain.backend.cuda.launch import record_launches
from minitrain.backend.precision import half_dtype, use_precision
from minitrain.backend.targets import SKIP, Into
from minitrain.kernels.cuda.attention import attention as twins
from minitrain.ops import attention_backward, attention_forward
from minitrain.random import Key
from minitrain.testing.cases import CASES, SMALL
from minitrain.testing.cuda.fake import emulated_device
from tests.helpers.cuda import emulated as emulate
from tests.helpers.cuda import launch, needs_compiler
from tests.helpers.cuda.attention_runs import Results, check, emulated, problem, run

pytestmark = needs_compiler

PRECISIONS = ("float32", "bfloat16", "float16")
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


def draw_options(data: Any, B: int, S: int) -> dict[str, Any]:
    options: dict[str, Any] = {"causal": data.draw(st.booleans())}
    if data.draw(st.booleans()):
        options["window"] = data.draw(st.sampled_from([1, 3, 40, 64, 70]))
    if data.draw(st.booleans()):
        options["key_lengths"] = np.random.default_rng(S).integers(0, S + 1, B)
    if data.draw(st.integers(0, 3)) == 0:
        options["scale"] = data.draw(st.sampled_from([0.05, 0.5]))
    return options


@every_precision
@settings(max_examples=12)
@given(st.data())
def test_attention_is_the_reference(precision, data):
    """Any T and S, on both sides of a tile; heads of widths that fill a tile, and that do not."""
    T, S = data.draw(st.sampled_from([(1, 1), (17, 5), (63, 65), (64, 64), (65, 63), (20, 140), (130, 33), (5, 193)]))
    G, group = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]))
    widths = [1, 7, 8, 16] if precision == "float16" else [1, 7, 8, 16, 20, 32, 33]  # each width is compiled
    B, D = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from(widths))
    seed = data.draw(st.integers(0, 99))
    check(problem(B, T, S, G * group, G, D, seed=seed, **draw_options(data, B, S)), precision)


@pytest.mark.parametrize(
    ("precision", "D"),
    [
        ("float32", 48),
        ("float32", 96),
        ("float32", 100),
        ("bfloat16", 64),
        ("bfloat16", 96),
        ("bfloat16", 128),
        ("float16", 128),
    ],
)
def test_wide_heads(precision, D):
    check(problem(1, 70, 90, 2, 1, D, causal=True), precision)


@every_precision
@pytest.mark.parametrize(("causal", "S"), [(True, 71), (False, 66), (True, 40)])
def test_dropout_draws_the_references_words(precision, causal, S):
    """The rows of (H, T, S) begin at any remainder by 4, and the sample may be one of a large batch."""
    options = {"causal": causal, "dropout": 0.3, "key": Key.from_seed(5).at_sample(2**33 + 1)}
    check(problem(2, 67, S, 4, 2, 16, **options), precision)


def test_dropout_without_a_key_is_none():
    with_rate, without = problem(1, 20, 20, 1, 1, 16, dropout=0.5), problem(1, 20, 20, 1, 1, 16)
    for a, b in zip(emulated(with_rate), emulated(without), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("T", "S", "D"), [(67, 70, 16), (3, 200, 16), (40, 70, 33)])
def test_tf32_rounds_the_operands_of_products(T, S, D):
    """To 11 significant bits. The bounds know that; float32 gives other results."""
    p = problem(2, T, S, 4, 2, D, causal=True)
    rough = check(p, "tf32")
    assert np.abs(rough.out - emulated(p).out).max() > 1e-5


@every_precision
@settings(max_examples=6)
@given(st.data())
def test_the_shared_cases(precision, data):
    call = data.draw(CASES["attention"].calls(SMALL).filter(lambda c: not CASES["attention"].left_to_reference(c)))
    call = call.astype(np.float32)
    q, k, v, _ = call.inputs
    dout = np.random.default_rng(1).standard_normal(q.shape).astype(np.float32)
    p = problem(1, 1, 1, 1, 1, 1)._replace(q=q, k=k, v=v, dout=dout, options=call.options)
    check(p, precision)


@pytest.mark.parametrize(
    "options",
    [
        {"mask": np.ones((3, 3), bool)},
        {"alibi_slopes": np.ones(1, np.float32)},
        {"softcap": 2.0},
        {"scale": 0.0},
        {"scale": -1.0},
        {"dropout": 1 - 1e-12, "key": Key.from_seed(0)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_forms_left_to_the_reference(options):
    q = np.ones((1, 3, 1, 8), np.float32)
    assert twins.attention_forward(q, q, q, None, **options) is NotImplemented


def test_shapes_and_types_left_to_the_reference():
    q, wide = np.ones((1, 3, 1, 8), np.float32), np.ones((1, 3, 1, 129), np.float32)
    assert twins.attention_forward(q, q, q, np.ones((3, 3), np.float32)) is NotImplemented
    assert twins.attention_forward(wide, wide, wide, None) is NotImplemented
    assert twins.attention_forward(q[:0], q[:0], q[:0], None) is NotImplemented
    assert twins.attention_forward(q, q[:, :0], q[:, :0], None) is NotImplemented
    assert twins.attention_forward(q, q.astype(np.float16), q, None) is NotImplemented


# Where arrays lie.


@every_precision
def test_heads_may_be_slices_of_packed_arrays(precision):
    """Read and written in place, with strides; the neighbours keep what they hold."""
    p = problem(2, 40, 40, 2, 2, 16, causal=True)
    expected = emulated(p, precision)
    packed, dpacked = (np.full((2, 40, 8, 16), np.nan, np.float32) for _ in range(2))
    parts = [np.s_[:, :, 2 * i : 2 * i + 2] for i in range(3)]
    for part, x in zip(parts, p[:3], strict=True):
        packed[part] = x
    sliced = p._replace(q=packed[parts[0]], k=packed[parts[1]], v=packed[parts[2]])
    with emulate():
        got = run(sliced, precision, into=(*(Into(dpacked[part]) for part in parts), None))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for part, gradient in zip(parts, expected[2:], strict=True):
        np.testing.assert_array_equal(dpacked[part], gradient)
    assert np.isnan(dpacked[:, :, 6:]).all()


@pytest.mark.parametrize("layout", ["transposed", "reversed", "offset", "broadcast"])
def test_other_layouts_are_copied(layout):
    p = problem(2, 20, 20, 2, 2, 16)

    def laid_out(x: Any) -> Any:
        if layout == "transposed":
            return np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
        if layout == "reversed":
            return np.ascontiguousarray(x[:, ::-1])[:, ::-1]
        if layout == "offset":  # rows begin four bytes after a multiple of 16
            room = np.empty((*x.shape[:3], 20), np.float32)
            room[..., 1:17] = x
            return room[..., 1:17]
        return np.broadcast_to(x[:, :1], x.shape)

    moved = p._replace(q=laid_out(p.q), k=laid_out(p.k), v=laid_out(p.v), dout=laid_out(p.dout))
    plain = p._replace(**{name: np.array(getattr(moved, name)) for name in ("q", "k", "v", "dout")})
    for a, b in zip(emulated(moved), emulated(plain), strict=True):
        np.testing.assert_array_equal(a, b)


@every_precision
def test_into(precision):
    """Skipped, added, and written over garbage."""
    p = problem(1, 33, 40, 4, 2, 16, causal=True)
    plain = emulated(p, precision)
    old, garbage = np.ones_like(plain.dk), np.full_like(plain.dq, np.nan)
    with emulate():
        got = run(p, precision, into=(Into(garbage), Into(old, accumulate=True), SKIP, None))
        nothing = run(p, precision, into=(SKIP, SKIP, SKIP, None))
        strided = np.zeros((4, 33, 1, 16), np.float32).transpose(2, 1, 0, 3)
        transposed = run(p, precision, into=(Into(strided), SKIP, None, None))
    assert got.dq is garbage
    assert got.dk is old
    assert got.dv is None
    assert nothing[2:] == (None, None, None)
    assert transposed.dq is strided
    np.testing.assert_array_equal(got.dq, plain.dq)
    np.testing.assert_allclose(got.dk, plain.dk + 1, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(strided, plain.dq)
    np.testing.assert_array_equal(transposed.dv, plain.dv)


# What a query may see.


@every_precision
@pytest.mark.parametrize(
    ("T", "S", "options"),
    [
        (70, 20, {"window": 2}),
        (30, 30, {"window": 2, "causal": True, "key_lengths": np.array([3, 30])}),
        (8, 80, {"key_lengths": np.array([0, 70])}),
        (100, 30, {"causal": True}),
    ],
)
def test_a_query_that_sees_nothing_gets_zero(precision, T, S, options):
    p = problem(2, T, S, 2, 1, 16, **options)
    got = check(p, precision)
    blind = np.isneginf(got.lse).swapaxes(1, 2)  # (B, T, H)
    assert blind.any()
    assert not got.out[blind].any()
    assert not got.dq[blind].any()


@every_precision
def test_no_tile_outside_a_window_is_read(precision):
    """That is what makes a window fast: not-a-number far before it changes nothing."""
    p = problem(1, 256, 256, 1, 1, 16, causal=True, window=40)
    expected = emulated(p, precision)
    p.k[:, :64] = p.v[:, :64] = np.nan
    got = emulated(p, precision)
    for name in Results._fields:
        a, b = getattr(got, name), getattr(expected, name)
        axis = 2 if name == "lse" else 1
        np.testing.assert_array_equal(a.take(range(128, 256), axis), b.take(range(128, 256), axis), err_msg=name)


@every_precision
def test_large_scores(precision):
    """Digits that all keys share cost nothing in the forward: the maximum is subtracted before the exponential."""
    p = problem(1, 20, 30, 1, 1, 16)
    p.k[..., 0] = 300.0
    p.q[..., 0] = 40.0
    check(p, precision)


@every_precision
def test_not_a_number_is_passed_on(precision):
    p = problem(1, 20, 20, 1, 1, 16)
    p.q[0, 3] = np.nan
    got = emulated(p, precision)
    assert np.isnan(got.out[0, 3]).all()
    assert np.isfinite(np.delete(got.out, 3, axis=1)).all()


# Decoding.


@every_precision
@settings(max_examples=8)
@given(st.data())
def test_a_row_of_decoding_does_not_depend_on_its_neighbours(precision, data):
    """The same bits with other queries, other samples, and later keys beside it."""
    S, group = data.draw(st.sampled_from([1, 60, 127, 129, 260])), data.draw(st.sampled_from([1, 3]))
    window = data.draw(st.sampled_from([None, 50]))
    p = problem(3, 4, S + 3, 2 * group, 2, 16, causal=True, window=window)
    with emulate():
        full = run(p, precision)
        for t in range(4):
            keys = S + t
            alone = p._replace(q=p.q[1:2, t : t + 1], k=p.k[1:2, :keys], v=p.v[1:2, :keys], dout=p.dout[1:2, t : t + 1])
            np.testing.assert_array_equal(run(alone, precision).out, full.out[1:2, t : t + 1])


@every_precision
def test_decoding_reads_each_key_head_once(precision):
    """Nine query heads share three key heads; the parts of the keys are blocks of their own."""
    p = problem(2, 1, 300, 9, 3, 16, causal=True)
    with emulate(), record_launches() as launches, use_precision(precision):
        launch(twins.attention_forward, p.q, p.k, p.v, None, **p.options)
    split, combine = launches
    assert (split.name.partition("<")[0], split.grid, split.block) == ("attention_split", (3, 3, 2), (32, 1, 1))
    assert (combine.name.partition("<")[0], combine.grid) == ("attention_combine", (3, 3, 2))
    check(p, precision)


# Launches.


@every_precision
def test_a_training_step_launches_four_kernels(precision):
    with emulate(), record_launches() as launches:
        run(problem(1, 40, 40, 2, 1, 16, causal=True), precision)
    names = [launch.name.partition("<")[0] for launch in launches]
    assert names == ["attention_forward", "attention_rows", "attention_backward_keys", "attention_backward_queries"]


@every_precision
def test_two_runs_give_the_same_bytes(precision):
    p = problem(2, 70, 70, 4, 2, 16, causal=True, dropout=0.2, key=Key.from_seed(1))
    for a, b in zip(emulated(p, precision), emulated(p, precision), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_cache_keeps_operands_in_16_bits(precision):
    p = problem(1, 20, 20, 1, 1, 12)  # rows of 24 bytes, padded to 32
    with emulate(), use_precision(precision):
        _, cache = launch(twins.attention_forward, p.q, p.k, p.v, None)
    q, k, v, _, out, *_ = cache
    assert {x.dtype for x in (q, k, v, out)} == {half_dtype(precision)}
    np.testing.assert_array_equal(q, p.q.astype(half_dtype(precision)))


def test_device_arrays_come_here():
    """Through the operation itself, on the emulated device: training, and a step of decoding with kept keys."""
    p = problem(2, 40, 40, 4, 2, 16, causal=True)
    expected = emulated(p, "bfloat16")
    with emulated_device(), record_launches() as launches, use_precision("bfloat16"):
        q, k, v, dout = (to_device(x, "cuda") for x in p[:4])
        out, cache = attention_forward(q, k, v, causal=True)
        gradients = attention_backward(dout, cache)[:3]
        room = to_device(np.concatenate([p.k, p.k], axis=1), "cuda")  # kept keys are the first part of a buffer
        step, _ = attention_forward(q[:, -1:], room[:, :40], v, causal=True)
        got = [to_numpy(x) for x in (out, cache.lse, *gradients)]
        step = to_numpy(step)
    names = [launch.name.partition("<")[0].removeprefix("attention_") for launch in launches]
    assert names == ["forward", "rows", "backward_keys", "backward_queries", "split", "combine"]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(step, expected.out[:, -1:], atol=4e-3)
