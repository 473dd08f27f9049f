"""What happens at the edges: a wrong argument is named in one sentence, an odd value has a defined outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend import is_array, use_kernels
from minitrain.errors import ShapeError, TokenError
from minitrain.ops import (
    SKIP,
    Into,
    Loss,
    attention_backward,
    attention_forward,
    cross_entropy_backward,
    cross_entropy_forward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    geglu_forward,
    gelu_forward,
    gelu_linear_forward,
    group_norm_forward,
    l2_normalize_backward,
    l2_normalize_forward,
    layer_norm_forward,
    linear_backward,
    linear_forward,
    pointer_forward,
    registry,
    rope_forward,
    softmax_forward,
)
from minitrain.random import Key
from minitrain.testing import with_layout
from minitrain.testing.cases import CASES

B, T, S, H, D, C, N, V = 2, 3, 5, 4, 6, 7, 8, 9
OF_ANY_SHAPE = {"embedding", "conv2d", "load_balancing", "pointer", "scale", "supervised_contrastive", "unlikelihood"}
"""One of their arguments may have any last axis, such as a vocabulary."""
every_op = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True, params=["reference", "auto"])
def _mode(request):
    """Everything here holds for the readable code and for the kernels."""
    with use_kernels(request.param):
        yield


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed + len(shape)).standard_normal(shape).astype(dtype)


def integers(high: int, *shape: int) -> Any:
    return np.random.default_rng(1).integers(0, high, shape)


def plain(name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One ordinary call of each operation, with every input given."""
    x, weight, bias = normal(B, T, C), normal(N, C, seed=1), normal(N, seed=2)
    return {
        "linear": ((x, weight, bias), {}),
        "gelu_linear": ((x, weight, bias), {}),
        "float8_linear": ((x, weight, bias), {"gelu": "tanh"}),
        "low_rank": ((x, normal(2, C, seed=3), normal(N, 2, seed=4)), {"scale": 0.5}),
        "embedding": ((integers(N, B, T), weight), {}),
        "layer_norm": ((x, normal(C), normal(C, seed=3)), {}),
        "residual_layer_norm": ((x, normal(B, T, C, seed=4), normal(C), normal(C, seed=3)), {}),
        "gelu": ((x,), {}),
        "softmax": ((x,), {}),
        "l2_normalize": ((x,), {}),
        "group_norm": ((normal(B, N), normal(N), normal(N, seed=3)), {"groups": 4}),
        "rope": ((normal(B, T, H, D), integers(V, B, T)), {"base": 100.0}),
        "swiglu": ((x, normal(B, T, C, seed=4)), {}),
        "geglu": ((x, normal(B, T, C, seed=4)), {}),
        "rms_norm": ((x, normal(C)), {}),
        "residual_rms_norm": ((x, normal(B, T, C, seed=4), normal(C)), {}),
        "relu": ((x,), {}),
        "silu": ((x,), {}),
        "tanh": ((x,), {}),
        "sigmoid": ((x,), {}),
        "softplus": ((x,), {}),
        "dropout": ((x,), {"p": 0.5, "key": Key.from_seed(1)}),
        "residual": ((x, normal(B, T, C, seed=4)), {}),
        "scale": ((x, normal(seed=4)), {}),
        "attention": ((normal(B, T, H, D), normal(B, S, 2, D, seed=1), normal(B, S, 2, D, seed=2)), {}),
        "pointer": (
            (normal(B, T, V), normal(B, T, C), normal(B, S, C, seed=1), normal(B, T), integers(V, B, S)),
            {},
        ),
        "cross_entropy": ((normal(B, T, V), integers(V, B, T), abs(normal(V))), {}),
        "info_nce": ((normal(V, C), normal(V, C, seed=1), normal(seed=2), integers(2, V)), {}),
        "siglip": ((normal(V, C), normal(V, C, seed=1), normal(seed=2), normal(seed=3), integers(2, V)), {}),
        "supervised_contrastive": ((normal(V, C), integers(2, V)), {}),
        "linear_cross_entropy": ((x, weight, integers(N, B, T), bias, abs(normal(N))), {"chunk": 2}),
        "focal": ((normal(B, T, V), integers(V, B, T), abs(normal(V))), {}),
        "unlikelihood": ((normal(B, T, V), integers(V, B, T)), {}),
        "binary_focal": ((x, integers(2, B, T, C)), {}),
        "hinge": ((x, 2 * integers(2, B, T, C) - 1), {}),
        "binary_cross_entropy": ((x, abs(normal(B, T, C, seed=4)), abs(normal(C))), {}),
        "kl_divergence": ((x, abs(normal(B, T, C, seed=4))), {}),
        "mean_squared_error": ((x, normal(B, T, C, seed=4), abs(normal(B, T, C, seed=5))), {}),
        "mean_absolute_error": ((x, normal(B, T, C, seed=4), abs(normal(B, T, C, seed=5))), {}),
        "huber": ((x, normal(B, T, C, seed=4), abs(normal(B, T, C, seed=5))), {}),
        "conv2d": ((normal(B, 6, D, D), normal(N, 3, 2, 3), normal(N)), {"groups": 2}),
        "avg_pool2d": ((normal(B, T, D, D),), {"kernel": 2}),
        "max_pool2d": ((normal(B, T, D, D),), {"kernel": 2}),
        "concat": ((x, normal(B, S, C)), {"axis": 1}),
        "split": ((x,), {"at": 3, "axis": -1}),
        "mean_pool": ((x,), {}),
        "drop_path": ((x,), {"p": 0.5, "key": Key.from_seed(8)}),
        "top_k_routing": ((x,), {"k": 2}),
        "load_balancing": ((abs(x), integers(C, B, T, 2)), {}),
        "router_z_loss": ((x,), {}),
        "triplet": ((x, normal(B, T, C, seed=4), normal(B, T, C, seed=5)), {}),
    }[name]


