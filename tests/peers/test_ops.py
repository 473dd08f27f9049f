"""Each operation against PyTorch's: outputs and gradients, in float64 and, where kernels take over, in float32."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitrain.ops import cross_entropy_forward
from minitrain.testing.strategies import arrays, distinct_sizes, integer_arrays, masks, seeds

from .oracles import assert_same

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])


@st.composite
def rows(draw, width):
    """The shape of one or two leading axes and ``width``."""
    lead = draw(st.sampled_from([(1,), (3,), (2, 5), (4, 7)]))
    return (*lead, width)


@dtypes
@pytest.mark.parametrize("op", ["linear", "linear_gelu"])
@given(data=st.data(), sizes=distinct_sizes((1, 9), (1, 40)), bias=st.booleans(), seed=seeds())
def test_linear(op, dtype, data, sizes, bias, seed):
    K, N = sizes
    options = {} if op == "linear" else {"approximate": data.draw(st.sampled_from(["tanh", "none"]))}
    x = data.draw(arrays(rows(K), dtype))
    weight = data.draw(arrays((N, K), dtype))
    assert_same(op, x, weight, data.draw(arrays((N,), dtype)) if bias else None, seed=seed, **options)


@dtypes
@given(data=st.data(), sizes=distinct_sizes((1, 12), (1, 20)), seed=seeds())
def test_embedding(dtype, data, sizes, seed):
    V, C = sizes
    tokens = data.draw(integer_arrays(data.draw(rows(3)), V))
    assert_same("embedding", tokens, data.draw(arrays((V, C), dtype)), seed=seed)


@dtypes
@pytest.mark.parametrize("op", ["layer_norm", "residual_layer_norm"])
@given(data=st.data(), C=st.integers(2, 40), bias=st.booleans(), seed=seeds())
def test_layer_norm(op, dtype, data, C, bias, seed):
    shape = data.draw(rows(C))
    x = [data.draw(arrays(shape, dtype)) for _ in range(1 if op == "layer_norm" else 2)]
    weight = data.draw(arrays((C,), dtype))
    # A row that is nearly constant is a matter of eps: keep eps large enough for float32 to agree.
    eps = data.draw(st.sampled_from([1e-5, 1e-2] if dtype is np.float64 else [1e-2]))
    assert_same(op, *x, weight, data.draw(arrays((C,), dtype)) if bias else None, seed=seed, eps=eps)


@dtypes
@pytest.mark.parametrize("approximate", ["tanh", "none"])
@given(data=st.data(), seed=seeds())
def test_gelu(dtype, approximate, data, seed):
    x = data.draw(arrays(data.draw(rows(11)), dtype, scale=data.draw(st.sampled_from([1.0, 10.0]))))
    assert_same("gelu", x, seed=seed, approximate=approximate)


@dtypes
@given(data=st.data(), C=st.integers(1, 40), seed=seeds())
def test_softmax(dtype, data, C, seed):
    scale = data.draw(st.sampled_from([1.0, 100.0] if dtype is np.float64 else [1.0]))
    assert_same("softmax", data.draw(arrays(rows(C), dtype, scale=scale)), seed=seed)


@dtypes
@given(data=st.data(), seed=seeds())
def test_residual(dtype, data, seed):
    shape = data.draw(rows(7))
    assert_same("residual", data.draw(arrays(shape, dtype)), data.draw(arrays(shape, dtype)), seed=seed)


@st.composite
def attention_inputs(draw, dtype, T, S):
    """Queries, keys and values with query heads in groups."""
    B, D = draw(st.integers(1, 3)), draw(st.sampled_from([1, 4, 7, 16]))
    heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return [draw(arrays((B, n, h, D), dtype)) for n, h in ((T, heads * group), (S, heads), (S, heads))]


@dtypes
@given(data=st.data(), T=st.integers(1, 40), seed=seeds())
def test_causal_attention(dtype, data, T, seed):
    q, k, v = data.draw(attention_inputs(dtype, T, T))
    assert_same("attention", q, k, v, None, seed=seed, causal=True)


@dtypes
@given(data=st.data(), causal=st.booleans(), seed=seeds())
def test_attention_with_masks_and_bias(dtype, data, causal, seed):
    """Every combination of causal order, key lengths, mask, bias and scale, with rows that may attend to nothing."""
    T, S = data.draw(distinct_sizes((1, 9), (1, 9)))
    q, k, v = data.draw(attention_inputs(dtype, T, S))
    B, H = q.shape[0], q.shape[2]
    options = {"causal": causal, "scale": data.draw(st.sampled_from([None, 0.3]))}
    if data.draw(st.booleans()):
        options["key_lengths"] = data.draw(integer_arrays((B,), S + 1))
    if data.draw(st.booleans()):
        shape = data.draw(st.sampled_from([(T, S), (B, 1, 1, S), (B, H, T, S)]))
        options["mask"] = data.draw(masks(shape, keep_one=False))
    bias = None
    if data.draw(st.booleans()):
        bias = data.draw(arrays(data.draw(st.sampled_from([(H, 1, S), (T, S), (B, H, T, S)])), dtype))
    assert_same("attention", q, k, v, bias, seed=seed, **options)


@dtypes
@given(data=st.data(), V=st.integers(1, 70), seed=seeds())
def test_cross_entropy(dtype, data, V, seed):
    shape = data.draw(rows(V))
    logits = data.draw(arrays(shape, dtype, scale=data.draw(st.sampled_from([0.1, 3.0]))))
    targets = data.draw(integer_arrays(shape[:-1], V))
    ignore_index = data.draw(st.sampled_from([-100, 0]))
    if data.draw(st.booleans()):
        targets = np.where(data.draw(masks(shape[:-1])), targets, ignore_index)
    weight = np.abs(data.draw(arrays((V,), dtype))) if data.draw(st.booleans()) else None
    smoothing = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    assert_same(
        "cross_entropy",
        logits,
        targets,
        weight,
        seed=seed,
        label_smoothing=smoothing,
        ignore_index=ignore_index,
    )


@given(data=st.data(), V=st.integers(2, 9))
def test_cross_entropy_mean(data, V):
    """``Loss.mean`` is PyTorch's mean, which divides by the weights of the targets that count."""
    logits, targets = data.draw(arrays((4, 5, V))), data.draw(integer_arrays((4, 5), V))
    targets[0, :2] = -100
    weight = np.abs(data.draw(arrays((V,)))) + 0.1
    loss, _ = cross_entropy_forward(logits, targets, weight)
    tensors = [torch.from_numpy(x) for x in (logits.reshape(-1, V), targets.reshape(-1), weight)]
    assert loss.mean == pytest.approx(torch.nn.functional.cross_entropy(*tensors).item(), rel=1e-12)
