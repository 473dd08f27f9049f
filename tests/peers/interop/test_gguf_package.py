"""GGUF files against the package ``gguf``, and against what transformers makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minitrain.interop import GGUFFile, load_gguf, load_huggingface, save_gguf
from minitrain.interop.gguf import blocks
from minitrain.interop.gguf.blocks import block_of, dequantize, packed, quantize_q8_0
from tests.helpers.interop.published import IN_GGUF, published

from .families import TOKENS, assert_near, logits, theirs, transformers

gguf = pytest.importorskip("gguf")
pytestmark = pytest.mark.peers
KINDS = [kind for kind in gguf.GGMLQuantizationType if kind in {**blocks._SIZES, **blocks._OTHERS}]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_blocks_are_unpacked_with_the_same_bits(kind):
    assert block_of(kind) == gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 256, (40, block_of(kind)[1]), np.uint8)
    with np.errstate(all="ignore"):
        try:
            expected = gguf.dequantize(raw, kind)
        except NotImplementedError:
            pytest.skip("the package cannot unpack it either")
        found = dequantize(raw.reshape(-1), int(kind), "x")
    np.testing.assert_array_equal(found, np.asarray(expected).reshape(-1).astype(np.float32))


def test_every_known_type_is_here():
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    for kind, size in {**blocks._SIZES, **blocks._OTHERS}.items():
        assert sizes[kind] == size


@pytest.mark.parametrize("kind", [blocks.F32, blocks.F16, blocks.BF16, blocks.Q8_0])
def test_numbers_are_packed_with_the_same_bits(kind):
    x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    x[3] = 0
    expected = gguf.quantize(x, gguf.GGMLQuantizationType(kind))
    np.testing.assert_array_equal(packed(x, kind).reshape(-1), expected.view(np.uint8).reshape(-1))
    assert quantize_q8_0(x).shape == (64, 3, 34)


@pytest.mark.parametrize("name", IN_GGUF)
@pytest.mark.parametrize("dtype", ["float32", "q8_0"])
def test_the_package_reads_our_files(name, dtype, tmp_path):
    save_gguf(published(name), tmp_path / "x.gguf", dtype=dtype)
    ours, reader = GGUFFile(tmp_path / "x.gguf"), gguf.GGUFReader(tmp_path / "x.gguf")
    assert {tensor.name for tensor in reader.tensors} == ours.tensors.keys()
    for tensor in reader.tensors:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.read(tensor.name), expected)
        assert ours.tensors[tensor.name].shape == tuple(int(n) for n in reversed(tensor.shape))
    found = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert found.keys() == ours.metadata.keys()
    for key, value in found.items():
        assert value == pytest.approx(ours.metadata[key]), key


# transformers does not read the scaling of rotations, Qwen3's head width (it takes 128), and the sizes of GPT-2.
READ_THERE = {"llama": {}, "llama, head width": {}, "qwen2": {}, "qwen3": {"head_dim": 128}}


@pytest.mark.parametrize(("name", "more"), READ_THERE.items())
def test_transformers_computes_the_same_from_our_files(name, more, tmp_path):
    """It unpacks a file and puts the rows of queries and keys back into its own order."""
    pytest.importorskip("accelerate")  # with which transformers opens such files
    theirs(name, **more).save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs")
    save_gguf(ours, tmp_path / "x.gguf", dtype="float32", metadata=tokenizer(500))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="x.gguf", attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        expected = logits(model, TOKENS)
    assert_near(load_gguf(tmp_path / "x.gguf").forward(TOKENS)[0], expected, 1e-5, name)


def tokenizer(size: int) -> dict[str, Any]:
    """The least that readers ask for."""
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [f"t{i}" for i in range(size)]}