def floating(inputs: tuple[Any, ...]) -> list[int]:
    return [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]


def replaced(inputs: tuple[Any, ...], i: int, x: Any) -> tuple[Any, ...]:
    return (*inputs[:i], x, *inputs[i + 1 :])


# Wrong arguments.


@every_op
def test_mixed_dtypes_are_named(name):
    inputs, options = plain(name)
    for i in floating(inputs)[1:]:
        argument = CASES[name].arguments[i]
        with pytest.raises(ShapeError, match=rf"{name}_forward: {argument} is float64 but \w+ is float32; convert"):
            registry()[name].forward(*replaced(inputs, i, inputs[i].astype(np.float64)), **options)


@every_op
def test_wrong_kinds_of_numbers_are_named(name):
    inputs, options = plain(name)
    for i, x in enumerate(inputs):
        argument = CASES[name].arguments[i]
        wrong, message = (x.astype(int), "floating point") if x.dtype.kind == "f" else (x * 1.0, "integers")
        with pytest.raises(ShapeError, match=rf"{name}_forward: {argument} must (be|hold) {message}"):
            registry()[name].forward(*replaced(inputs, i, wrong), **options)


@every_op
def test_what_is_no_array_is_named(name):
    inputs, options = plain(name)
    for i, x in enumerate(inputs):
        wrong, argument = x.tolist(), CASES[name].arguments[i]
        with pytest.raises(ShapeError, match=rf"{argument} must be a NumPy or CuPy array, got {type(wrong).__name__}"):
            registry()[name].forward(*replaced(inputs, i, wrong), **options)


@every_op
def test_a_wrong_shape_is_named(name):
    """The last axis of each argument in turn is one longer than the others allow."""
    inputs, options = plain(name)
    if len(inputs) == 1 or name in OF_ANY_SHAPE:
        pytest.skip("arguments of any shape fit each other")
    for i, x in enumerate(inputs):
        wrong = np.concatenate([x, x[..., :1]], axis=-1) if x.ndim else x[None]
        with pytest.raises(ShapeError, match=rf"{name}_forward: \w+ has shape \(.*\), expected"):
            registry()[name].forward(*replaced(inputs, i, wrong), **options)


