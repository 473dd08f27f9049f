"""The trainer: what it logs, what it keeps, and how it stops."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend.cpu import jit
from minitrain.checkpoint import read_checkpoint
from minitrain.data import Batch
from minitrain.errors import CheckpointError, DataError, NonFiniteError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.ops.contract.loss import Loss
from minitrain.optim import AdamW, clip_by_global_norm
from minitrain.random import Key
from minitrain.records import read_metrics
from minitrain.records.progress import LiveProgress, PlainProgress, compilation_shown
from minitrain.runs import evaluate, evaluate_run, load_run, plot_run, start_run
from minitrain.training import Interrupted, Trainer, TrainingConfig, train_step
from tests.helpers.small_runs import STEPS, small_config, tiny_trainer, tree


def interrupt_at(trainer: Trainer, step: int, action: Callable[[], object]) -> None:
    """Let ``action`` happen in the middle of update number ``step``, counted from 0."""
    schedule = trainer.setup.schedule

    def interrupting(number: int) -> float:
        if number == step:
            action()
        return schedule(number)

    trainer.setup.schedule = interrupting


def small_trainer(run_dir: Path, **config: Any) -> Trainer:
    return tiny_trainer(run_dir, config=TrainingConfig(batch_size=4, **config))


# A whole run.


def test_a_run_from_text_to_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start_run(small_config(tmp_path))
    result = run.train()
    kept = {"config.yaml", "tokenizer.json", "metrics.jsonl", "loss.png", "learning_rate.png", "sample.txt"}
    kept |= {"report.html", "run.json", "summary.txt", ".writer"}
    assert {path.name for path in run.run_dir.iterdir()} == {*kept, "data", "checkpoints", "plots"}
    assert (run.run_dir / "sample.txt").read_text().strip("\n") == result.sample.strip("\n")
    training = result.training
    assert training.step == STEPS
    assert training.checkpoint == run.run_dir / "checkpoints" / "step-00000007"
    assert result.pictures[:2] == (run.run_dir / "loss.png", run.run_dir / "learning_rate.png")
    plots = {path.stem for path in result.pictures[2:]}
    assert plots == {"grad_norm", "tokens_per_second", "perplexity"}
    assert result.report == run.run_dir / "report.html"
    assert training.best_val_loss == min(
        r["val_loss"] for r in read_metrics(run.run_dir / "metrics.jsonl") if "val_loss" in r
    )
    text = result.describe()
    assert f"{result.validation.loss:.4f}" in text
    assert f"{result.validation.bits_per_character:.4f}" in text
    assert "uniform guess" in text
    assert "unigram frequencies" in text
    assert result.sample in text
    assert f"{run.trainer.model.parameter_count():,} parameters" in run.describe()
    assert run.trainer.model.flat  # packed: one update for all

    # The same figures come out of the folder alone.
    model, tokenizer, config, step = load_run(run.run_dir)
    assert (step, config) == (STEPS, run.config)
    assert tokenizer.decode(tokenizer.encode("fox")) == "fox"
    for name, array in run.trainer.model.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
    again = evaluate_run(run.run_dir)
    assert again.loss == pytest.approx(result.validation.loss, rel=1e-6)
    assert again.baselines == result.validation.baselines
    for picture in result.pictures:
        picture.unlink()
    assert plot_run(run.run_dir) == result.pictures
    assert all(picture.exists() for picture in result.pictures)


def test_the_baselines_and_bits_per_character(tmp_path: Path, no_pictures: None) -> None:
    text = "aé" * 300  # three bytes for two characters
    (tmp_path / "text").write_text(text, encoding="utf-8")
    config = small_config(tmp_path, data_path=str(tmp_path / "text"), data_tokenizer="byte", trainer_max_steps=3)
    validation = start_run(config).train().validation
    assert validation.baselines["uniform guess"] == pytest.approx(math.log(256))
    assert validation.baselines["unigram frequencies"] < math.log(256)
    assert validation.tokens_per_character == pytest.approx(1.5, rel=0.02)
    assert validation.bits_per_character == pytest.approx(
        validation.loss / math.log(2) * validation.tokens_per_character
    )


def test_what_is_logged(tmp_path: Path, no_pictures: None) -> None:
    """The figures of the records are those of a loop written by hand."""
    run = start_run(small_config(tmp_path))
    reference = start_run(small_config(tmp_path / "reference")).trainer
    model, optimizer, key = reference.model, reference.optimizer, Key.from_seed(3).fold("dropout")
    totals, counts, norms, val = [], [], [], {}
    for step in range(STEPS):
        optimizer.set_lr(reference.setup.schedule(step))
        optimizer.zero_grad()
        total = count = 0.0
        for first, batch in reference.setup.data.micro_batches(step, 2):
            loss, cache = model.loss(batch, key=key.fold(step).at_sample(first))
            model.loss_backward(cache)
            total, count = total + float(loss.total), count + float(loss.count)
        clip = clip_by_global_norm(model, 1.0, count=count)
        optimizer.step(clip.scale)
        totals.append(total)
        counts.append(count)
        norms.append(clip.norm)
        val[step + 1] = reference.run.evaluator.run(2)["val_loss"]
    whole = reference.run.evaluator.run()

    run.train()
    records = read_metrics(run.run_dir / "metrics.jsonl")
    logged = {record["step"]: record for record in records if "loss" in record}
    assert list(logged) == [1, 2, 4, 6, 7]
    for before, step in zip([0, 1, 2, 4, 6], logged, strict=True):
        record = logged[step]
        assert set(record) == {"step", "loss", "lr", "grad_norm", "tokens_per_second", "seconds"}
        assert record["loss"] == sum(totals[before:step]) / sum(counts[before:step])
        assert record["lr"] == reference.setup.schedule(step - 1)
        assert record["grad_norm"] == norms[step - 1]
        assert record["tokens_per_second"] > 0
    evaluated = {record["step"]: record for record in records if "val_loss" in record}
    assert list(evaluated) == [3, 6, 7]
    assert [evaluated[3]["val_loss"], evaluated[6]["val_loss"]] == [val[3], val[6]]
    assert (evaluated[7]["val_loss"], evaluated[7]["val_tokens"]) == (whole["val_loss"], whole["val_tokens"])
    assert [record["seconds"] for record in records] == sorted(record["seconds"] for record in records)


def test_intervals_of_zero_mean_only_at_the_end(tmp_path: Path, no_pictures: None) -> None:
    config = small_config(tmp_path, trainer_validation_frequency=0, trainer_save_every=0, trainer_sample_tokens=0)
    result = start_run(config).train()
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["step"] for record in records if "val_loss" in record] == [STEPS]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000007"]
    assert result.sample == ""


def test_a_trainer_by_hand_without_a_tokenizer(tmp_path: Path, no_pictures: None) -> None:
    trainer = small_trainer(tmp_path / "run", max_steps=3)
    result = trainer.train()
    assert (result.step, result.stopped) == (3, "")
    assert result.val_loss == result.history.get_latest("val_loss") == trainer.run.evaluator.run()["val_loss"]
    assert result.history.get_steps("train_loss") == [1, 3]


def test_a_text_without_line_breaks(tmp_path: Path, no_pictures: None) -> None:
    (tmp_path / "text").write_text("abc" * 200)
    result = start_run(small_config(tmp_path, data_path=str(tmp_path / "text"))).train()
    assert len(result.sample) == 8


@pytest.mark.parametrize("best_at", [3, 6])
def test_the_best_validation_loss_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None, best_at: int
) -> None:
    trainer = start_run(small_config(tmp_path)).trainer
    real = trainer.run.evaluator.run
    monkeypatch.setattr(
        trainer.run.evaluator, "run", lambda *a: real(*a) | {"val_loss": 1.0 if trainer.state.step == best_at else 1e6}
    )
    result = trainer.train()
    assert result.best_step == trainer.state.best_step == best_at


# Evaluation.


def test_an_evaluation_predicts_every_token_once(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path)
    tokens = trainer.run.evaluator.data.tokens
    measured = evaluate(trainer.model, tokens, block_size=8, batch_size=3)
    assert measured["val_tokens"] == tokens.size - 1
    by_hand = 0.0
    for start in range(0, tokens.size - 1, 8):
        window = tokens[start : start + 9][None].astype(np.int32)
        by_hand += float(trainer.model.loss(Batch(window[:, :-1].copy(), window[:, 1:].copy()))[0].total)
    assert measured["val_loss"] == pytest.approx(by_hand / (tokens.size - 1), rel=1e-5)


def test_a_partial_evaluation_is_spread_over_the_text() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[Batch] = []

        def loss(self, batch: Batch) -> Any:
            self.seen.append(batch)
            return Loss(0.0, batch.targets.size), None

    model = Recorder()
    measured = evaluate(model, np.arange(1000), block_size=10, batch_size=4, max_batches=3)
    assert measured["val_tokens"] == 3 * 40
    assert [batch.inputs.shape for batch in model.seen] == [(4, 10)] * 3
    assert model.seen[0].inputs[0, 0] == 0
    assert model.seen[1].inputs[0, 0] == 479
    assert model.seen[-1].targets[-1, -1] == 999  # to the last token
    full = Recorder()
    assert evaluate(full, np.arange(100), block_size=10, batch_size=4, max_batches=3)["val_tokens"] == 99


# A folder that is used already.


@pytest.mark.parametrize("leave", ["checkpoints", "metrics.jsonl"])
def test_a_used_folder_is_refused_and_stays_as_it_is(tmp_path: Path, no_pictures: None, leave: str) -> None:
    config = small_config(tmp_path, trainer_max_steps=3)
    run = start_run(config)
    assert repr(run) == f"<Run in {run.run_dir}: step 0 of 3>"  # short, for notebooks
    assert repr(run.train()).startswith(f"<RunResult of {run.run_dir}: 3 steps, validation loss ")
    for path in (run.run_dir / "metrics.jsonl", *run.run_dir.glob("checkpoints/*/*")):
        if leave not in path.parts and leave != path.name:
            path.unlink()
    before = tree(run.run_dir)
    for attempt in (lambda: start_run(config), lambda: small_trainer(run.run_dir, max_steps=3).train()):
        with pytest.raises(
            CheckpointError,
            match=rf"already holds a run.*(--resume {re.escape(str(run.run_dir))}|resume\(\)).*run_dir=",
        ):
            attempt()
        assert tree(run.run_dir) == before


def test_a_text_that_cannot_be_used_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("short")
    for path in (tmp_path / "text", tmp_path / "nowhere"):
        with pytest.raises(DataError):
            start_run(small_config(tmp_path, data_path=str(path)))
    assert not (tmp_path / "run").exists()


def test_new_runs_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(small_config(tmp_path), run_dir=None)
    folders = {start_run(config).run_dir for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.parent == Path("runs") and folder.name.startswith("text-") for folder in folders)


# Stopping.


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_finishes_the_step_and_saves(
    tmp_path: Path, no_pictures: None, number: signal.Signals, code: int, name: str
) -> None:
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    run = start_run(small_config(tmp_path))
    during: list[object] = []
    interrupt_at(run.trainer, 2, lambda: (during.append(signal.getsignal(number)), os.kill(os.getpid(), number)))
    with pytest.raises(Interrupted) as caught:
        run.train()
    assert caught.value.exit_code == code
    assert name in str(caught.value)
    assert f"minitrain train --resume {run.run_dir}" in str(caught.value)
    assert [path.name for path in (run.run_dir / "checkpoints").iterdir()] == ["step-00000003"]
    assert during[0] != before[number]
    assert {s: signal.getsignal(s) for s in before} == before


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = start_run(small_config(tmp_path, trainer_save_every=1))
    interrupt_at(run.trainer, 2, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert signal.getsignal(signal.SIGINT) is before
    assert sorted(path.name[-1] for path in (run.run_dir / "checkpoints").iterdir()) == ["1", "2"]


def test_a_second_sigterm_exits_at_once(tmp_path: Path) -> None:
    run = start_run(small_config(tmp_path))
    interrupt_at(run.trainer, 2, lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)])
    with pytest.raises(SystemExit) as caught:
        run.train()
    assert caught.value.code == 143


def test_after_the_last_save_a_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(small_config(tmp_path))
    monkeypatch.setattr("minitrain.runs.run.draw", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert (run.run_dir / "checkpoints" / "step-00000007").exists()


def test_another_thread_trains_without_touching_signals(tmp_path: Path, no_pictures: None) -> None:
    trainer = small_trainer(tmp_path / "run", max_steps=2)
    handlers: list[object] = []
    interrupt_at(trainer, 1, lambda: handlers.append(signal.getsignal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert handlers == [before]
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").exists()


# What is not finite.


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("blocks.1.norm2.weight", math.nan, "parameter blocks.1.norm2.weight holds NaN"),
        ("tok_emb.weight", math.inf, "parameter tok_emb.weight holds infinity"),
        ("blocks.0.feed_forward.up.weight", 3e38, "blocks.0.feed_forward"),  # overflows on the way
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, no_pictures: None, name: str, value: float, words: str
) -> None:
    run = start_run(small_config(tmp_path))
    trainer = run.trainer
    data = dict(trainer.model.named_parameters())[name].data
    interrupt_at(trainer, 5, lambda: data.fill(value))
    with pytest.raises(NonFiniteError) as caught, np.errstate(all="ignore"):
        run.train()
    message = str(caught.value)
    assert message.startswith("step 6: ")
    assert words in message
    assert str(run.run_dir / "checkpoints" / "step-00000004") in message
    assert "learning_rate" in message
    assert [path.name for path in (run.run_dir / "checkpoints").iterdir()] == ["step-00000004"]
    assert read_checkpoint(run.run_dir / "checkpoints" / "step-00000004").step == 4


def test_a_gradient_that_is_not_finite_is_named_and_the_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small_trainer(tmp_path / "run", max_steps=3)
    model = trainer.model
    before = {name: array.copy() for name, array in model.state_dict().items()}
    real = model.loss_backward

    def spreading(cache: Any) -> None:  # from the block back to the embeddings
        real(cache)
        for parameter in (model.blocks[0].attention.qkv.weight, model.pos_emb.weight):
            parameter.grad.fill(math.nan)

    monkeypatch.setattr(model, "loss_backward", spreading)
    with pytest.raises(NonFiniteError, match=r"step 1: .*gradient of blocks\.0\.attention\.qkv\.weight holds NaN"):
        trainer.train()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert trainer.checkpoints.checkpoints() == []


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = small_trainer(tmp_path / "run", max_steps=3, save_every=1)
    real = trainer.optimizer.step

    def overflowing(scale: float) -> None:
        real(scale)
        if trainer.optimizer.steps == 2:
            trainer.model.norm.weight.data[0] = np.inf

    monkeypatch.setattr(trainer.optimizer, "step", overflowing)
    with pytest.raises(NonFiniteError, match=r"step 2: not saved, parameter norm\.weight holds infinity"):
        trainer.train()
    assert [path.name for path in trainer.checkpoints.checkpoints()] == ["step-00000001"]


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path / "run", max_steps=3, validation_frequency=1)
    real = trainer.run.evaluator.run
    trainer.run.evaluator.run = lambda *a: real(*a) | {"val_loss": math.nan}
    with pytest.raises(NonFiniteError, match="step 1: the validation loss is nan"):
        trainer.train()


def test_a_batch_without_targets_is_an_error() -> None:
    model = GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4))
    batch = Batch(np.zeros((2, 4), np.int32), np.full((2, 4), -100, np.int32))
    with pytest.raises(DataError, match="no target"):
        train_step(model, AdamW(model), [(0, batch)], lr=0.1)


# What is shown.


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_pictures: None
) -> None:
    start_run(small_config(tmp_path)).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(lines) == 5 + 2  # one for each record, one for each evaluation on the way
    assert re.fullmatch(
        r"step 2/7  loss \d+\.\d{4}  lr 6\.7e-04  grad \d+\.\d\d  [\d,]+ tokens/s  \d+:\d\d left", lines[1]
    )
    assert re.fullmatch(r"step 3: validation loss \d\.\d{4} \(best so far\)", lines[2])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    start_run(small_config(tmp_path)).train()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"step 7/7 .*loss \d\.\d{4} .*tokens/s", text)
    assert "step 3: validation loss" in text
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize("progress", [PlainProgress(0, 3), LiveProgress(0, 3)], ids=["plain", "live"])
def test_compiling_is_shown(progress: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = jit.compile_listener
    with compilation_shown(progress):
        assert jit.compile_listener is not None
        jit.compile_listener("linear.forward")
        jit.compile_listener("gelu.forward")
    assert jit.compile_listener is before
    if isinstance(progress, PlainProgress):
        assert capsys.readouterr().out.count("compiling") == 1
    else:
        assert "gelu.forward" in progress._bar.tasks[0].fields["metrics"]
