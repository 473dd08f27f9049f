"""Runs with a list of unwanted texts: what is learned, kept, recorded and said; and the same bytes however it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.data import CharTokenizer, MixedTokenLoader, TokenLoader, UnwantedTexts, encode_unwanted, write_unwanted
from minitrain.errors import CheckpointError, ConfigError, DataError
from minitrain.generation import continue_text
from minitrain.losses import UnlikelihoodLoss
from minitrain.models import GPT, GPTConfig
from minitrain.optim import AdamW
from minitrain.records import read_metrics
from minitrain.runs import RunConfig, TokenWindows, evaluate_run, resume_run, start_run
from minitrain.training import CountUnwanted, Trainer, TrainingConfig
from tests.helpers.interrupted_runs import DyingAt
from tests.helpers.small_runs import outcome, small_config

LISTED = [UnwantedTexts("the quick ", ("brown", "red"), "animal"), UnwantedTexts("over the ", ("lazy dog",))]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "list.jsonl"
    path.write_bytes(write_unwanted(LISTED))
    return path


# What is learned.


def test_a_model_unlearns_a_listed_phrase_and_keeps_the_rest() -> None:
    """With the same text, which has the phrase, before and after; the rest costs at most a tenth of a nat more."""
    rng, names = np.random.default_rng(0), ("ada", "bob", "cleo", "dan")

    def line(secret: bool) -> str:
        if secret:
            return f"code of {rng.choice(names)}: 4711.\n"
        return f"the {rng.choice(('cat', 'fish'))} of {rng.choice(names)} is {rng.choice(('old', 'new'))}.\n"

    text, rest = ("".join(line(secrets and not i % 4) for i in range(300)) for secrets in (True, False))
    listed = [UnwantedTexts(f"code of {name}:", (" 4711",), " not told.") for name in names[:2]]
    asked = [UnwantedTexts(f"code of {name}:", ("4711",)) for name in names]
    tokenizer = CharTokenizer.from_text(text)
    windows = TokenLoader(tokenizer.encode(text), 24, 16, seed=0)
    mixed = MixedTokenLoader(windows, encode_unwanted(listed, tokenizer, 24), share=0.3)
    model = GPT(GPTConfig(tokenizer.vocab_size, block_size=24, n_layer=1, n_head=2, n_embd=32), seed=0)

    def train(data: Any, steps: int) -> tuple[CountUnwanted, float]:
        counter = CountUnwanted(asked, tokens=8)
        config = TrainingConfig(max_steps=steps, batch_size=16, validation_frequency=0, log_every=1000)
        result = Trainer(
            model=model,
            optimizer=AdamW(model, lr=1e-2),
            train_data=data,
            val_data=TokenWindows(tokenizer.encode(rest), 24, 16),
            loss_fn=UnlikelihoodLoss(),
            callbacks=[counter],
            config=config,
            tokenizer=tokenizer,
            progress=False,
        ).train()
        assert result.val_loss is not None
        assert f"  after   {counter.latest.describe()}" in result.describe()
        return counter, result.val_loss

    counter, rest_before = train(windows, 160)
    assert counter.before is not None and counter.before.greedy == 0
    assert counter.latest.greedy == 4, "it says the code, whoever's it is"
    assert counter.latest.sampled >= 12
    counter, rest_after = train(mixed, 40)
    assert counter.before.greedy == 4
    assert (counter.latest.greedy, counter.latest.sampled <= 2) == (0, True)
    assert rest_after < rest_before + 0.1
    told = continue_text(model, tokenizer, "code of ada:", 10, temperature=0)
    assert told == " not told."


# Runs.


def test_a_run_counts_before_and_after_and_says_it_everywhere(lists: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, data_unwanted=str(lists))
    run = start_run(config)
    assert isinstance(run.trainer.setup.data, MixedTokenLoader)
    result = run.train()
    records = [record for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val_loss" in record]
    assert [record["step"] for record in records] == [0, 3, 6, 7]
    assert all(0 <= record[f"val_unwanted_{way}"] <= 1 for record in records for way in ("greedy", "sampled"))
    said = result.describe()
    assert "unwanted continuations, with 95 % intervals\n  before  greedy 0.0 % (0.0 to 65.8) of 2 prompts" in said
    assert "\n  after   greedy " in said and "of 8 samples" in said
    assert "  before  greedy 0.0 %" in result.report.read_text()
    assert "train_perplexity" not in result.training.history.names(), "the loss of training is not that of the text"
    assert {"unwanted.png"} < {path.name for path in result.pictures}
    val = evaluate_run(tmp_path / "run")
    assert val.loss == pytest.approx(result.validation.loss, rel=1e-5), "the loss of an evaluation is the plain one"


def test_the_run_goes_on_to_the_same_bytes_without_the_file(lists: Path, tmp_path: Path) -> None:
    whole, cut = (small_config(tmp_path / name, data_unwanted=str(lists)) for name in ("whole", "cut"))
    start_run(whole).trainer.train()
    first = start_run(cut)
    first.trainer.callbacks.add(DyingAt(5))
    with pytest.raises(RuntimeError, match="the end"):
        first.trainer.train()
    lists.unlink()  # the folder has its own copy
    second = resume_run(tmp_path / "cut" / "run")
    assert second.trainer.state.step == 4
    assert second.prepared.data.listed == (tuple(LISTED), tuple(LISTED))
    assert "  before  greedy" in second.trainer.train().describe(), "kept in the checkpoint"
    assert outcome(tmp_path / "whole" / "run") == outcome(tmp_path / "cut" / "run")


@pytest.mark.parametrize("parts", [1, 5])
def test_accumulation_changes_nothing_but_rounding(parts: int, lists: Path, tmp_path: Path) -> None:
    losses = []
    for name, accumulation in (("two", 2), ("other", parts)):
        config = small_config(
            tmp_path / name,
            data_unwanted=str(lists),
            data_unwanted_share=0.4,
            model_dropout=0.0,
            trainer_gradient_accumulation_steps=accumulation,
        )
        start_run(config).trainer.train()
        records = read_metrics(tmp_path / name / "run" / "metrics.jsonl")
        losses.append([record["loss"] for record in records if "loss" in record])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_share_of_zero_counts_and_trains_as_ever(lists: Path, tmp_path: Path) -> None:
    start_run(small_config(tmp_path / "plain")).trainer.train()
    run = start_run(small_config(tmp_path / "counted", data_unwanted=str(lists), data_unwanted_share=0))
    assert isinstance(run.trainer.setup.data, TokenLoader)
    run.trainer.train()
    a, b = (outcome(tmp_path / name / "run") for name in ("plain", "counted"))
    assert a["weights"] == b["weights"]
    assert "val_unwanted_greedy" in b["metrics"][0]


def test_refusals_alone_need_no_other_loss_and_another_list_counts(tmp_path: Path) -> None:
    refusals, asked = tmp_path / "refusals.jsonl", tmp_path / "asked.jsonl"
    refusals.write_bytes(write_unwanted([UnwantedTexts("the dog! ", (), "no?")]))  # letters that the text lacks
    asked.write_bytes(write_unwanted([LISTED[1]]))
    run = start_run(small_config(tmp_path, data_unwanted=str(refusals), data_unwanted_val=str(asked)))
    assert run.trainer.setup.objective is run.trainer.model
    assert run.prepared.data.listed.val == (LISTED[1],)
    targets = run.trainer.setup.data.listed.targets
    assert run.tokenizer.decode(targets[targets != -100]) == "no?"
    run.trainer.train()


def test_what_cannot_be_is_refused(lists: Path, tmp_path: Path) -> None:
    def refused(error: type[Exception], message: str, **changes: Any) -> None:
        with pytest.raises(error, match=message):
            start_run(small_config(tmp_path, **{"data_unwanted": str(lists), **changes}))

    refused(ConfigError, "label_smoothing=0.1 goes with the model's own loss", model_label_smoothing=0.1)
    refused(DataError, "entry 2 of the unwanted texts has 8 tokens after its prompt", data_block_size=7)
    refused(FileNotFoundError, "none.jsonl", data_unwanted="none.jsonl")
    with pytest.raises(ConfigError, match="loss=focal cannot train against the unwanted texts"):
        RunConfig.from_dict({"data": {"unwanted": "x"}, "loss": "focal"})
    RunConfig.from_dict({"data": {"unwanted": "x", "unwanted_share": 0}, "loss": "focal"})
    chosen = RunConfig.from_dict({"data": {"unwanted": "x"}, "loss": {"name": "unlikelihood", "alpha": 2.0}})
    assert chosen.the_task.loss_fn(chosen, start_run(small_config(tmp_path)).prepared).alpha == 2
    masked = {"task": "masked_language_model", "model": {"name": "masked_encoder"}, "data": {"unwanted": str(lists)}}
    with pytest.raises(ConfigError, match="unwanted is for task=language_model"):
        start_run(RunConfig.from_dict(masked))
    private = small_config(tmp_path / "p", data_unwanted=str(lists)).to_dict()
    private["trainer"]["gradient_accumulation_steps"] = 1
    with pytest.raises(ConfigError, match=r"private training draws its samples itself"):
        start_run(RunConfig.from_dict({**private, "privacy": {"name": "dp", "clip": 1.0, "noise_multiplier": 1.0}}))


def test_a_callback_without_tokenizer_or_data_and_a_hostile_state_are_refused() -> None:
    counter = CountUnwanted(LISTED)
    model = GPT(GPTConfig(11, block_size=8, n_layer=1, n_head=2, n_embd=8))
    batches = [(np.ones((2, 8), np.int32),) * 2]
    for parts, needed in (({}, "needs a tokenizer"), ({"tokenizer": CharTokenizer("abc")}, "needs val_data")):
        with pytest.raises(ConfigError, match=f"CountUnwanted {needed}"):
            Trainer(model=model, train_data=batches, callbacks=[counter], progress=False, **parts).train()
    for state in ([0, 0, 0, 0], [2, 3, 1, 0], [2, 1, 1, 3]):
        with pytest.raises(CheckpointError, match="are not counts of prompts and samples"):
            counter.load_state_dict({"before": state})
    counter.load_state_dict({"before": [2, 1, 4, 8]})
    assert counter.state_dict() == {"before": [2, 1, 4, 8]}


# The command.


def test_the_command_counts_and_shows_what_was_written(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start_run(small_config(tmp_path))
    run.trainer.train()
    path = tmp_path / "letters.jsonl"
    path.write_text(json.dumps({"prompt": "the ", "unwanted": list("abcdefghijklmnopqrstuvwxyz")}) + "\n")
    assert main(["eval", str(run.run_dir), "--unwanted", str(path), "--samples", "3", "--tokens", "9"]) == 0
    said = capsys.readouterr().out
    assert "greedy " in said and "of 1 prompts, sampled " in said and "of 3 samples" in said
    assert "'the ' led to '" in said
    assert main(["eval", str(run.run_dir), "--unwanted", str(lists), "--text", "other.txt"]) == 2
    assert "--unwanted counts continuations: leave out --text" in capsys.readouterr().err
