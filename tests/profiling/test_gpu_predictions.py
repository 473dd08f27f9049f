"""Predictions for GPUs: the kernels add up to known totals, and the page has the tables of the code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.models import GPTConfig, LlamaConfig, build_model
from minitrain.profiling.gpu import CARDS, Kernel, LlamaShape, Shape, decoding_step, llama_step, predict, training_step
from tools.gpu_predictions import GPT2, LLAMA, PAGE, REGION, text

SHAPES = st.builds(
    Shape, st.integers(1, 4), st.sampled_from([64, 128]), st.integers(10, 300), st.sampled_from([32, 64])
)


def test_the_page_has_these_tables():
    found = REGION.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == text(), "python -m tools.gpu_predictions --write renews docs/performance.md"


def test_a_shape_has_the_weights_of_the_model():
    """A GPT with biases and tied embeddings."""
    model = build_model(GPTConfig(vocab_size=37, block_size=16, n_layer=3, n_head=2, n_embd=24, bias=True))
    assert Shape(3, 24, 37, 16).parameters == sum(p.data.size for p in model.parameters())
    assert round(GPT2.parameters / 1e6) == 124


KINDS = ("product", "float8", "attention")


@given(SHAPES, st.integers(1, 4), st.booleans(), st.booleans())
def test_products_add_up_to_the_usual_formula(shape, batch, half, float8):
    """Six operations for each weight and token; attention does 7 of its products, and the formula counts 6."""
    R = batch * shape.length
    kernels = training_step(shape, batch, half=half, float8=float8, chunk=R)
    product, eight, attention = (sum(k.flops for k in kernels if k.kind == kind) for kind in KINDS)
    L, C, V, _ = shape
    assert product + eight == pytest.approx(6 * R * (12 * L * C * C + V * C))
    assert eight == (pytest.approx(6 * R * 8 * L * C * C) if float8 else 0)  # two matrices of C x 4 C
    assert product + eight + attention * 6 / 7 == pytest.approx(shape.flops(R))


LLAMAS = st.builds(
    LlamaShape, st.integers(1, 4), st.just(64), st.integers(10, 300), st.sampled_from([32, 64]),
    st.sampled_from([16, 32, 64]), st.sampled_from([96, 192]),
)  # fmt: skip


def test_a_llama_has_the_weights_of_the_model():
    """With grouped queries and a head of its own."""
    config = LlamaConfig(vocab_size=37, block_size=16, n_layer=3, n_head=4, n_kv_head=2, n_embd=24, n_hidden=40)
    assert LlamaShape(3, 24, 37, 16, 12, 40).parameters == sum(p.data.size for p in build_model(config).parameters())
    assert LLAMA.hidden == build_model(LlamaConfig(vocab_size=5, n_layer=1, n_embd=LLAMA.width)).config.hidden


@given(LLAMAS, st.integers(1, 4), st.booleans(), st.booleans())
def test_the_products_of_a_llama_add_up_to_the_usual_formula(shape, batch, half, float8):
    R = batch * shape.length
    kernels = llama_step(shape, batch, half=half, float8=float8, chunk=R)
    product, eight, attention = (sum(k.flops for k in kernels if k.kind == kind) for kind in KINDS)
    assert eight == (pytest.approx(18 * R * shape.layers * shape.width * shape.hidden) if float8 else 0)
    assert product + eight + attention * 6 / 7 == pytest.approx(shape.flops(R))


def test_8_bits_gain_where_sums_are_long():
    """Their arithmetic takes half the time, and their scales cost as much whatever the width is."""
    for width, gains in ((256, False), (4096, True)):
        shape = Shape(layers=4, width=width, vocabulary=1000, length=1024)
        half, eight = (predict(training_step(shape, 16, float8=f), CARDS["H100"], "bfloat16").seconds for f in (0, 1))
        assert (eight < half) is gains


def test_the_launches_of_8_bits_are_those_of_the_twins():
    """A map forward and backward, with and without GELU; cuBLASLt's products are not launches of ours."""
    from minitrain.profiling.gpu.float8 import float8_linear, float8_linear_backward

    def launches(kernels):
        return sum(kernel.launches for kernel in kernels if kernel.kind != "float8")

    # tests/kernels/cuda/test_float8.py lists them: two scales of two launches, two operands, the bias apart
    assert launches(float8_linear("", 64, 32, 16)) == 6
    assert launches(float8_linear("", 64, 32, 16, gelu=True)) == 7
    assert launches(float8_linear_backward("", 64, 32, 16)) == 7
    assert launches(float8_linear_backward("", 64, 32, 16, bias=False, gelu=True)) == 6


@given(SHAPES, st.integers(1, 4), st.booleans(), st.sampled_from([*CARDS]))
def test_no_step_beats_the_card(shape, batch, graph, name):
    """Neither its arithmetic nor its memory, whatever is assumed of the rest; and a graph is never slower."""
    card, kernels = CARDS[name], training_step(shape, batch)
    found = predict(kernels, card, "bfloat16", graph=graph)
    assert found.seconds > max(found.flops / card.half, found.nbytes / card.bandwidth)
    assert predict(kernels, card, "bfloat16", graph=True).seconds <= predict(kernels, card, "bfloat16").seconds


def test_decoding_reads_every_weight_once():
    found = predict(decoding_step(GPT2, 1, 512), CARDS["H100"], "tf32", graph=True)
    cache = 8 * 12 * 512 * 768
    assert 4 * GPT2.parameters < found.nbytes + 4 * GPT2.length * GPT2.width < 4.1 * GPT2.parameters + cache


def test_half_operands_cost_rounding_and_save_arithmetic():
    card = CARDS["H100"]
    wide, half = (
        predict(training_step(GPT2, 64, half=half), card, name) for half, name in ((False, "tf32"), (True, "bfloat16"))
    )
    assert half.launches > wide.launches
    assert half.seconds < wide.seconds


def test_a_kernel_that_is_limited_by_memory():
    kernel = Kernel("copy", "memory", 0, 3350e9 * 0.85)
    assert predict([kernel], CARDS["H100"], "float32").seconds == pytest.approx(1, rel=1e-4)
