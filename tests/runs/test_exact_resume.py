"""Exact resume, with everything on that could get in its way: at each of 40 steps, to the same bytes.

Dropout, two micro-batches a step, padded batches of similar lengths, a thread that reads ahead, averaged weights that
validation uses, clipping and a warm-up. A resumed run has new objects only, and the folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend import set_threads
from minitrain.data import Batch, BucketLoader, PrefetchLoader, pad_collate
from minitrain.models import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, WarmupCosine
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.training import EMA, Callback, Interrupted, Trainer, TrainingConfig

STEPS, SAVE_EVERY = 40, 9
SETTINGS = {
    "max_steps": STEPS,
    "gradient_accumulation_steps": 2,
    "log_every": 3,
    "validation_frequency": 11,
    "save_every": SAVE_EVERY,
}


class Sentences:
    """Sentences of 2 to 9 tokens, in which a token is followed by its double more often than not."""

    def __init__(self, count: int = 30, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.lengths = rng.integers(2, 10, count)
        self.rows = []
        for length in self.lengths:
            row = [int(rng.integers(11))]
            while len(row) <= length:
                row.append(row[-1] * 2 % 11 if rng.random() < 0.7 else int(rng.integers(11)))
            self.rows.append(np.array(row, np.int32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Batch:
        return Batch(self.rows[i][:-1], self.rows[i][1:])


def bucketed() -> BucketLoader:
    sentences = Sentences()
    return BucketLoader(sentences, sentences.lengths, max_tokens=24, seed=5, buckets=3)


def make(run_dir: Path, *, config: dict[str, Any] | None = None, extra: Callback | None = None) -> Trainer:
    """A trainer of new objects, as a new process would make it."""
    model = GPT(GPTConfig(vocab_size=11, block_size=9, n_layer=1, n_head=2, n_embd=8, dropout=0.2), seed=1)
    pack(model)
    held_out = Sentences(6, seed=1)
    return Trainer(
        model=model,
        optimizer=AdamW(model, weight_decay=0.1),
        scheduler=WarmupCosine(0.02, 0.002, 4, STEPS),
        train_data=PrefetchLoader(bucketed()),
        val_data=[pad_collate([held_out[i] for i in range(len(held_out))])],
        config=TrainingConfig(**(config or SETTINGS)),
        callbacks=[EMA(0.9), *([extra] if extra else [])],
        run_dir=run_dir,
        progress=False,
    )


def plain(tree: Any) -> Any:
    """A state with its arrays as bytes and without timings, to be compared."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items() if name.removeprefix("window_") not in TIMING}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return tree.dtype.str, tree.shape, tree.tobytes()
    return tree


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that must not depend on interruptions."""
    return {
        "weights": plain(trainer.model.state_dict()),
        "optimizer": plain(trainer.optimizer.state_dict()),
        "average": plain(trainer.callbacks.callbacks["EMA"].state_dict()),
        "state": plain(trainer.state.to_dict()),
        "history": plain({name: trainer.history.get_metric(name) for name in sorted(trainer.history.names())}),
        "records": plain(read_metrics(Path(str(trainer.run_dir)) / "metrics.jsonl")),
    }


class At(Callback):
    """Does something in the middle of a step: after its first micro-batch of two."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.step, self.action, self.done = step, action, False

    def on_substep_end(self, view: Any, loss: Any) -> None:
        if view.step == self.step and not self.done:
            self.done = True
            self.action()


class Failure(Exception):
    """Something nobody foresaw."""


def fail() -> None:
    raise Failure


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def resumed(run_dir: Path, extra: Callback | None = None) -> Trainer:
    trainer = make(run_dir, extra=extra)
    trainer.resume()
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = make(tmp_path_factory.mktemp("uninterrupted"))
    trainer.train()
    return everything(trainer)