@every_op
def test_a_wrong_cotangent_is_named(name):
    inputs, options = plain(name)
    if name in ("dropout", "drop_path", "residual", "avg_pool2d", "max_pool2d", "concat"):
        pytest.skip("the cache holds no floating-point array to compare the cotangent with")
    if isinstance(registry()[name].forward(*inputs, **options)[0], Loss):
        pytest.skip("the cotangent of a total is a number")
    result = registry()[name].forward(*inputs, **options)
    given = [np.ones_like(out) for out in CASES[name].outputs(result)]
    for i, c in enumerate(given):
        with pytest.raises(ShapeError, match=rf"{name}_backward: \w+ has shape"):
            registry()[name].backward(*replaced(tuple(given), i, c[..., :-1]), result[-1])
        with pytest.raises(ShapeError, match=rf"{name}_backward: \w+ is float64 but [\w.]+ is float32"):
            registry()[name].backward(*replaced(tuple(given), i, c.astype(np.float64)), result[-1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_forward(normal(T, C), normal(N, D)), r"weight has shape \(8, 6\), expected .* K = 7 as in x"),
        (lambda: linear_forward(normal(T, C), normal(N)), r"weight has shape \(8,\), expected 2 dimensions"),
        (lambda: dropout_forward(normal(T, C), p=1.0, key=None), r"p = 1.0 must be in \[0, 1\)"),
        (lambda: dropout_forward(normal(T, C), p=-0.1, key=None), r"p = -0.1 must be in \[0, 1\)"),
        (lambda: gelu_forward(normal(T), approximate="erf"), r"approximate='erf'; use 'tanh'"),
        (
            lambda: geglu_forward(normal(T), normal(T), approximate="erf"),
            r"geglu_forward: approximate='erf'; use 'tanh'",
        ),
        (lambda: gelu_linear_forward(normal(T, C), normal(N, C), approximate="no"), r"gelu_linear_forward: approxim"),
        (lambda: turn(normal(B, T, H, 7)), r"x has shape \(2, 3, 4, 7\), expected an even head width D"),
        (lambda: turn(positions=np.arange(S)), r"positions has shape \(5,\), expected \(3,\) or \(2, 3\) as in x"),
        (lambda: turn(base=0.0), r"base = 0.0 and scaling = 1.0 must be positive"),
        (lambda: turn(scaling=-1.0), r"base = 10000.0 and scaling = -1.0 must be positive"),
        (lambda: grouped(normal(B)), r"x has shape \(2,\), expected \(B, C, ...\) with C = 8 as in weight"),
        (lambda: grouped(normal(B, C, N)), r"x has shape \(2, 7, 8\), expected \(B, C, ...\) with C = 8"),
        (lambda: grouped(groups=3), r"groups = 3 must divide the C = 8 channels"),
        (lambda: grouped(groups=0), r"groups = 0 must divide"),
        (lambda: attend(normal(B, T, 3, D)), r"q has 3 heads and k has 2"),
        (lambda: attend(dropout=1.0), r"dropout = 1.0 must be in"),
        (lambda: attend(mask=np.ones((T, S))), r"mask must be boolean"),
        (lambda: attend(mask=np.ones((S, T), bool)), r"mask has shape \(5, 3\), which does not broadcast"),
        (lambda: attend(bias=normal(1, B, H, T, S)), r"bias has shape .* does not broadcast"),
        (lambda: attend(key_lengths=np.array([1, 2, 3])), r"key_lengths must hold B = 2 integers"),
        (lambda: attend(key_lengths=np.array([1.0, 2.0])), r"key_lengths must hold B = 2 integers"),
        (lambda: point(key_lengths=np.array([1, 2, 3])), r"pointer_forward: key_lengths must hold B = 2 integers"),
        (lambda: point(key_lengths=np.array([1.0, 2.0])), r"key_lengths must hold B = 2 integers"),
        (lambda: entropy(label_smoothing=1.5), r"label_smoothing = 1.5 must be in"),
        (lambda: entropy(label_smoothing=-0.5), r"label_smoothing = -0.5 must be in"),
    ],
)
def test_wrong_options_and_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


def turn(x: Any = None, positions: Any = None, **options: Any) -> Any:
    return rope_forward(
        normal(B, T, H, D) if x is None else x, np.arange(T) if positions is None else positions, **options
    )


def point(**options: Any) -> Any:
    return pointer_forward(*plain("pointer")[0], **options)


