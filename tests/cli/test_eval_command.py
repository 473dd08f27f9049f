"""``minitrain eval``: scores of texts and questions, for runs and published models."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.data import PretrainedTokenizer
from minitrain.evaluation import Question, read_questions, score_choices, score_text, score_tokens
from minitrain.generation import session_for
from minitrain.generation.sessions.weights import with_weights
from minitrain.interop import save_gguf, save_huggingface
from minitrain.models import build_model
from minitrain.runs import evaluate_run, load_run, start_run
from minitrain.runs.load import held_out_tokens
from tests.helpers.interop.published import CONFIGS
from tests.helpers.model_checks import stir
from tests.helpers.small_runs import TEXT, small_config
from tests.helpers.texts.tokenizers_of_others import described, gguf_metadata

QUESTIONS = [Question(TEXT[:5], (TEXT[5:9], TEXT[20:24]), 0), Question(TEXT[:3], (TEXT[30:31], TEXT[3:8]), 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    started = start_run(small_config(folder))
    started.trainer.train()
    return Path(started.run_dir)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``eval`` in a folder with a text and questions; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    Path("other.txt").write_text(TEXT[100:300])
    Path("questions.jsonl").write_text("".join(json.dumps(question._asdict()) + "\n" for question in QUESTIONS))

    def call(*arguments: Any, code: int = 0) -> str:
        assert main(["eval", *map(str, arguments)]) == code, capsys.readouterr()
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return call


def figure(said: str, name: str) -> float:
    found = re.search(rf"^  {name} +([\d.]+)", said, re.MULTILINE)
    assert found, said
    return float(found[1])


def test_without_options_it_compares_with_guessing(run: Path, call: Any) -> None:
    assert call(run).startswith(evaluate_run(run).describe())


def test_a_run_is_scored_on_its_held_out_text(run: Path, call: Any) -> None:
    said, loaded = call(run, "--stride", 3), load_run(run)
    score = score_tokens(loaded.model, held_out_tokens(run), tokenizer=loaded.tokenizer, stride=3)
    assert said.startswith(f"{score.tokens:,} tokens, {score.size.bytes:,} bytes")
    assert "stride 3" in said
    assert figure(said, "nats per token") == pytest.approx(score.nats_per_token, abs=1e-3)
    assert figure(said, "bits per byte") == pytest.approx(score.bits_per_byte, abs=1e-3)
    assert figure(said, "perplexity") == pytest.approx(score.perplexity, abs=1e-2)
    assert figure(said, "most likely token came") == pytest.approx(100 * score.accuracy, abs=0.2)
    assert figure(said, "calibration error") == pytest.approx(100 * score.calibration.expected_error, abs=0.2)
    rows = re.findall(r"^  \d+ to \d+ % +(\d+) ", said, re.MULTILINE)
    assert sum(map(int, rows)) == score.tokens


def test_weights_are_compared_with_float32(run: Path, call: Any) -> None:
    said, loaded = call(run, "--text", "other.txt", "--weights", "int8", "bfloat16"), load_run(run)
    rows = {line.split()[0]: line.split() for line in said.splitlines()[2:]}
    assert list(rows) == ["float32", "int8", "bfloat16"]
    scores = {
        name: score_text(with_weights(loaded.model, name), loaded.tokenizer, Path("other.txt").read_text())
        for name in rows
    }
    for name, row in rows.items():
        assert float(row[1]) == pytest.approx(scores[name].nats_per_token, abs=1e-4)
        if name != "float32":
            difference = 100 * (scores[name].perplexity / scores["float32"].perplexity - 1)
            assert float(row[4]) == pytest.approx(difference, abs=1e-2)


def test_questions_are_answered(run: Path, call: Any) -> None:
    said, loaded = call(run, "--choices", "questions.jsonl"), load_run(run)
    score = score_choices(session_for(loaded.model, 3), loaded.tokenizer, read_questions("questions.jsonl"))
    assert said.startswith("2 questions; blind guessing is right in 50.00 %")
    assert "tokens" not in said.splitlines()[0], "no text was asked for"
    shares = re.findall(r"([\d.]+) % ±", said)
    assert [float(share) for share in shares] == [100 * score.accuracy(name) for name in ("sum", "token", "byte")]
    both = call(run, "--choices", "questions.jsonl", "--text", "other.txt", "--weights", "int8")
    assert "int8" in both
    assert "199 tokens" in both


@pytest.mark.parametrize("name", ["folder", "model.gguf"])
def test_a_published_model_is_scored(name: str, call: Any, tmp_path: Path) -> None:
    tokenizer = PretrainedTokenizer(described("gpt-2"))
    config = replace(CONFIGS["llama"], vocab_size=tokenizer.vocab_size, block_size=32)
    model: Any = stir(build_model(config), 3)
    if name == "folder":
        save_huggingface(model, name)
        Path(name, "tokenizer.json").write_text(json.dumps(described("gpt-2")))
    else:
        metadata = gguf_metadata("gpt-2")
        kinds = np.array(metadata.pop("tokenizer.ggml.token_type"), np.int32)
        save_gguf(model, name, dtype="float32", metadata=metadata | {"tokenizer.ggml.token_type": kinds})
    said = call(name, "--text", "other.txt", "--context", 16, "--device", "cpu")
    model.config = replace(model.config, block_size=16)
    score = score_text(model, tokenizer, Path("other.txt").read_text())
    assert f"{score.tokens} tokens, {score.size.bytes} bytes, {score.size.characters} characters, stride 8" in said
    assert figure(said, "nats per token") == pytest.approx(score.nats_per_token, abs=1e-3)
    assert "2 questions" in call(name, "--choices", "questions.jsonl")
    assert "give --text, --choices or --unwanted" in call(name, code=2)
    assert not Path(name, "traceback.txt").exists()


def test_mistakes_are_named(run: Path, call: Any) -> None:
    assert "must be from 1 to" in call(run, "--stride", 0, code=2)
    assert "use one of float32" in call(run, "--weights", "int4", code=2)
    assert "line 1" in call(run, "--choices", "other.txt", code=2)
    assert "there is no such file" in call(run, "--choices", "nowhere.jsonl", code=2)
    assert "no run folder nowhere" in call("nowhere", "--stride", 4, code=2)
