"""A masked language model: a run learns, goes on with the same bytes, fills in masks, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.data import ByteTokenizer, MaskedWindows, build_token_shards, build_tokenizer
from minitrain.errors import ConfigError, DataError, MinitrainError
from minitrain.models import Encoder, EncoderConfig, MaskedEncoder, MaskedEncoderConfig
from minitrain.runs import RunConfig, compare_evaluations, evaluate_run, load_run, plot_run, start_run
from minitrain.tasks import MaskedLanguageModel
from minitrain.tasks.outcome import Measured
from minitrain.tasks.text.masks import encode_masked, pseudo_perplexity
from minitrain.tasks.text.need import parameter_count
from tests.helpers.small_runs import TEXT, killed_and_continued, outcome


def small(folder: Path, **changes: Any) -> RunConfig:
    """A run of six steps, with dropout and accumulation."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    text = folder.parent / "text.txt"
    text.write_text(TEXT)
    values: dict[str, Any] = {
        "task": "masked_language_model",
        "run_dir": str(folder),
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1},
        "data": {"path": str(text), "block_size": 12, **changes.pop("data", {})},
        "trainer": {
            "max_steps": 6,
            "batch_size": 5,
            "gradient_accumulation_steps": 2,
            "validation_frequency": 3,
            "eval_batches": 2,
            "save_every": 2,
            "log_every": 1,
            **changes.pop("trainer", {}),
        },
        "scheduler": {"warmup_steps": 2},
    }
    return RunConfig.from_dict(values | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / "run"
    start_run(small(folder)).train()
    return folder


def test_it_learns_what_stands_between(tmp_path: Path) -> None:
    """Letters in the order of the alphabet: what is hidden follows from either side."""
    starts = np.random.default_rng(0).integers(8, size=50)  # so that windows do not all begin with one letter
    (tmp_path / "abc.txt").write_text("".join(("abcdefgh" * 8)[start : start + 49] for start in starts))
    config = small(
        tmp_path / "run",
        data={"path": str(tmp_path / "abc.txt"), "block_size": 16},
        model={"n_layer": 1, "n_head": 2, "n_embd": 32},
        optimizer={"name": "muon", "learning_rate": 2e-2},
        trainer={"max_steps": 250, "batch_size": 16, "save_every": 0, "validation_frequency": 0},
    )
    run = start_run(config)
    result = run.train()
    assert isinstance(result.validation, Measured)
    values = result.validation.values
    assert values["accuracy %"] > 0.9
    assert values["pseudo-perplexity"] < 1.3 < result.validation.others["unigram frequencies"]["perplexity"]
    answer = MaskedLanguageModel().answer(config, run.trainer.model, run.prepared.processor, "ab[MASK]def[MASK]h")
    assert answer.splitlines()[0] == "abcdefgh"
    assert answer.splitlines()[1].startswith("[MASK] 1: 'c'")
    assert "hidden '" in result.sample and "filled '" in result.sample


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(small(tmp_path / "run"))
    killed_and_continued(run, steps, monkeypatch)
    ours, whole = outcome(tmp_path / "run", 6), outcome(trained, 6)
    assert ours == whole


def test_any_split_of_a_batch_learns_the_same(trained: Path, tmp_path: Path) -> None:
    other = small(
        tmp_path / "run",
        trainer={"gradient_accumulation_steps": 5},
        model={"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1},
    )
    start_run(other).train()
    one, two = (load_run(folder).model.state_dict() for folder in (trained, tmp_path / "run"))
    for path, weights in one.items():
        np.testing.assert_allclose(two[path], weights, atol=1e-5, err_msg=path)


def test_commands(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate_run(trained)
    assert isinstance(found, Measured) and found.samples is not None
    assert set(found.values) == {"accuracy %", "perplexity", "pseudo-perplexity"}
    assert found.values["perplexity"] == pytest.approx(np.exp(found.loss), rel=1e-5)
    assert plot_run(trained) and (trained / "report.html").exists()
    assert main(["eval", str(trained)]) == 0
    assert "pseudo-perplexity" in capsys.readouterr().out
    assert main(["eval", str(trained), "--text", str(trained.parent / "text.txt")]) == 0
    assert main(["info", str(trained)]) == 0
    capsys.readouterr()
    assert main(["generate", str(trained), "--prompt", "the [MASK]x"]) == 0
    assert "[MASK]: '" in capsys.readouterr().out
    for prompt, says in {
        "the fox": "there is no [MASK] in the text",
        "the [MASK] fox jumps over": "the text has",
        "Z[MASK]": "'Z'",
    }.items():
        assert main(["generate", str(trained), "--prompt", prompt]) == 2
        assert says in capsys.readouterr().err
    start_run(small(tmp_path / "other", model={"n_layer": 1, "n_head": 1, "n_embd": 8})).train()
    for run in (trained, tmp_path / "other"):
        assert main(["eval", str(run)]) == 0
    assert {"loss", "accuracy %", "perplexity"} <= set(compare_evaluations([trained, tmp_path / "other"]).differences)


def test_shards_and_other_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    shards = build_token_shards(tmp_path / "text.txt", build_tokenizer("byte", TEXT), tmp_path / "shards")
    assert shards is not None
    run = start_run(small(tmp_path / "run", data={"name": "shards", "path": str(tmp_path / "shards")}))
    assert run.trainer.model.config.vocab_size == 257
    assert isinstance(run.train().validation, Measured)
    for name in ("byte", "bpe"):
        run = start_run(small(tmp_path / name, data={"tokenizer": name, "vocab_size": 270}))
        assert run.trainer.model.tok_emb.weight.data.shape[0] == run.prepared.processor.vocab_size + 1


def test_a_pseudo_perplexity_is_that_of_tokens_hidden_one_by_one() -> None:
    model = MaskedEncoder(MaskedEncoderConfig(vocab_size=6, block_size=4, n_layer=1, n_head=1, n_embd=4), seed=2)
    tokens = np.array([0, 3, 1, 4, 2, 2, 0, 1], np.int32)
    nats = []
    for window in tokens.reshape(2, 4):
        for t in range(4):
            hidden = window.copy()
            hidden[t] = 5
            logits = model.forward(hidden[None])[0][0, t].astype(float)
            nats.append(np.log(np.exp(logits).sum()) - logits[window[t]])
    for size in (1, 3, 8):
        windows = MaskedWindows(tokens, 4, size, seed=0, vocab_size=5)
        assert pseudo_perplexity(model, windows) == pytest.approx(np.exp(np.mean(nats)), rel=1e-5)
    assert pseudo_perplexity(model, MaskedWindows(tokens[:3], 4, 1, seed=0, vocab_size=5)) is None


def test_masks_in_a_text() -> None:
    ids = encode_masked(ByteTokenizer(), "[MASK]a[MASK][MASK]", 4)
    assert ids.tolist() == [256, 97, 256, 256]
    with pytest.raises(DataError, match="has 4 tokens, and the model reads 3"):
        encode_masked(ByteTokenizer(), "[MASK]a[MASK][MASK]", 3)


@pytest.mark.parametrize("bias", [True, False])
def test_the_parameters_are_counted_before_anything_is_built(bias: bool) -> None:
    shape = MaskedEncoderConfig(vocab_size=7, block_size=5, n_layer=2, n_head=2, n_embd=8, bias=bias)
    assert parameter_count(shape) == MaskedEncoder(shape).parameter_count()


def test_its_body_starts_an_encoder(trained: Path) -> None:
    """The body's weights have the same names; a table of one more row, for the mask, comes along."""
    masked = load_run(trained).model
    shape = masked.config
    encoder = Encoder(EncoderConfig(shape.vocab_size, 3, shape.block_size, n_layer=1, n_head=2, n_embd=16), seed=5)
    body = {path: w for path, w in masked.state_dict().items() if not path.startswith(("transform", "head"))}
    encoder.load_state_dict(body, strict=False)
    assert set(body) == {path for path in encoder.state_dict() if not path.startswith("head")}
    for path, weights in body.items():
        np.testing.assert_array_equal(encoder.state_dict()[path], weights)


def test_mistakes_are_told(trained: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.tsv"
    labelled.write_text("text\tlabel\n" + "the fox\ta\nthe dog\tb\n" * 10)
    values = {
        "task": "classification",
        "init_from": str(trained),
        "run_dir": str(tmp_path / "classifier"),
        "model": {"name": "encoder", "n_layer": 1, "n_head": 2, "n_embd": 16},
        "data": {"name": "labelled_text", "path": str(labelled), "block_size": 12},
    }
    with pytest.raises(MinitrainError, match="is a run of task='masked_language_model', and this one is of task=class"):
        start_run(RunConfig.from_dict(values))
    with pytest.raises(ConfigError, match="mask_share"):
        small(tmp_path / "a", data={"mask_share": 1.0})
    with pytest.raises(DataError, match="too few for block_size"):
        (tmp_path / "short.txt").write_text("abc" * 4)
        start_run(small(tmp_path / "b", data={"path": str(tmp_path / "short.txt"), "block_size": 50}))
    with pytest.raises(ConfigError, match="prompt is for task=language_model"):
        start_run(small(tmp_path / "c", generation={"prompt": "the"}))
    with pytest.raises(
        ConfigError, match="is for task=language_model; task=masked_language_model trains masked_encoder"
    ):
        small(tmp_path / "d", model={"name": "gpt"})