def grouped(x: Any = None, groups: int = 2) -> Any:
    return group_norm_forward(normal(B, N, T) if x is None else x, normal(N), normal(N), groups=groups)


def attend(q: Any = None, bias: Any = None, **options: Any) -> Any:
    q = normal(B, T, H, D) if q is None else q
    return attention_forward(q, normal(B, S, 2, D, seed=1), normal(B, S, 2, D, seed=2), bias, **options)


def entropy(**options: Any) -> Any:
    return cross_entropy_forward(normal(T, V), integers(V, T), **options)


def test_into_must_fit_its_gradients():
    x, weight = normal(T, C), normal(N, C)
    out, cache = linear_forward(x, weight)
    with pytest.raises(ShapeError, match=r"linear_backward: into has 2 entries"):
        linear_backward(np.ones_like(out), cache, into=(None, None))
    transposed = np.zeros((C, N), np.float32)  # as many elements: a kernel that trusts it writes a wrong gradient
    with pytest.raises(ShapeError, match=r"linear_backward: .*\(7, 8\)"):
        linear_backward(np.ones_like(out), cache, into=(None, Into(transposed), None))


# Token ids.


@pytest.mark.parametrize(("bad", "dtype"), [(N, np.int64), (-1, np.int32), (200, np.uint8), (2**31 - 1, np.int32)])
def test_a_token_outside_the_table_is_named(bad, dtype):
    tokens = integers(N, B, T).astype(dtype)
    tokens[1, 2] = bad
    with pytest.raises(TokenError, match=rf"embedding_forward: tokens\[1, 2\] = {bad} is outside \[0, {N}\)"):
        embedding_forward(tokens, normal(N, C))


@pytest.mark.parametrize("bad", [V, -1, -99])
def test_a_target_outside_the_classes_is_named(bad):
    targets = integers(V, B, T)
    targets[0, 1] = bad
    with pytest.raises(TokenError, match=rf"cross_entropy_forward: targets\[0, 1\] = {bad} is outside \[0, {V}\)"):
        cross_entropy_forward(normal(B, T, V), targets)
    total, count = cross_entropy_forward(normal(B, T, V), targets, ignore_index=bad)[0]
    assert np.isfinite(total)
    assert count == B * T - 1


def test_the_error_is_the_same_for_a_lone_token():
    with pytest.raises(TokenError, match="tokens"):
        embedding_forward(np.array(N), normal(N, C))
    assert embedding_forward(np.array(2), normal(N, C))[0].shape == (C,)


# Rows that may attend to nothing.


@pytest.mark.parametrize(
    ("options", "blind"),
    [
        ({"key_lengths": np.array([S, 0])}, np.s_[1]),
        ({"mask": np.arange(T)[:, None] + np.zeros(S) != 1}, np.s_[:, 1]),
        ({"mask": np.zeros((1, 1, 1, 1), bool)}, np.s_[:]),
        ({"key_lengths": np.array([S, 0]), "causal": True, "dropout": 0.5, "key": Key.from_seed(0)}, np.s_[1]),
    ],
    ids=["no keys", "masked query", "all masked", "no keys, causal, dropout"],
)
def test_a_query_that_may_attend_to_nothing_gets_zero(options, blind):
    (q, k, v), _ = plain("attention")
    out, cache = attention_forward(q, k, v, **options)
    dq, dk, dv, _ = attention_backward(normal(*out.shape, seed=9), cache)
    assert not out[blind].any()
    assert not dq[blind].any()
    assert np.isfinite(dk).all()
    assert np.isfinite(dv).all()
    if options.get("mask") is None:
        assert not dk[blind].any()
        assert not dv[blind].any()
    only_blind = np.zeros_like(out)
    only_blind[blind] = 1  # what such a query is told changes nothing
    for gradient in attention_backward(only_blind, cache)[:3]:
        assert not gradient.any()


