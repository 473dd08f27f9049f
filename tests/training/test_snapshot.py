"""What a trainer's checkpoint holds, and that taking one up is all or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from minitrain.checkpoint import CheckpointStore, Contents, read_checkpoint
from minitrain.data import Batch
from minitrain.errors import CheckpointError, ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW
from minitrain.random import Key
from minitrain.records import read_metrics
from minitrain.records.facts import flat
from minitrain.records.history import read_history
from minitrain.runs import resume_run, start_run
from minitrain.training import EMA, Callback, JsonlLogger, LossScale, Trainer, TrainingConfig
from tests.helpers.small_runs import small_config
from tests.helpers.small_trainers import Asking, Counting, make


class Stateful:
    """A schedule with a state."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: int) -> float:
        self.calls += 1
        return 0.01

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: Any) -> None:
        self.calls = int(state["calls"])


class Stream:
    """Batches that can only be read forward, and say where they are."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.at += 1
        tokens = np.random.default_rng(self.at).integers(0, 11, (4, 9)).astype(np.int32)
        return Batch(tokens[:, :-1], tokens[:, 1:])

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: Any) -> None:
        self.at = state["at"]


def with_stream(run_dir: Path, *callbacks: Callback, data: Any = None, **options: Any) -> Trainer:
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1)
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        train_data=Stream() if data is None else data,
        scheduler=Stateful(),
        config=TrainingConfig(max_steps=8, save_every=4, gradient_accumulation_steps=2, log_every=2),
        callbacks=callbacks,
        run_dir=run_dir,
        progress=False,
        **options,
    )


def weights(trainer: Trainer) -> dict[str, bytes]:
    moments = trainer.optimizer.state_dict()["moments"]
    return {name: array.tobytes() for name, array in {**trainer.model.state_dict(), **moments}.items()}


# Everything is in it.


def test_it_holds_all_there_is(tmp_path: Path) -> None:
    trainer = with_stream(
        tmp_path / "run", EMA(0.5), Counting(), hyperparameters={"recipe": "mine", "trainer": {"max_steps": 8}}
    )
    trainer.setup.arithmetic.scaler = LossScale(8.0)
    trainer.train()
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000008")
    state = checkpoint.state
    assert checkpoint.model.keys() == trainer.model.state_dict().keys()
    assert checkpoint.optimizer["step"] == 8
    assert state["trainer"]["step"] == 8
    assert state["scheduler"] == {"calls": 8}
    assert state["scaler"] == {"scale": 8.0, "clean": 8}
    assert state["data"] == {"epoch": 0, "position": 8, "batches": {"at": 8}}
    assert state["random"] == {"key": [trainer.setup.key.k0, trainer.setup.key.k1]}
    assert state["config"] == {"recipe": "mine", "trainer.max_steps": 8}
    assert state["versions"].keys() == {"minitrain", "numpy", "python"}
    assert state["callbacks"].keys() == {"EMA", "Counting", "JsonlLogger"}
    assert state["callbacks"]["EMA"].keys() == checkpoint.model.keys()
    assert "metrics" not in state  # the history is in metrics.jsonl, to this length
    history = read_history(tmp_path / "run" / "metrics.jsonl", state["callbacks"]["JsonlLogger"]["offset"])
    assert history.get_steps("train_loss") == [1, 2, 4, 6, 8]
    assert checkpoint.metrics["train_loss"] == history.get_latest("train_loss")


def test_the_settings_of_a_run_are_in_it(tmp_path: Path, no_pictures: None) -> None:
    config = small_config(tmp_path, trainer_max_steps=3)
    run = start_run(config)
    run.train()
    path = run.trainer.checkpoints.latest()
    assert read_checkpoint(path).state["config"] == flat(config.to_dict())
    assert read_checkpoint(make(None).save_checkpoint(tmp_path / "x")).state["config"]["trainer.max_steps"] == 8


def test_a_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = with_stream(tmp_path / "whole")
    whole.train()
    with_stream(tmp_path / "parts", Asking(stop=3)).train()
    resumed = with_stream(tmp_path / "parts")
    assert resumed.resume() == 3
    assert resumed.setup.data.batches.at == 3
    resumed.state.stopped = ""
    resumed.train()
    assert resumed.setup.data.batches.at == 8  # nothing was read twice
    assert weights(resumed) == weights(whole)
    assert resumed.setup.schedule.calls == whole.setup.schedule.calls == 8


def test_a_rollback_reads_a_stream_on(tmp_path: Path) -> None:
    class Once(Callback):
        done = False

        def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
            if view.step == 5 and not self.done:
                self.done = view.control.rollback = True

    trainer = with_stream(tmp_path / "run", Once(), warn=lambda message: None)
    trainer.train()
    # Steps 5 to 8 take the batches behind number 6: after the rollback to step 4, two are passed over.
    assert (trainer.state.data_offset, trainer.setup.data.batches.at) == (2, 10)


def test_another_random_key_is_told(tmp_path: Path) -> None:
    path = make(None).save_checkpoint(tmp_path / "x")
    other, told = make(None), list[str]()
    other.warn = told.append
    other.load_checkpoint(path)
    assert told == []
    other.setup.key = Key.from_seed(5)
    other.load_checkpoint(path)
    assert len(told) == 1
    assert "was made with another random key: from here on the dropout masks" in told[0]


class Epochs:
    """Five batches an epoch, in an order that is a function of the epoch; says where in the epoch it is."""

    def __init__(self) -> None:
        self.epoch, self.at, self.read = 0, 0, 0

    def __len__(self) -> int:
        return 5

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.at = epoch, 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < 5:
            self.at += 1
            self.read += 1
            tokens = np.random.default_rng([self.epoch, self.at]).integers(0, 11, (4, 9)).astype(np.int32)
            yield Batch(tokens[:, :-1], tokens[:, 1:])

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: Any) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_epochs_with_a_position_go_on_where_they_were(tmp_path: Path, stop: int) -> None:
    whole = with_stream(tmp_path / "whole", data=Epochs())
    whole.train()
    with_stream(tmp_path / "parts", Asking(stop=stop), data=Epochs()).train()
    resumed = with_stream(tmp_path / "parts", data=Epochs())
    resumed.resume()
    resumed.state.stopped = ""
    resumed.train()
    assert resumed.setup.data.batches.read == 8 - stop
    assert weights(resumed) == weights(whole)


# The best.


def test_an_evaluation_among_the_best_is_followed_by_a_checkpoint(tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0, 4.0])

    class Fake(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            run.evaluator.run = lambda batches=None: {"val_loss": next(losses), "val_tokens": 1.0}

    settings = {"validation_frequency": 2, "save_every": 0, "keep_checkpoints": 1, "keep_best_checkpoints": 2}
    trainer = make(tmp_path / "run", Fake(), max_steps=6, **settings)
    with pytest.raises(StopIteration):  # the final evaluation comes after the last checkpoint
        losses = iter([3.0, 1.0, 2.0])
        trainer.train()
    names = [path.name for path in trainer.checkpoints.checkpoints()]
    assert names == ["step-00000004", "step-00000006"]
    assert trainer.checkpoints.best().name == "step-00000004"
    assert read_checkpoint(trainer.checkpoints.best()).metrics["val_loss"] == 1.0


def test_the_best_need_a_figure(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="best_metric='val_accuracy' is no metric of the evaluations; there are val_loss"
    ):
        make(tmp_path / "run", keep_best_checkpoints=1, best_metric="val_accuracy").train()
    with pytest.raises(ConfigError, match="keep_best_checkpoints needs val_data"):
        Trainer(
            model=make(None).model, train_data=Stream(), config=TrainingConfig(max_steps=1, keep_best_checkpoints=1)
        )


# All or nothing.


class Picky(Callback):
    """Refuses a state that another callback, before it, has taken up."""

    def state_dict(self) -> dict[str, Any]:
        return {"mood": "good"}

    def load_state_dict(self, state: Any) -> None:
        if state.get("mood") != "good":
            raise ValueError("not in the mood")


class InPlace(Counting):
    """Takes a state up in the very array that its own state refers to, as averaged weights do."""

    name = "Counting"

    def load_state_dict(self, state: Any) -> None:
        self.steps = state["steps"]
        self.sums[...] = state["sums"]


def spoilt(trainer: Trainer, folder: Path, /, **changes: Any) -> Path:
    """A checkpoint of the trainer with some of its state changed."""
    checkpoint = read_checkpoint(trainer.save_checkpoint(folder / "whole"))
    state = {**checkpoint.state, **{name: value for name, value in changes.items() if name != "optimizer"}}
    optimizer = {**checkpoint.optimizer, **changes.get("optimizer", {})}
    return CheckpointStore(folder).save_as("spoilt", Contents(checkpoint.step, checkpoint.model, optimizer, state))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"callbacks": {"Counting": {"steps": 9, "sums": np.ones(2)}, "Picky": {}}}, "its callbacks.*not in the mood"),
        ({"callbacks": []}, "its callbacks"),
        ({"callbacks": {"Counting": 3}}, "its callbacks"),
        ({"scheduler": {"calls": "many"}}, "its scheduler"),
        ({"data": {"epoch": 0, "position": 3, "batches": None}}, "its data"),
        ({"trainer": {"step": "three"}}, "its trainer.*step is 'three'"),
        ({"trainer": {"step": -3}}, "its trainer.*step is -3"),
        ({"trainer": {"tokens": True}}, "its trainer.*tokens is True"),
        ({"metrics": {"loss": 3}}, "its metrics"),
        ({"optimizer": {"step": "x"}}, "its optimizer"),
        ({"optimizer": {"more": 1}}, "only one of the two has more"),
    ],
)
def test_what_cannot_be_taken_up_changes_nothing(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    giver = with_stream(tmp_path / "giver", Counting(), Picky())
    giver.train()
    path = spoilt(giver, tmp_path, **changes)
    counting = InPlace()
    trainer = with_stream(tmp_path / "run", counting, Picky())
    trainer.train_step(next(Stream()))
    next(trainer.setup.data.batches)
    before = weights(trainer), trainer.state.to_dict(), trainer.history.to_dict(), trainer.setup.schedule.calls
    with pytest.raises(CheckpointError, match=words):
        trainer.load_checkpoint(path)
    assert (
        weights(trainer),
        trainer.state.to_dict(),
        trainer.history.to_dict(),
        trainer.setup.schedule.calls,
    ) == before
    assert (counting.steps, counting.sums.tolist(), trainer.setup.data.batches.at) == (0, [0, 0], 1)
    trainer.train()  # it is as if nothing had happened, and the run folder is its own
    trainer.load_checkpoint(tmp_path / "whole")
    assert counting.steps == 8


def test_records_of_another_run_survive_a_checkpoint_that_cannot_be_taken_up(tmp_path: Path) -> None:
    giver = with_stream(tmp_path / "giver", Picky())
    giver.train()
    path = spoilt(giver, tmp_path, callbacks={"JsonlLogger": {"offset": 3}, "Picky": {}})
    records = tmp_path / "metrics.jsonl"
    records.write_text('{"step": 1}\n')
    trainer = with_stream(tmp_path / "run", JsonlLogger(records), Picky())
    with pytest.raises(CheckpointError, match="not in the mood"):
        trainer.load_checkpoint(path)
    with pytest.raises(CheckpointError, match="holds the records of another run"):
        trainer.train()
    assert records.read_text() == '{"step": 1}\n'


def test_a_checkpoint_made_after_the_end_knows_the_records(tmp_path: Path) -> None:
    trainer = with_stream(tmp_path / "run")
    trainer.train()
    records = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    path = trainer.save_checkpoint(tmp_path / "mine")
    again = with_stream(tmp_path / "run")
    again.load_checkpoint(path)
    again.train()
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == records


# Other versions.


def as_version_1(path: Path, offset: int) -> None:
    """Rewrite a checkpoint as the first version of the format had it, before there were callbacks."""
    checkpoint = read_checkpoint(path)
    for file in path.iterdir():
        file.unlink()
    save_file(checkpoint.model, path / "model.safetensors")
    save_file(checkpoint.optimizer["moments"], path / "optimizer.safetensors")
    numbers = {name: value for name, value in checkpoint.optimizer.items() if name != "moments"}
    state = {"trainer": checkpoint.state["trainer"], "metrics_offset": offset, "versions": checkpoint.state["versions"]}
    description = {"step": checkpoint.step, "optimizer": numbers, "state": state}
    (path / "state.json").write_text(json.dumps(description))
    files = {
        file.name: {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(path.iterdir())
    }
    manifest = {"format": "minitrain checkpoint", "version": 1, "step": checkpoint.step, "files": files}
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def broken_off(folder: Path) -> Any:
    """A run that fails after its checkpoint of step 4."""

    class Failing(Callback):
        def on_step_begin(self, view: Any) -> None:
            if view.step == 6:
                raise RuntimeError

    run = start_run(small_config(folder))
    run.trainer.callbacks.add(Failing())
    with pytest.raises(RuntimeError):
        run.train()
    return run


def test_a_run_of_the_first_version_goes_on(tmp_path: Path, no_pictures: None) -> None:
    whole = start_run(small_config(tmp_path / "whole"))
    whole.train()
    run = broken_off(tmp_path / "old")
    checkpoint = run.run_dir / "checkpoints" / "step-00000004"
    offset = read_checkpoint(checkpoint).state["callbacks"]["JsonlLogger"]["offset"]
    as_version_1(checkpoint, offset)
    resumed = resume_run(run.run_dir)
    assert resumed.trainer.state.step == 4
    resumed.train()
    assert weights(resumed.trainer) == weights(whole.trainer)
    steps = [record["step"] for record in read_metrics(run.run_dir / "metrics.jsonl")]
    assert steps == [record["step"] for record in read_metrics(whole.run_dir / "metrics.jsonl")]
