"""Layers of attention: each setting restated with loops, and what decoders and encoders rely on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError
from minitrain.nn import CrossAttention, MultiHeadAttention, Rope, alibi_slopes
from minitrain.ops import Into
from minitrain.random import Key
from minitrain.testing.cases import LAYERS
from minitrain.testing.strategies import seeds
from tests.helpers.model_checks import stir
from tests.helpers.plain_operations import plain_attention, plain_rms_norm, plain_rope


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plain_heads(linear: Any, x: Any, heads: int) -> Any:
    """A projection, cut into heads: (B, T, H, D)."""
    out = x @ linear.weight.data.T + (0 if linear.bias is None else linear.bias.data)
    return out.reshape(*x.shape[:2], heads, -1)


def plain_self_attention(layer: Any, x: Any, positions: Any = None, **options: Any) -> Any:
    """Every setting, in the order it applies."""
    packed = plain_heads(layer.qkv, x, layer.heads + 2 * layer.kv_heads)
    q, k, v = np.split(packed, [layer.heads, layer.heads + layer.kv_heads], axis=2)
    if layer.q_norm is not None:
        q, k = (plain_rms_norm(z, norm.weight.data) for z, norm in ((q, layer.q_norm), (k, layer.k_norm)))
    if layer.rope is not None:
        positions = np.arange(x.shape[1]) if positions is None else positions
        q, k = (plain_rope(z, positions, base=layer.rope.base, scaling=layer.rope.scaling) for z in (q, k))
    if layer.alibi_slopes is not None:
        options["alibi_slopes"] = alibi_slopes(layer.heads)
    mixed = plain_attention(q, k, v, causal=layer.causal, window=layer.window, softcap=layer.softcap, **options)
    return plain_heads(layer.out, mixed.reshape(x.shape), 1)[:, :, 0]


@settings(max_examples=60)
@given(st.data())
def test_self_attention_is_the_plain_one(data):
    form: dict[str, Any] = {
        "kv_heads": data.draw(st.sampled_from([None, 1, 2, 4])),
        "causal": data.draw(st.booleans()),
        "window": data.draw(st.sampled_from([None, 1, 3])),
        "rope": data.draw(st.sampled_from([None, Rope(), Rope(base=20.0, scaling=2.0)])),
        "qk_norm": data.draw(st.booleans()),
        "softcap": data.draw(st.sampled_from([None, 1.5])),
        "alibi": data.draw(st.booleans()),
        "bias": data.draw(st.booleans()),
    }
    layer = stir(MultiHeadAttention(16, 4, generator(), **form, dtype=np.float64))
    rng = generator(data.draw(seeds()))
    x = rng.standard_normal((2, 5, 16))
    options: dict[str, Any] = {}
    if data.draw(st.booleans()):
        options["key_lengths"] = rng.integers(0, 6, 2)
    if data.draw(st.booleans()):
        options["mask"] = rng.random((2, 1, 5, 5)) < 0.7
    if form["rope"] is not None and data.draw(st.booleans()):
        options["positions"] = rng.integers(0, 50, (2, 5))
    out, _ = layer.forward(x, **options)
    np.testing.assert_allclose(out, plain_self_attention(layer, x, **options), rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(st.data())
def test_cross_attention_is_the_plain_one(data):
    kv_heads, qk_norm = data.draw(st.sampled_from([None, 1, 2])), data.draw(st.booleans())
    layer = CrossAttention(16, 4, generator(), kv_heads=kv_heads, memory_width=6, qk_norm=qk_norm, dtype=np.float64)
    stir(layer)
    rng = generator(data.draw(seeds()))
    x, memory = rng.standard_normal((2, 3, 16)), rng.standard_normal((2, 5, 6))
    options = {"key_lengths": rng.integers(0, 6, 2), "mask": rng.random((2, 1, 3, 5)) < 0.7}
    q, kv = plain_heads(layer.q, x, 4), plain_heads(layer.kv, memory, 2 * layer.kv_heads)
    k, v = np.split(kv, 2, axis=2)
    if qk_norm:
        q, k = plain_rms_norm(q, layer.q_norm.weight.data), plain_rms_norm(k, layer.k_norm.weight.data)
    expected = plain_heads(layer.out, plain_attention(q, k, v, **options).reshape(x.shape), 1)[:, :, 0]
    np.testing.assert_allclose(layer.forward(x, memory, **options)[0], expected, rtol=1e-9, atol=1e-9)


def everything(layer: Any, inputs: tuple[Any, ...], **options: Any) -> list[Any]:
    """Output, gradients of the inputs and of the parameters."""
    layer.zero_grad()
    out, cache = layer.forward(*inputs, **options)
    dinputs = layer.backward(np.cos(out), cache)
    return [out, *(dinputs if isinstance(dinputs, tuple) else (dinputs,)), *(p.grad.copy() for p in layer.parameters())]


@pytest.mark.parametrize("name", [name for name in LAYERS if "attention" in name])
def test_kernels_give_what_the_reference_gives(name):
    """In single precision; gradients land in slices of packed ones."""
    case = LAYERS[name]
    layer, inputs = case.module(1), [x.astype(np.float32) for x in case.arguments(1)]
    for parameter in layer.parameters():
        assert parameter.data.dtype == np.float32
    found = []
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            found.append(everything(layer, inputs, **case.options))
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_kernels_serve_rotated_normed_windows_of_longer_texts():
    form: dict[str, Any] = {"kv_heads": 2, "rope": Rope(), "qk_norm": True, "window": 20, "dropout": 0.2}
    layer, x = stir(MultiHeadAttention(32, 4, generator(), **form)), generator(1).standard_normal((2, 130, 32))
    found = []
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            found.append(everything(layer, (x.astype(np.float32),), key=Key.from_seed(3)))
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_plain_heads_are_views_of_one_product():
    """Nothing is copied between the projection and attention."""
    layer, x = MultiHeadAttention(16, 4, generator(), kv_heads=2), np.ones((2, 3, 16), np.float32)
    _, cache = layer.forward(x)
    parts = cache.attention.q, cache.attention.k, cache.attention.v
    row = (4 + 2 + 2) * 4 * 4  # bytes of a position's queries, keys and values
    assert [part.strides for part in parts] == [(3 * row, row, 16, 4)] * 3
    assert parts[1].ctypes.data - parts[0].ctypes.data == 4 * 16
    assert parts[2].ctypes.data - parts[1].ctypes.data == 2 * 16


# Positions.


@pytest.mark.parametrize("qk_norm", [False, True])
def test_rotary_attention_sees_distances_alone(qk_norm):
    layer = stir(MultiHeadAttention(16, 2, generator(), rope=Rope(base=100.0), qk_norm=qk_norm, dtype=np.float64))
    x, positions = generator(2).standard_normal((2, 6, 16)), np.array([0, 1, 2, 5, 7, 8])
    out, _ = layer.forward(x, positions=positions)
    np.testing.assert_allclose(layer.forward(x, positions=positions + 1000)[0], out, rtol=1e-9, atol=1e-9)
    assert abs(layer.forward(x)[0] - out).max() > 0.01  # other distances


def test_positions_are_0_1_2_by_default():
    layer, x = stir(MultiHeadAttention(8, 2, generator(), rope=Rope())), np.ones((2, 4, 8), np.float32)
    x[:, 1:] *= 2
    np.testing.assert_array_equal(layer.forward(x)[0], layer.forward(x, positions=np.arange(4))[0])


def test_positions_without_rope_are_refused():
    layer, x = MultiHeadAttention(8, 2, generator()), np.ones((2, 4, 8), np.float32)
    with pytest.raises(ConfigError, match="positions were given, but the layer has rope=None and would ignore them"):
        layer.forward(x, positions=np.arange(4))


def test_alibi_prefers_the_near():
    """With equal keys, a query's weight on them falls with distance by the slope of its head."""
    layer = MultiHeadAttention(6, 2, generator(), alibi=True, bias=False, dtype=np.float64)
    layer.qkv.weight.data[...] = 0
    layer.qkv.weight.data[12:] = np.eye(6)  # values are the input
    layer.out.weight.data[...] = np.eye(6)
    out, _ = layer.forward(np.repeat(np.eye(3)[None], 2, axis=2))  # token t: ones at 2 t and 2 t + 1
    for head, slope in ((0, 1 / 16), (1, 1 / 256)):
        values = np.repeat(np.eye(3), 2, axis=1)[:, 3 * head : 3 * head + 3]  # (T, D)
        weights = np.exp(-slope * np.array([2, 1, 0]))
        np.testing.assert_allclose(out[0, 2, 3 * head : 3 * head + 3], weights @ values / weights.sum(), rtol=1e-12)