@pytest.mark.parametrize(("queries", "keys"), [(T, 0), (0, S), (0, 0)])
def test_no_keys_or_no_queries(queries, keys):
    q, k = normal(B, queries, H, D), normal(B, keys, 2, D)
    out, cache = attention_forward(q, k, k, causal=True)
    assert out.shape == q.shape
    assert not out.any()
    gradients = attention_backward(np.ones_like(out), cache)[:3]
    assert [gradient.shape for gradient in gradients] == [q.shape, k.shape, k.shape]
    assert not any(gradient.any() for gradient in gradients)


def test_causal_queries_before_the_first_key_get_zero():
    """With more queries than keys, aligned at the bottom right, the first T - S see nothing."""
    q, k, v = normal(B, S, H, D), normal(B, T, H, D, seed=1), normal(B, T, H, D, seed=2)
    out, cache = attention_forward(q, k, v, causal=True)
    assert not out[:, : S - T].any()
    np.testing.assert_allclose(out[:, S - T], v[:, 0], rtol=1e-6)  # the next one sees the first key alone
    dq, _, _, _ = attention_backward(np.ones_like(out), cache)
    assert not dq[:, : S - T].any()
    assert np.isneginf(cache.lse[:, :, : S - T]).all()


def test_key_lengths_beyond_the_keys_mean_all_or_none():
    (q, k, v), _ = plain("attention")
    within, _ = attention_forward(q, k, v, key_lengths=np.array([S, 0]))
    beyond, cache = attention_forward(q, k, v, key_lengths=np.array([S + 3, -2]))
    np.testing.assert_array_equal(beyond, within)
    for gradient in attention_backward(np.ones_like(beyond), cache)[:3]:
        assert not gradient[1].any()


# One of everything.


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "offset", "reversed"])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_sequence_of_one(heads, layout):
    """One key gets all the attention, whatever its score."""
    q, k, v = (with_layout(normal(1, 1, heads, D, seed=i), layout) for i in range(3))
    out, cache = attention_forward(q, k, v, causal=True)
    np.testing.assert_allclose(out, v, rtol=1e-6)
    dout = with_layout(normal(1, 1, heads, D, seed=5), layout)
    dq, dk, dv, _ = attention_backward(dout, cache)
    np.testing.assert_allclose(dv, dout, rtol=1e-6)
    np.testing.assert_allclose(dq, 0, atol=1e-6)
    np.testing.assert_allclose(dk, 0, atol=1e-6)


def test_gradients_of_a_sequence_of_one_go_into_any_buffer():
    q, k, v = (normal(1, 1, 1, D, seed=i) for i in range(3))
    _, cache = attention_forward(q, k, v)
    dout = normal(1, 1, 1, D, seed=5)
    for layout in ("contiguous", "transposed", "offset", "reversed"):
        buffer = with_layout(np.full_like(v, np.nan), layout)
        attention_backward(dout, cache, into=(SKIP, SKIP, Into(buffer), None))
        np.testing.assert_allclose(buffer, dout, rtol=1e-6)


def test_a_row_of_one():
    x = normal(T, 1)
    np.testing.assert_array_equal(softmax_forward(x)[0], np.ones((T, 1)))
    bias = normal(1)
    np.testing.assert_array_equal(layer_norm_forward(x, normal(1), bias)[0], np.broadcast_to(bias, (T, 1)))
    total, count = cross_entropy_forward(x, np.zeros(T, int))[0]
    assert total == 0
    assert count == T


# Not a number.


@every_op
def test_nan_is_handed_on(name):
    """A NaN in any input is seen in the output; one in the cotangent, in every gradient that depends on it."""
    inputs, options = plain(name)
    pair, case = registry()[name], CASES[name]
    for i in floating(inputs):
        poisoned = np.array(inputs[i])
        poisoned.reshape(-1)[:] = np.nan
        outputs = case.outputs(pair.forward(*replaced(inputs, i, poisoned), **options))
        assert any(np.isnan(out).any() for out in outputs), case.arguments[i]
    result = pair.forward(*inputs, **options)
    given = [np.full_like(out, np.nan) for out in case.outputs(result)]
    gradients = pair.backward(*given, result[-1])
    for gradient in gradients if isinstance(gradients, tuple) else (gradients,):
        assert gradient is None or np.isnan(gradient).any()


