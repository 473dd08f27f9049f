"""Private training as a whole: exact resume, the budget in its records, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.data import ArrayDataset, PoissonLoader, SeparateWindows
from minitrain.errors import CheckpointError, ConfigError
from minitrain.models import GPT, MLP, GPTConfig, MLPConfig
from minitrain.optim import AdamW
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.runs import recipe, resume_run, start_run
from minitrain.runs.load import load_run
from minitrain.training import DPSGD, NaNGuard, SpikeGuard, Trainer, TrainingConfig, create_privacy
from tests.helpers.interrupted_runs import DyingAt

pytest.importorskip("dp_accounting")
STEPS = 9


def make(folder: Path | None, *callbacks: Any, accumulation: int = 1, seed: int | None = 7, **config: Any) -> Trainer:
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1)
    settings: dict[str, Any] = {"max_steps": STEPS, "save_every": 4, "log_every": 2, "batch_size": 4} | config
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        train_data=SeparateWindows(np.random.default_rng(0).integers(0, 11, 300), 8),
        config=TrainingConfig(gradient_accumulation_steps=accumulation, **settings),
        callbacks=callbacks,
        run_dir=folder,
        progress=False,
        privacy=DPSGD(0.5, 0.8, seed=seed),
        warn=lambda message: None,
    )


def end(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    newest = read_checkpoint(max((folder / "checkpoints").iterdir()))
    records = [{k: v for k, v in one.items() if k not in TIMING} for one in read_metrics(folder / "metrics.jsonl")]
    moments = newest.optimizer["moments"]
    arrays = {**newest.model, **{f"moments.{k}": v for k, v in moments.items()}}
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}, records


@pytest.mark.parametrize("died", [1, 5, 8])
def test_an_interrupted_run_with_a_secret_that_nobody_gave_ends_with_the_same_bytes(tmp_path, died):
    straight, broken = make(tmp_path / "straight", seed=None), make(tmp_path / "broken", seed=None, save_every=1)
    broken.run.privacy.load_state_dict(straight.run.privacy.state_dict())  # as if the same had been drawn
    straight.train()
    broken.callbacks.add(DyingAt(died + 1))
    with pytest.raises(RuntimeError, match="the end"):
        broken.train()
    again = make(tmp_path / "broken", seed=None, save_every=1)
    assert again.resume() == died
    again.train()
    assert end(tmp_path / "broken") == end(tmp_path / "straight")


def test_any_accumulation_ends_with_the_same_bytes(tmp_path):
    for accumulation in (1, 2, 4):
        make(tmp_path / str(accumulation), accumulation=accumulation).train()
    assert end(tmp_path / "1") == end(tmp_path / "2") == end(tmp_path / "4")


def test_two_secrets_make_two_trainings(tmp_path):
    make(tmp_path / "1", seed=None).train()
    make(tmp_path / "2", seed=None).train()
    assert end(tmp_path / "1")[0] != end(tmp_path / "2")[0]


def test_records_and_result_state_what_was_spent(tmp_path):
    trainer = make(tmp_path / "run")
    result = trainer.train()
    records = [one for one in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in one]
    spent = [one["epsilon"] for one in records]
    assert spent == sorted(spent) and spent[-1] == trainer.run.privacy.epsilon(STEPS, quick=True)
    assert f"epsilon {trainer.run.privacy.epsilon(STEPS):.3g} at delta 1e-05" in result.describe()
    assert trainer.run.privacy.epsilon(STEPS) <= spent[-1]


def test_a_run_names_it_in_its_settings_and_goes_on_exactly(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)

    def config(name: str, steps: int) -> Any:
        return recipe(
            "tiny",
            data={"path": str(text), "block_size": 8},
            model={"n_layer": 1, "n_embd": 8, "n_head": 2},
            trainer={"max_steps": steps, "batch_size": 4, "sample_tokens": 0, "save_every": 2},
            scheduler={"name": "constant"},
            privacy={"name": "dp", "clip": 0.5, "noise_multiplier": 1.0, "delta": 1e-4, "seed": 3},
            run_dir=str(tmp_path / name),
        )

    result = start_run(config("straight", 4)).train()
    assert "differentially private: epsilon" in result.describe()
    assert "differentially private: epsilon" in result.report.read_text()
    start_run(config("longer", 2)).train()
    resume_run(tmp_path / "longer", {"trainer.max_steps": 4}).train()
    assert end(tmp_path / "longer")[0] == end(tmp_path / "straight")[0]
    assert load_run(tmp_path / "longer").step == 4


@pytest.mark.parametrize("guard", [NaNGuard, SpikeGuard])
def test_callbacks_that_choose_steps_by_their_samples_are_refused(guard):
    with pytest.raises(ConfigError, match=f"private training does not go with {guard.__name__}"):
        make(None, guard())


def test_what_the_accounting_does_not_cover_is_refused():
    model = MLP(MLPConfig((2, 2)))
    batches = [(np.ones((2, 2), np.float32), np.zeros(2, np.int32))]
    with pytest.raises(ConfigError, match="draws its batches itself, and the training data is a list"):
        Trainer(model=model, train_data=batches, privacy=DPSGD())
    with pytest.raises(ConfigError, match="float16"):
        make(None, precision="float16")
    with pytest.raises(ConfigError, match=r"call train\(\)"):
        make(None).train_step(np.zeros((1, 8), np.int32), np.zeros((1, 8), np.int32))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("sgd", "use one of dp, or null for none"),
        ({"name": "dp", "clip": 0.0}, "clip=0.0 must be above 0"),
        ({"name": "dp", "noise_multiplier": -1.0}, "0 or more"),
        ({"name": "dp", "delta": 1.0}, "below 1"),
        ({"name": "dp", "klip": 1.0}, "did you mean clip"),
        ({"name": "dp", "seed": -1}, "seed"),
    ],
)
def test_wrong_settings_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        create_privacy(config)


def test_damaged_states_and_batches_above_the_data_are_refused():
    with pytest.raises(CheckpointError, match="privacy"):
        DPSGD().load_state_dict({"secret": -1})
    with pytest.raises(ConfigError, match="at most the number of samples"):
        make(None, batch_size=1000)


def test_samples_join_with_their_probability_and_batches_are_functions_of_the_step():
    data = ArrayDataset(inputs=np.arange(400, dtype=np.float32)[:, None], targets=np.zeros(400, np.int32))
    loader = DPSGD(seed=1).load(data, 20)
    members = [loader.members(step) for step in range(500)]
    joined = np.bincount(np.concatenate(members), minlength=400)
    assert isinstance(loader, PoissonLoader) and loader.rate == 0.05 and loader.steps_per_epoch == 20
    assert abs(joined.mean() - 25) < 4 * np.sqrt(500 * 0.05 * 0.95 / 400)
    assert 0.8 < joined.var() / (500 * 0.05 * 0.95) < 1.2  # independent of each other
    sizes = np.array([len(one) for one in members])
    assert 0.8 < sizes.var() / (400 * 0.05 * 0.95) < 1.25
    for step in (499, 0, 17):
        assert (loader.members(step) == members[step]).all()
        parts = loader.micro_batches(step, 3)
        assert [place for place, _ in parts] == list(range(len(members[step])))
        assert [int(part.inputs[0, 0]) for _, part in parts] == members[step].tolist()
