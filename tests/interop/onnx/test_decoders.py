"""The graph of a decoder gives the model's logits, however a text is split into calls; two other programs run it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.generation import generate
from minitrain.interop.onnx.decoder import decoder_graph
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.models.common.config import POSITIONS
from tests.helpers.interop.onnx_graphs import assert_near, empty_cache, in_reference, in_runtime, in_steps
from tests.helpers.model_checks import stir

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


V, LONGEST = 13, 12
OPSETS = (23, 17)


@st.composite
def decoders(draw: Any) -> Any:
    """Any small GPT or Llama."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 3]))
    shape = {
        "vocab_size": V,
        "block_size": LONGEST,
        "n_layer": draw(st.integers(1, 3)),
        "n_head": heads,
        "n_kv_head": kv_heads,
        "n_embd": heads * draw(st.sampled_from([2, 4, 6])),
        "positions": draw(st.sampled_from(POSITIONS)),
        "tie_weights": draw(st.booleans()),
    }
    if draw(st.booleans()):
        form = draw(st.sampled_from(["exact", "none", "tanh"]))
        return GPT(GPTConfig(**shape, bias=draw(st.booleans()), gelu=form))
    options = {
        "n_hidden": draw(st.integers(1, 9)),
        "qk_norm": draw(st.booleans()),
        "window": draw(st.none() | st.integers(1, 6)),
        "rope_base": draw(st.sampled_from([1e4, 5e5, 7.0])),
        "rope_scaling": draw(st.sampled_from([1.0, 2.5])),
        "eps": draw(st.sampled_from([1e-5, 1e-2])),
    }
    return Llama(LlamaConfig(**shape, **options))


@st.composite
def splits(draw: Any) -> list[int]:
    """Lengths of calls, the longest text among them."""
    steps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    while sum(steps) > LONGEST:
        steps.pop()
    return steps


def drawn(rows: int, length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, V, (rows, length))


@settings(max_examples=80)
@given(decoders(), st.sampled_from(OPSETS), st.lists(st.tuples(splits(), st.integers(1, 3)), min_size=1, max_size=3))
def test_any_split_of_a_text_gives_the_logits_of_the_model(model, opset, calls):
    graph = decoder_graph(stir(model), opset, cache=True)
    assert graph.constants.keys() <= {name for node in graph.nodes for name in node.inputs}, "runtimes warn of others"
    run = in_runtime(graph)
    for seed, (steps, rows) in enumerate(calls):
        tokens = drawn(rows, sum(steps), seed)
        assert_near(in_steps(run, empty_cache(graph, rows), tokens, steps), model.forward(tokens)[0])


@settings(max_examples=30)
@given(decoders(), st.sampled_from(OPSETS), st.integers(1, LONGEST), st.integers(1, 3))
def test_a_graph_without_a_cache_gives_the_logits_of_the_model(model, opset, length, rows):
    graph = decoder_graph(stir(model), opset, cache=False)
    tokens = drawn(rows, length)
    assert [port.name for port in (*graph.inputs, *graph.outputs)] == ["input_ids", "logits"]
    assert_near(in_runtime(graph)({"input_ids": tokens})["logits"], model.forward(tokens)[0])


@settings(max_examples=12)
@given(decoders(), st.sampled_from(OPSETS), splits())
def test_the_standards_own_evaluator_agrees(model, opset, steps):
    graph = decoder_graph(stir(model), opset, cache=True)
    tokens = drawn(2, sum(steps))
    found = in_steps(in_reference(graph), empty_cache(graph, 2), tokens, steps)
    assert_near(found, model.forward(tokens)[0])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    "model",
    [
        GPT(GPTConfig(vocab_size=V, block_size=40, n_layer=2, n_embd=32, bias=True, gelu="tanh")),
        Llama(LlamaConfig(vocab_size=V, block_size=40, n_layer=2, n_embd=32, n_kv_head=2, qk_norm=True, window=8)),
    ],
    ids=["gpt", "llama"],
)
def test_the_most_likely_continuation_is_the_same(model, opset):
    prompts = drawn(3, 5).astype(np.int32)
    expected = generate(stir(model), prompts, 30, temperature=0)
    graph = decoder_graph(model, opset, cache=True)
    run, cache, text, new = in_runtime(graph), empty_cache(graph, 3), prompts.astype(np.int64), prompts.astype(np.int64)
    for _ in range(30):
        outputs = run({"input_ids": new, **cache})
        new = outputs["logits"][:, -1].argmax(axis=-1)[:, None]
        cache = {f"past_key_values{name[7:]}": array for name, array in outputs.items() if name != "logits"}
        text = np.concatenate([text, new], axis=1)
    np.testing.assert_array_equal(text, expected)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_a_text_beyond_the_tables_of_positions_is_refused(positions, opset):
    """As the model does; nothing wraps around."""
    graph = decoder_graph(GPT(GPTConfig(vocab_size=V, block_size=4, n_embd=16, positions=positions)), opset, cache=True)
    run, cache = in_runtime(graph), empty_cache(graph, 1)
    in_steps(run, cache, drawn(1, 4), [3, 1])
    with pytest.raises(Exception, match=r"out of|bounds|exceed|range|position"):
        in_steps(run, cache, drawn(1, 5), [4, 1])


@pytest.mark.parametrize("opset", OPSETS)
def test_operators_are_those_of_the_operator_set(opset):
    llama = Llama(LlamaConfig(vocab_size=V, n_embd=16, positions="rotary", qk_norm=True))
    gpt = GPT(GPTConfig(vocab_size=V, n_embd=16, positions="alibi", gelu="tanh", bias=True))
    used = {node.op for model in (llama, gpt) for node in decoder_graph(model, opset, cache=True).nodes}
    for op in used:
        assert onnx.defs.get_schema(op, opset).since_version <= opset
    assert used >= {"LayerNormalization"}
    single = {"RMSNormalization", "RotaryEmbedding", "Attention", "Gelu"}
    assert used & single == (single if opset == 23 else set())


def test_weights_are_stored_once_under_their_paths():
    tied = GPT(GPTConfig(vocab_size=V, n_layer=1, n_embd=16))
    graph = decoder_graph(tied, 23, cache=True)
    weights = {name: array for name, array in graph.constants.items() if not name.startswith("constant_")}
    assert weights.keys() == tied.state_dict().keys()
    assert sum(array.size for array in weights.values()) == tied.parameter_count()
    assert weights["tok_emb.weight"].shape == (V, 16)
    assert weights["blocks.0.feed_forward.up.weight"].shape == (16, 64), "as MatMul takes it"
