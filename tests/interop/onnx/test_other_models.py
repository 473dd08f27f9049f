"""The graphs of encoders, of the vision transformer, of the encoder-decoder and of the MLP give the models' outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.models import Clip, ClipConfig, ImageTextBatch
from minitrain.models.mlp import ACTIVATIONS
from tests.helpers.interop.onnx_graphs import assert_near, empty_cache, in_reference, in_runtime, in_steps, next_cache
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from minitrain.interop.onnx import captioner, export_onnx, seq2seq
from minitrain.interop.onnx.classifier import encoder_graph, mlp_graph, vit_graph

every_opset = pytest.mark.parametrize("opset", [23, 17])
every_runtime = pytest.mark.parametrize("open_graph", [in_runtime, in_reference])


@every_runtime
@every_opset
@pytest.mark.parametrize("name", ["encoder", "encoder, first"])
def test_an_encoder(name, opset, open_graph):
    """Padding changes nothing, not even in a row that has nothing else."""
    model = stir(KINDS[name].build(gelu="tanh" if opset == 23 else "exact"))
    run = open_graph(encoder_graph(model, opset))
    for seed, lengths in enumerate([[6], [2, 6], [1, 6, 0]]):
        tokens, counts = np.random.default_rng(seed).integers(0, 11, (len(lengths), 6)), np.array(lengths)
        found = run({"input_ids": tokens, "lengths": counts})["logits"]
        assert_near(found, model.forward(tokens, lengths=counts)[0])
        tokens[0, lengths[0] :] = 0
        np.testing.assert_allclose(run({"input_ids": tokens, "lengths": counts})["logits"][0], found[0], atol=1e-6)


@every_runtime
@every_opset
@pytest.mark.parametrize("name", ["vit", "vit, mean", "vit, concat", "vit, stem"])
def test_a_vision_transformer(name, opset, open_graph):
    model = stir(KINDS[name].build())
    run = open_graph(vit_graph(model, opset))
    for rows in (1, 3):
        images = np.random.default_rng(rows).standard_normal((rows, 2, 6, 6)).astype(np.float32)
        assert_near(run({"images": images})["logits"], model.forward(images)[0])


@every_opset
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp(activation, opset):
    model = stir(KINDS["mlp"].build(activation=activation))
    run = in_runtime(mlp_graph(model, opset))
    for rows in (1, 4):
        inputs = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
        assert_near(run({"inputs": inputs})["outputs"], model.forward(inputs)[0])


@every_opset
def test_every_constant_is_used(opset):
    """Runtimes warn of others."""
    pairs, both = KINDS["seq2seq"].build(), {"opset": opset}
    graphs = [build(pairs, **both) for build in (seq2seq.joint_graph, seq2seq.encoder_graph, seq2seq.decoder_graph)]
    graphs += [encoder_graph(KINDS[name].build(), **both) for name in ("encoder", "encoder, first")]
    graphs += [vit_graph(KINDS[name].build(), **both) for name in ("vit", "vit, mean", "vit, concat", "vit, stem")]
    for graph in graphs:
        assert graph.constants.keys() <= {name for node in graph.nodes for name in node.inputs}


def padded(rng, rows, length, vocabulary, shortest):
    lengths = rng.integers(shortest, length + 1, rows)
    return np.where(np.arange(length) < lengths[:, None], rng.integers(1, vocabulary, (rows, length)), 0)


@every_runtime
@every_opset
@pytest.mark.parametrize("name", ["seq2seq", "seq2seq, separate", "seq2seq, rotary"])
def test_an_encoder_decoder_in_one_graph(name, opset, open_graph):
    """Padded sources and targets of any length; a source may be empty."""
    model, rng = stir(KINDS[name].build()), np.random.default_rng(0)
    run = open_graph(seq2seq.joint_graph(model, opset))
    for rows, source_length, target_length in ((1, 3, 1), (3, 6, 4)):
        source = padded(rng, rows, source_length, 11, 0)
        target = padded(rng, rows, target_length, 11, 1)
        found = run({"input_ids": source, "decoder_input_ids": target})["logits"]
        assert_near(found, model.forward(source, target)[0])


@settings(max_examples=20)
@given(
    st.sampled_from(["seq2seq", "seq2seq, separate", "seq2seq, rotary"]),
    st.sampled_from([23, 17]),
    st.integers(1, 3),
    st.sampled_from([[1], [1, 1, 1], [3, 2, 1], [2, 4]]),
)
def test_an_encoder_decoder_with_a_cache(name, opset, rows, steps):
    model, rng = stir(KINDS[name].build()), np.random.default_rng(0)
    decoder = seq2seq.decoder_graph(model, opset)
    encode, decode = in_runtime(seq2seq.encoder_graph(model, opset)), in_runtime(decoder)
    source, target = padded(rng, rows, 5, 11, 0), rng.integers(1, 11, (rows, sum(steps)))
    read = encode({"input_ids": source})
    found = in_steps(decode, empty_cache(decoder, rows), target, steps, name="decoder_input_ids", **read)
    assert_near(found, model.forward(source, target)[0])


def images_for(config):
    shape = (3, config.channels, config.image_size, config.image_size)
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


@every_opset
@pytest.mark.parametrize("name", ["seq2seq", "captioner"])
def test_two_files_generate_as_the_model_does(opset, name):
    model = stir(KINDS[name].build())
    if name == "seq2seq":
        graphs, what, given = seq2seq, "input_ids", padded(np.random.default_rng(4), 3, 6, 11, 2)
    else:
        graphs, what, given = captioner, "images", images_for(model.config)
    expected = model.generate(given, start=1, end=None, max_new_tokens=4)
    decoder = graphs.decoder_graph(model, opset)
    run, read = in_runtime(decoder), in_runtime(graphs.encoder_graph(model, opset))({what: given})
    cache, new = empty_cache(decoder, 3), np.full((3, 1), 1)
    text = [new]
    for _ in range(4):
        outputs = run({"decoder_input_ids": new, **read, **cache})
        new = outputs["logits"][:, -1, 1:].argmax(axis=-1)[:, None] + 1  # padding is never generated
        cache = next_cache(outputs)
        text.append(new)
    np.testing.assert_array_equal(np.concatenate(text, axis=1), expected)


@every_opset
@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_both_encoders_of_clip_are_files(opset, stem, tmp_path):
    config = ClipConfig(9, 8, 4, stem=stem, n_embd=8, n_head=2, n_layer=1, text_embd=8, text_head=2, text_layer=1)
    model = stir(Clip(config))
    paths = export_onnx(model, tmp_path / "model.onnx", opset=opset)
    assert [path.name for path in paths] == ["model.image.onnx", "model.text.onnx"]
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    tokens, lengths = np.random.default_rng(1).integers(0, 9, (2, 5)), np.array([5, 2])
    found = [
        in_runtime(str(paths[0]))({"images": images})["logits"],
        in_runtime(str(paths[1]))({"input_ids": tokens, "lengths": lengths})["logits"],
    ]
    _, features = model.loss_and_outputs(ImageTextBatch(images, tokens, lengths))
    for one, expected in zip(found, features, strict=True):
        assert_near(one, expected)
