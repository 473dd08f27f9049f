"""Runs that start from published models: a folder of transformers or a GGUF file, in full or with adapters."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint.store import warn_user
from minitrain.cli import main
from minitrain.data import PretrainedTokenizer, Tokenizer
from minitrain.errors import CheckpointError, MinitrainError
from minitrain.files import FileError
from minitrain.interop import load_huggingface, save_gguf, save_huggingface
from minitrain.models import BertConfig, GPTConfig, LlamaConfig, build_model
from minitrain.runs import load_run
from minitrain.runs.weights.initial import inherited_settings, initial_processor, load_initial
from minitrain.tasks import LanguageModel
from tests.helpers.model_checks import stir
from tests.helpers.small_runs import TEXT
from tests.helpers.texts.tokenizers_of_others import described, gguf_metadata

KIND = "gpt-2"
SMALL = ["trainer.max_steps=3", "trainer.batch_size=2", "trainer.sample_tokens=4", "scheduler.warmup_steps=1"]


def published_model(kind: str, vocab_size: int) -> Any:
    shape = {"vocab_size": vocab_size, "block_size": 40, "n_layer": 2, "n_head": 2, "n_embd": 16}
    config = {"gpt": GPTConfig, "llama": LlamaConfig}[kind](**shape, **({"bias": True} if kind == "gpt" else {}))
    return stir(build_model(config))


@pytest.fixture(scope="module", params=["gpt", "llama"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A model, in a folder of transformers and in a GGUF file, with a tokenizer."""
    place = tmp_path_factory.mktemp("published")
    vocabulary = described(KIND)
    model = published_model(request.param, len(gguf_metadata(KIND)["tokenizer.ggml.tokens"]))
    save_huggingface(model, place / "folder")
    (place / "folder" / "tokenizer.json").write_text(json.dumps(vocabulary))
    metadata = gguf_metadata(KIND)
    metadata["tokenizer.ggml.token_type"] = np.array(metadata["tokenizer.ggml.token_type"], np.int32)
    save_gguf(model, place / "model.gguf", dtype="float32", metadata=metadata)
    (place / "text.txt").write_text(TEXT)
    return model, place / "folder", place / "model.gguf"


def tokenizer_of(place: Path) -> Tokenizer:
    found: Tokenizer = initial_processor(str(place), LanguageModel())
    return found


def test_both_formats_have_the_same_tokenizer_and_settings(published: tuple[Any, Path, Path]) -> None:
    model, *places = published
    folder, file = (tokenizer_of(place) for place in places)
    np.testing.assert_array_equal(folder.encode(TEXT), file.encode(TEXT))
    assert folder.vocab_size == model.config.vocab_size
    settings = [inherited_settings(str(place)) for place in places]
    assert settings[0] == settings[1]
    assert settings[0]["data"] == {"block_size": 40}
    assert settings[0]["model"]["n_embd"] == 16


@pytest.mark.parametrize("which", [1, 2], ids=["folder", "GGUF"])
@pytest.mark.parametrize("adapter", ["null", "lora"])
def test_a_run_starts_from_it_and_is_exported_again(
    published: tuple[Any, Path, Path], which: int, adapter: str, tmp_path: Path
) -> None:
    """Also with shorter sequences, for which a table of positions is cut."""
    model, place, run = published[0], published[which], tmp_path / "run"
    text = published[1].parent / "text.txt"
    arguments = [f"init_from={place}", f"data.path={text}", f"adapter={adapter}", "data.block_size=8", f"run_dir={run}"]
    assert main(["train", *arguments, *SMALL]) == 0
    trained = load_run(run)
    assert trained.step == 3
    assert type(trained.model) is type(model)
    before, after = model.state_dict(), trained.model.state_dict()
    same = {path for path in before if np.array_equal(before[path][: len(after[path])], after[path])}
    adapted = {path for path in before if path.endswith("weight") and ("attention" in path or "feed_forward" in path)}
    assert same == (before.keys() - adapted if adapter == "lora" else set())
    assert main(["export", str(run), "--to", "huggingface", "--out", str(tmp_path / "out")]) == 0
    tokens = np.arange(6)[None]
    expected = trained.model.forward(tokens)[0]
    np.testing.assert_allclose(load_huggingface(tmp_path / "out").forward(tokens)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("which", [1, 2], ids=["folder", "GGUF"])
def test_the_weights_are_a_checkpoint_of_step_0(published: tuple[Any, Path, Path], which: int) -> None:
    checkpoint = load_initial(str(published[which]), warn_user, {"block_size": 12})
    assert checkpoint.step == 0
    for path, weight in published[0].state_dict().items():
        np.testing.assert_array_equal(checkpoint.model[path], weight[:12] if path == "pos_emb.weight" else weight)
    with pytest.raises(CheckpointError, match="block_size = 41: the model is for sequences of at most 40"):
        load_initial(str(published[which]), warn_user, {"block_size": 41})


def test_what_cannot_be_trained_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = build_model(BertConfig(30, n_layer=1, n_head=1, n_embd=8))
    save_huggingface(encoder, tmp_path / "bert")
    with pytest.raises(CheckpointError, match="is a bert, which is not a language model that a run trains"):
        inherited_settings(str(tmp_path / "bert"))
    save_huggingface(published_model("llama", 30), tmp_path / "plain")
    with pytest.raises((MinitrainError, FileError), match=r"tokenizer.json"):
        initial_processor(str(tmp_path / "plain"), LanguageModel())
    (tmp_path / "plain" / "tokenizer.json").write_text(json.dumps(described(KIND)))
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = [f"init_from={tmp_path / 'plain'}", f"data.path={tmp_path / 'text.txt'}", f"run_dir={tmp_path / 'run'}"]
    assert main(["train", *arguments, *SMALL, "data.block_size=8"]) == 2
    said = capsys.readouterr().err
    size = len(gguf_metadata(KIND)["tokenizer.ggml.tokens"])
    assert f"the model has rows for 30 tokens, and the tokenizer of this run has {size}: they do not belong" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "which"), [("gpt", "folder"), ("llama", "model.gguf")])
def test_rows_without_a_token_are_left_out(kind: str, which: str, tmp_path: Path) -> None:
    """Published models have more rows than tokens: a run keeps those of the tokens, and writes no others."""
    tokenizer = PretrainedTokenizer(described(KIND))
    size, model = tokenizer.vocab_size, published_model(kind, tokenizer.vocab_size + 5)
    save = {"folder": save_huggingface, "model.gguf": partial(save_gguf, dtype="float32")}[which]
    save(model, tmp_path / which, tokenizer=tokenizer)
    (tmp_path / "text.txt").write_text(TEXT)
    run = tmp_path / "run"
    arguments = [f"init_from={tmp_path / which}", f"data.path={tmp_path / 'text.txt'}", f"run_dir={run}"]
    assert main(["train", *arguments, *SMALL, "data.block_size=8", "optimizer.learning_rate=1e-20"]) == 0
    trained, tokens = load_run(run).model, np.arange(6)[None]
    assert trained.config.vocab_size == size
    expected = model.forward(tokens)[0][..., :size]
    np.testing.assert_allclose(trained.forward(tokens)[0], expected, rtol=1e-5, atol=1e-5)
    kept = load_initial(str(tmp_path / which), warn_user, {})
    assert kept.model["tok_emb.weight"].shape[0] == size + 5, "all rows, unless a number of tokens is given"
    with pytest.raises(CheckpointError, match=rf"rows for {size + 5} tokens, and the tokenizer of this run has 256"):
        load_initial(str(tmp_path / which), warn_user, {"vocab_size": 256})
