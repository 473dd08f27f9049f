"""A decoder's weights, packed: the table finds each of them, and what the kernels cannot run is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.backend.cpu.products import blas
from minitrain.backend.precision import use_precision
from minitrain.errors import ConfigError
from minitrain.generation.sessions.packed import WIDEST_HEAD, PackedDecoder, why_not
from minitrain.generation.sessions.weights import quantize, rounded
from minitrain.kernels.cpu.generation._layout import ABSENT, WIDTH, Entry, whole_strips
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig, Seq2Seq, Seq2SeqConfig
from minitrain.nn import GatedFeedForward, Linear, add_lora
from minitrain.nn.attention.positions import alibi_slopes
from minitrain.nn.attention.self_attention import MultiHeadAttention
from minitrain.nn.blocks.block import PreNormBlock
from tests.helpers.decoders import VOCABULARY, decoders, randomize
from tests.helpers.own_product import only_with_own_product

TYPES = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}


class Unpacker:
    """Reads what a table points to, each number once."""

    def __init__(self, packed: PackedDecoder) -> None:
        self.packed = packed
        self.seen = {"panels": np.zeros(packed.panels.size, int), "vectors": np.zeros(packed.vectors.size, int)}
        self.columns = np.zeros(packed.table.shape, bool)

    def take(self, name: str, row: int, column: int, size: int) -> Any:
        begin = self.packed.table[row, column]
        assert 0 <= begin <= getattr(self.packed, name).size - size
        self.columns[row, column] = True
        self.seen[name][begin : begin + size] += 1
        return getattr(self.packed, name)[begin : begin + size]

    def norm(self, row: int, column: int, norm: Any) -> None:
        """A norm is there, with its bias if it has one."""
        for place, parameter in enumerate([norm.weight, getattr(norm, "bias", None)]):
            if parameter is not None:
                vector = self.take("vectors", row, column + place, parameter.data.size)
                assert np.array_equal(vector, parameter.data)

    def linear(self, row: int, column: Entry, linear: Linear) -> None:
        """A matrix is there in panels, rounded, and as wide as its panels are its bias and its scales."""
        weight, weights = linear.weight.data, self.packed.weights
        N, K = weight.shape
        wide = whole_strips(N)
        panels = self.take("panels", row, column, wide * K).reshape(-1, K, WIDTH)
        matrix = panels.transpose(0, 2, 1).reshape(wide, K)  # (N / WIDTH, K, WIDTH) -> (N, K)
        padded = np.pad(weight, ((0, wide - N), (0, 0)))
        if weights == "bfloat16":
            assert np.array_equal(matrix.astype(np.uint32) << 16, rounded(padded, weights).view(np.uint32))
        elif weights == "int8":
            assert np.array_equal(matrix, quantize(padded)[0])
            scale = self.take("vectors", row, Entry[f"{column.name}_SCALE"], wide)
            assert np.array_equal(scale, np.pad(quantize(weight)[1], (0, wide - N)))
        else:
            assert np.array_equal(matrix, padded)
        if linear.bias is not None:
            assert np.array_equal(self.take("vectors", row, column + 1, wide), np.pad(linear.bias.data, (0, wide - N)))

    def check(self) -> None:
        """Nothing else is there."""
        assert all((count == 1).all() for count in self.seen.values())
        assert (self.packed.table[~self.columns] == ABSENT).all()


def check_arrays(packed: PackedDecoder, model: Any) -> None:
    """The table and all that it points to, bit by bit."""
    unpacker = Unpacker(packed)
    for row, block in enumerate(model.blocks):
        unpacker.norm(row, Entry.NORM1, block.norm1)
        unpacker.norm(row, Entry.NORM2, block.norm2)
        unpacker.linear(row, Entry.QKV, block.attention.qkv)
        unpacker.linear(row, Entry.OUT, block.attention.out)
        if block.attention.q_norm is not None:
            unpacker.norm(row, Entry.Q_NORM, block.attention.q_norm)
            unpacker.norm(row, Entry.K_NORM, block.attention.k_norm)
        layer = block.feed_forward
        if isinstance(layer, GatedFeedForward):
            unpacker.linear(row, Entry.ACTIVATED, layer.gate)
            unpacker.linear(row, Entry.UP, layer.up)
        else:
            unpacker.linear(row, Entry.ACTIVATED, layer.up)
        unpacker.linear(row, Entry.DOWN, layer.down)
    unpacker.norm(-1, Entry.NORM1, model.norm)
    unpacker.linear(-1, Entry.QKV, model.head)
    unpacker.check()
    assert packed.table.shape == (len(model.blocks) + 1, len(Entry))
    for array, dtype in ((packed.panels, TYPES[packed.weights]), (packed.vectors, np.float32)):
        assert array.dtype == dtype
        assert array.ctypes.data % 64 == 0
        assert array.base is not None
        assert array.nbytes <= array.base.nbytes <= array.nbytes + 64


def check_numbers(packed: PackedDecoder, model: Any) -> None:
    """Sizes and kinds, and the arrays that are no panels."""
    config, block = model.config, model.blocks[0]
    gated = isinstance(block.feed_forward, GatedFeedForward)
    D = config.n_embd // config.n_head
    expected = {"heads": config.n_head, "kv_heads": config.n_kv_head, "head_width": D, "layers": config.n_layer}
    expected |= {"width": config.n_embd, "vocabulary": VOCABULARY, "longest": config.block_size}
    expected |= {"window": getattr(config, "window", None), "hidden": config.hidden if gated else 4 * config.n_embd}
    assert {name: getattr(packed, name) for name in expected} == expected
    assert packed.rms is gated
    assert packed.tanh is (getattr(config, "gelu", "exact") == "tanh")
    table, tied = model.tok_emb.weight.data, config.tie_weights
    assert np.array_equal(packed.embedding, rounded(table, packed.weights) if tied else table)
    angles = np.arange(config.block_size)[:, None] * 10000.0 ** (-np.arange(0, D, 2) / D)
    none = np.empty((0, D // 2))
    for name, function in (("cos", np.cos), ("sin", np.sin)):
        expected_angles = function(angles) if config.positions == "rotary" else none
        assert getattr(packed, name).shape == expected_angles.shape
        np.testing.assert_allclose(getattr(packed, name), expected_angles, atol=1e-6)
    assert np.array_equal(
        packed.slopes, (alibi_slopes(config.n_head) if config.positions == "alibi" else np.empty(0)).astype(np.float32)
    )
    C = config.n_embd
    angles = np.arange(config.block_size)[:, None] * 10000.0 ** (-np.arange(0, C, 2) / C)
    places = np.empty((0, C))
    if config.positions == "learned":
        places = model.pos_emb.weight.data
    elif config.positions == "sinusoidal":
        places = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(-1, C)
    assert packed.places.shape == places.shape
    np.testing.assert_allclose(packed.places, places, atol=1e-6)
    for array in (packed.embedding, packed.places, packed.cos, packed.sin, packed.slopes, packed.eps):
        assert (array.dtype, array.flags.c_contiguous) == (np.float32, True)


@pytest.mark.parametrize("weights", TYPES)
@given(model=decoders((24,)), data=st.data())
@settings(max_examples=25)
def test_the_table_finds_all_weights(weights: str, model: Any, data: st.DataObject) -> None:
    """And the numbers are those of the model."""
    eps, head, last = (float(np.float32(10.0**-n)) for n in data.draw(st.permutations([2, 3, 4])))
    model.norm.eps = last
    for block in model.blocks:
        block.norm1.eps = block.norm2.eps = eps
        for norm in (block.attention.q_norm, block.attention.k_norm):
            if norm is not None:
                norm.eps = head
    packed = PackedDecoder(model, weights)
    assert packed.weights == weights
    check_arrays(packed, model)
    check_numbers(packed, model)
    assert packed.eps.tolist() == [eps, 0.0 if model.blocks[0].attention.q_norm is None else head, last]


def test_biases_of_all_layers() -> None:
    """Llama's attention may have one, and its other layers none; GPT's have all."""
    gated = llama()
    for block in gated.blocks:
        block.feed_forward = GatedFeedForward(8, 21, np.random.default_rng(0), bias=True)
    for model in (gpt(bias=True), llama(qkv_bias=True), gated):
        randomize(model, 3)
        for weights in TYPES:
            check_arrays(PackedDecoder(model, weights), model)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_the_weights_are_those_of_the_time_when_it_was_made(positions: str) -> None:
    """Training goes on without it."""
    model = gpt(positions=positions)
    packed = PackedDecoder(model)
    names = ("panels", "vectors", "embedding", "places")
    before = {name: getattr(packed, name).copy() for name in names}
    randomize(model, 1)
    assert all(np.array_equal(getattr(packed, name), before[name]) for name in names)


def test_other_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'int8'"):
        PackedDecoder(gpt(), "int9")


def gpt(dtype: Any = np.float32, **changes: Any) -> GPT:
    return GPT(GPTConfig(VOCABULARY, block_size=9, n_layer=2, n_head=2, n_embd=12, **changes), dtype=dtype)


def llama(n_head: int = 1, **changes: Any) -> Llama:
    return Llama(LlamaConfig(VOCABULARY, block_size=9, n_layer=2, n_head=n_head, n_embd=8, **changes))


def changed(change: Any) -> Llama:
    """A model whose last block is changed: it counts like the first."""
    model = llama()
    change(model.blocks[-1])
    return model


class Attends(MultiHeadAttention):
    """Another attention."""


class Block(PreNormBlock):
    """Another block of the same parts."""


def attends(block: Any) -> None:
    block.attention.__class__ = Attends


def with_head(**settings: Any) -> Llama:
    model = llama()
    model.head = Linear(8, VOCABULARY, np.random.default_rng(0), **settings)
    return model


def adapted() -> Llama:
    model = llama()
    add_lora(model, rank=2, alpha=4.0, targets=["*.attention.out"])
    return model


@only_with_own_product
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (llama(), None),
        (llama(window=3, qk_norm=True, head_width=WIDEST_HEAD), None),
        (gpt(positions="alibi", bias=True, gelu="tanh"), None),
        (with_head(bias=False), None),
        (Seq2Seq(Seq2SeqConfig(VOCABULARY, n_head=1, n_embd=8)), "they run decoders with float32 weights"),
        (gpt(np.float64), "they run decoders with float32 weights"),
        (changed(lambda block: setattr(block.attention, "softcap", 5.0)), "a cap of the scores"),
        (changed(lambda block: setattr(block.attention, "causal", False)), "attention to later positions"),
        (llama(head_width=WIDEST_HEAD + 2), "heads wider than 256"),
        (changed(lambda block: setattr(block.feed_forward, "activation", "geglu")), "they know GELU and SwiGLU"),
        (changed(attends), "they do not know the layers of PreNormBlock"),
        (changed(lambda block: setattr(block, "__class__", Block)), "they do not know the layers of Block"),
        (with_head(bias=True), "they do not know this head"),
    ],
)
def test_what_the_kernels_cannot_run(model: Any, reason: str | None) -> None:
    """One thing is enough."""
    told = why_not(model)
    assert told is None if reason is None else reason in str(told)


@only_with_own_product
def test_adapters_are_not_known() -> None:
    assert "layers of PreNormBlock" in str(why_not(adapted()))
    model = llama()
    model.head = adapted().blocks[0].attention.out
    assert why_not(model) == "they do not know this head"


@only_with_own_product
def test_where_the_kernels_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, says = llama(), "they run on the CPU in float32, where kernels are on"
    assert why_not(model, "cuda") == says
    with use_kernels("reference"):
        assert why_not(model) == says
    with use_precision("bfloat16"):
        assert why_not(model) == says
    for product in (None, SimpleNamespace(product=SimpleNamespace(name="mkl"))):
        monkeypatch.setattr(blas, "blas", lambda product=product: product)
        assert why_not(model) == "they take the project's own matrix product, which is not in use"