# Masks and memories.


def test_a_position_that_sees_nothing_gets_the_bias():
    layer, x = stir(MultiHeadAttention(8, 2, generator(), qk_norm=True, rope=Rope())), generator(1).random((2, 4, 8))
    x = x.astype(np.float32)
    out, cache = layer.forward(x, key_lengths=np.array([4, 0]))
    np.testing.assert_allclose(out[1], np.broadcast_to(layer.out.bias.data, (4, 8)), rtol=1e-6)
    dx = layer.backward(np.ones_like(out), cache)
    assert not dx[1].any()
    assert np.isfinite(dx).all()
    assert all(np.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_padding_changes_nothing_for_the_rest():
    layer, x = stir(MultiHeadAttention(8, 2, generator(), causal=False, rope=Rope())), generator(1).random((1, 5, 8))
    x = x.astype(np.float32)
    short, _ = layer.forward(x[:, :3])
    padded, _ = layer.forward(x, key_lengths=np.array([3]))
    np.testing.assert_allclose(padded[:, :3], short, rtol=1e-5, atol=1e-6)


def test_layers_that_read_one_memory_add_up_its_gradient():
    layers = [stir(CrossAttention(8, 2, generator(), dtype=np.float64), seed) for seed in (1, 2)]
    x, memory = generator(3).standard_normal((2, 3, 8)), generator(4).standard_normal((2, 5, 8))
    expected, collected = 0, np.zeros_like(memory)
    for layer in layers:
        out, cache = layer.forward(x, memory)
        expected = expected + layer.backward(np.ones_like(out), cache)[1]
        dx, dmemory = layer.backward(np.ones_like(out), cache, dmemory=Into(collected, accumulate=True))
        assert dmemory is collected
        assert dx.shape == x.shape
    np.testing.assert_allclose(collected, expected, rtol=1e-12)


# Settings that do not fit.


@pytest.mark.parametrize("layer", [MultiHeadAttention, CrossAttention])
@pytest.mark.parametrize(
    ("width", "heads", "changes", "message"),
    [
        (10, 4, {}, "heads = 4 must divide width = 10"),
        (8, 0, {}, "heads = 0 must be a whole number of at least 1"),
        (8, 4, {"kv_heads": 3}, "kv_heads = 3 must divide heads = 4"),
        (8, 4, {"kv_heads": 0}, "kv_heads = 0 must be a whole number of at least 1"),
        (8, 4, {"dropout": 1.0}, "dropout = 1.0 must be at least 0 and less than 1"),
    ],
)
def test_settings_that_do_not_fit_are_named(layer, width, heads, changes, message):
    with pytest.raises(ConfigError, match=f"{layer.__name__}: {message}"):
        layer(width, heads, generator(), **changes)


def test_cross_attention_names_what_rotary_positions_need():
    with pytest.raises(
        ConfigError, match="CrossAttention: rope needs an even head width, but width / heads = 9 / 3 = 3"
    ):
        CrossAttention(9, 3, generator(), rope=Rope())
    layer, x = CrossAttention(8, 2, generator()), np.zeros((1, 3, 8), np.float32)
    with pytest.raises(ConfigError, match="CrossAttention: positions were given, but the layer has rope=None"):
        layer.forward(x, x, positions=np.arange(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope": Rope()}, r"rope needs an even head width, but width / heads = 9 / 3 = 3: elements rotate in pairs"),
        ({"window": 0}, "window = 0 must be a whole number of at least 1, or None"),
        ({"window": 1.5}, "window = 1.5 must be a whole number of at least 1, or None"),
        ({"softcap": -1.0}, "softcap = -1.0 must be positive, or None"),
    ],
)
def test_forms_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ConfigError, match=f"MultiHeadAttention: {message}"):
        MultiHeadAttention(9, 3, generator(), **changes)


@pytest.mark.parametrize(("field", "value"), [("base", 0.0), ("scaling", -1.0)])
def test_a_rotation_that_makes_no_sense_is_named(field, value):
    with pytest.raises(ConfigError, match=f"Rope: {field} = {value} must be positive"):
        Rope(**{field: value})