@every_op
def test_one_nan_stays_in_its_sample(name):
    """A NaN in the first sample leaves the outputs of the second as they were."""
    inputs, options = plain(name)
    if name == "embedding":
        pytest.skip("samples do not come in as floating-point rows")
    pair, case = registry()[name], CASES[name]
    if case.family == "contrastive":
        pytest.skip("its losses compare each sample with all others")
    if isinstance(pair.forward(*inputs, **options)[0], Loss):
        options = options | {"each": True}
    clean = case.outputs(pair.forward(*inputs, **options))
    poisoned = inputs[0].copy()
    poisoned[0, 0] = np.nan
    for before, after in zip(clean, case.outputs(pair.forward(poisoned, *inputs[1:], **options)), strict=True):
        assert np.isnan(after[0]).any()
        np.testing.assert_array_equal(after[1], before[1])


# Losses without targets.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_all_targets_ignored(weighted, fill):
    """Nothing counts: total and count 0, no gradient, and a mean that says so; the logits do not matter."""
    logits, targets = normal(B, T, V) + np.float32(fill), np.full((B, T), -100)
    weight = abs(normal(V)) if weighted else None
    loss, cache = cross_entropy_forward(logits, targets, weight, label_smoothing=0.1)
    assert loss.total == 0
    assert loss.count == 0
    assert np.isnan(loss.mean)
    dlogits, *rest = cross_entropy_backward(1.0, cache)
    assert not dlogits.any()
    assert rest == [None, None]


def test_one_ignored_row_has_no_gradient():
    targets = integers(V, B, T)
    targets[1, 0] = -100
    loss, cache = cross_entropy_forward(normal(B, T, V), targets)
    dlogits = cross_entropy_backward(1.0, cache)[0]
    assert loss.count == B * T - 1
    assert not dlogits[1, 0].any()
    assert dlogits[1, 1].any()
    held = np.full_like(dlogits, 7)
    cross_entropy_backward(1.0, cache, into=(Into(held, accumulate=True), None, None))
    np.testing.assert_array_equal(held[1, 0], 7)


def test_rows_that_were_not_looked_up_have_no_gradient():
    out, cache = embedding_forward(np.array([1, 1, 3]), normal(N, C))
    dweight = embedding_backward(np.ones_like(out), cache)[1]
    np.testing.assert_array_equal(dweight[:, 0], [0, 2, 0, 1, 0, 0, 0, 0])


def test_huge_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], np.float32)
    np.testing.assert_allclose(softmax_forward(logits)[0], [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    loss, cache = cross_entropy_forward(logits, np.array([1, 2]))
    np.testing.assert_allclose(loss.total, 2e4 + np.log(3), rtol=1e-6)
    dlogits = cross_entropy_backward(1.0, cache)[0]
    np.testing.assert_allclose(dlogits, [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=1e-3)  # as 1e4 + log(3) is rounded
    q = np.full((1, 2, 1, 4), 100, np.float32)
    out, _ = attention_forward(q, q * np.float32([1, -1])[:, None, None], q)
    np.testing.assert_allclose(out, q, rtol=1e-6)


def test_gelu_at_extreme_values():
    x = np.array([1e4, -1e4, 40, -40, 0, 1e-40, -1e-40], np.float32)
    for form in ("tanh", "none"):
        pair = registry()["gelu"]
        out, cache = pair.forward(x, approximate=form)
        np.testing.assert_allclose(out, [1e4, 0, 40, 0, 0, 0, 0], rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(pair.backward(np.ones_like(x), cache), [1, 0, 1, 0, 0.5, 0.5, 0.5], atol=1e-6)


def test_a_row_of_zeros_has_no_direction():
    """L2 normalisation leaves it zero, and its gradient is that of dividing by eps."""
    out, cache = l2_normalize_forward(np.zeros((T, C)), eps=1e-3)
    assert not out.any()
    np.testing.assert_allclose(l2_normalize_backward(np.ones((T, C)), cache), 1e3)


def test_every_array_of_a_plain_call_is_given():
    """The calls of this file leave no argument out but attention's bias, which has no fixed shape."""
    for name in CASES:
        missing = len(CASES[name].arguments) - len(plain(name)[0])
        assert missing == (name == "attention")
        assert all(is_array(x) for x in plain(name)[0])