def test_the_run_learns_and_has_everything_on(uninterrupted: dict[str, Any]) -> None:
    losses = [record["loss"] for record in uninterrupted["records"] if "loss" in record]
    assert losses[-1] < losses[0] - 0.2
    assert uninterrupted["average"] != uninterrupted["weights"]
    loader = bucketed()
    assert len({loader.batch(step).inputs.shape for step in range(STEPS)}) > 3
    assert any(len(set(loader.batch(step).lengths)) > 1 for step in range(STEPS)), "some rows are padded"
    assert loader.steps_per_epoch < STEPS / 2, "the run sees more than two epochs"


@pytest.mark.parametrize("step", range(STEPS))
def test_a_failure_and_a_signal_at_any_step(tmp_path: Path, uninterrupted: dict[str, Any], step: int) -> None:
    """It fails in the middle of the step and goes back to a checkpoint; then SIGTERM stops it in the same step."""
    with pytest.raises(Failure):
        make(tmp_path, extra=At(step, fail)).train()
    second = resumed(tmp_path, At(step, terminate))
    assert second.state.step == step // SAVE_EVERY * SAVE_EVERY
    with pytest.raises(Interrupted, match=f"stopped by SIGTERM after step {step + 1} of {STEPS}"):
        second.train()
    third = resumed(tmp_path)
    assert third.state.step == step + 1
    third.train()
    found = everything(third)
    assert {name for name in found if found[name] != uninterrupted[name]} == set()


def test_every_step_in_a_session_of_its_own(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    trainer = make(tmp_path, extra=At(0, terminate))
    for step in range(STEPS):
        with pytest.raises(Interrupted):
            trainer.train()
        trainer = resumed(tmp_path, At(step + 1, terminate))
    trainer.train()
    assert everything(trainer) == uninterrupted


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda trainer: setattr(trainer.setup, "key", trainer.setup.key.fold("other")),
            {"weights", "optimizer", "average"},
        ),
        (lambda trainer: setattr(trainer.setup.data.loader, "_key", trainer.setup.key), {"weights", "records"}),
        (lambda trainer: trainer.callbacks.load_state_dict({}), {"average"}),
        (lambda trainer: setattr(trainer.optimizer, "steps", 0), {"weights", "optimizer"}),
        (lambda trainer: setattr(trainer.setup, "accumulation", 1), {"weights"}),
    ],
    ids=["dropout", "order of data", "average", "moments", "accumulation"],
)
def test_the_comparison_sees_each_part(
    tmp_path: Path, uninterrupted: dict[str, Any], change: Callable[[Trainer], object], parts: set[str]
) -> None:
    with pytest.raises(Interrupted):
        make(tmp_path, extra=At(35, terminate)).train()
    trainer = resumed(tmp_path)
    change(trainer)
    trainer.train()
    found = everything(trainer)
    assert parts <= {name for name in found if found[name] != uninterrupted[name]}


ANOTHER_THREAD_COUNT = 1e-5
"""Largest difference of a weight, next to the largest weight, of a run that goes on with another number of threads."""


def test_resumed_with_another_number_of_threads(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """Sums are then split in another way and round in another way: no longer the same bytes, but nearly so."""
    with pytest.raises(Interrupted):
        make(tmp_path, extra=At(19, terminate)).train()
    set_threads(3)
    try:
        trainer = resumed(tmp_path)
        trainer.train()
    finally:
        set_threads(None)
    assert len(trainer.history.get_metric("val_loss")) == len(uninterrupted["history"]["val_loss"])
    for name, array in trainer.model.state_dict().items():
        dtype, shape, content = uninterrupted["weights"][name]
        expected = np.frombuffer(content, dtype).reshape(shape)
        np.testing.assert_allclose(array, expected, rtol=0, atol=ANOTHER_THREAD_COUNT * np.abs(expected).max())


def test_the_same_trainer_goes_on_after_a_signal(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    trainer = make(tmp_path, extra=At(7, terminate))
    with pytest.raises(Interrupted):
        trainer.train()
    trainer.train()
    assert everything(trainer) == uninterrupted
