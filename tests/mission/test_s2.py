"""One test for each row of the hand-written language model, through public names, from end to end in a small way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import minitrain as mt
from minitrain import losses, nn, optim
from minitrain.compat import tisslm
from minitrain.data import ArrayDataset, Dataset
from minitrain.errors import CheckpointError, ConfigError, NonFiniteError
from minitrain.records import read_metrics
from minitrain.training import (
    ActivationStatistics,
    EarlyStopping,
    Histograms,
    NaNGuard,
    TrainingConfig,
    WeightStatistics,
    accuracy,
)
from tests.helpers.small_runs import DOCUMENTED_DEFAULTS
from tests.mission.mission_parts import TEXT, TOKENIZER, gpt, loader, make


@pytest.fixture
def text_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present folder has a ``train.txt``."""
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_text(TEXT)


def test_s2_1_trainer_train_step_validate_save_load_backward(tmp_path: Path) -> None:
    trainer = make(train_data=None, dataset=loader())
    batch = loader().batch(0)
    first = trainer.train_step(batch)
    assert trainer.train_step(batch) < first
    measured = trainer.validate()
    saved = trainer.save_checkpoint(tmp_path / "mine")
    trainer.train_step(batch)
    trainer.load_checkpoint(saved)
    assert trainer.state.step == 2
    assert trainer.validate() == measured
    logits, cache = trainer.model.forward(batch.inputs)
    trainer.model.zero_grad()
    trainer.backward(np.ones_like(logits), cache)
    assert all(np.abs(parameter.grad).sum() > 0 for parameter in trainer.model.parameters())


def test_s2_1_basic_training_as_the_document_writes_it(text_here: None) -> None:
    """Arguments by position, a model without a trainer's help, a loss apart from the model."""
    model = gpt()
    optimizer = tisslm.Adam(model, 1e-2)
    scheduler = tisslm.CosineScheduler(optimizer, 10000, 1000)
    loss_fn = tisslm.CrossEntropyLoss()
    dataset = tisslm.Dataset("train.txt", TOKENIZER, block_size=8)
    train_config = tisslm.TrainingConfig()
    train_config.epochs = 2
    train_config.batch_size = 16
    train_config.max_grad_norm = 1.0
    train_config.save_every = 4
    trainer = tisslm.Trainer(model, optimizer, loss_fn, scheduler, dataset, train_config, progress=False)
    before = trainer.validate(dataset)
    result = trainer.train()
    assert result.step == trainer.total_steps == 2 * dataset.loader(16).steps_per_epoch
    assert Path("checkpoints/checkpoints/step-00000004").is_dir(), "checkpoint_dir is the document's"
    after = trainer.validate(dataset)
    assert isinstance(after, float)
    assert after < before
    assert optimizer.get_lr() == scheduler(result.step - 1), "the rate of the last update"

    config = tisslm.TrainingConfig(batch_size=16, epochs=2, checkpoint_dir="again")
    config.resume_from = "checkpoints/checkpoints/step-00000004"
    resumed = gpt()
    optimizer = tisslm.Adam(resumed, 1e-2)
    scheduler = tisslm.CosineScheduler(optimizer, 10000, 1000)
    told: list[str] = []
    trainer = tisslm.Trainer(resumed, optimizer, loss_fn, scheduler, dataset, config, progress=False, warn=told.append)
    trainer.train()
    for path, weights in model.state_dict().items():
        np.testing.assert_array_equal(weights, resumed.state_dict()[path])


def test_s2_1_custom_training_loop_as_the_document_writes_it(text_here: None) -> None:
    model = gpt()
    optimizer = tisslm.Adam(model, 1e-2)
    scheduler = tisslm.CosineScheduler(optimizer, 40, 4)
    loss_fn = tisslm.CrossEntropyLoss(reduction="mean")
    dataset = tisslm.Dataset("train.txt", TOKENIZER, 16, block_size=8)
    trainer = tisslm.Trainer(model, optimizer, loss_fn, scheduler, dataset, progress=False)
    step, seen, rates = 0, [], []
    for epoch in range(4):
        for x_batch, y_batch in dataset:
            logits, cache = model.forward(x_batch)
            loss, loss_cache = loss_fn.forward(logits, y_batch)
            d_logits = loss_fn.backward(1.0, loss_cache)
            trainer.backward(d_logits, cache)
            norm = trainer.compute_grad_norm()
            trainer.clip_gradients(norm / 2)
            assert trainer.compute_grad_norm() == pytest.approx(norm / 2, rel=1e-4)
            optimizer.step()
            lr = scheduler.step(step)
            assert lr == optimizer.get_lr()
            optimizer.zero_grad()
            seen.append(float(loss))
            rates.append(lr)
            if step % 10 == 0:
                trainer.save_checkpoint(epoch, step)
            step += 1
    assert seen[-1] < seen[0]
    assert rates == [scheduler(step) for step in range(len(rates))]
    saved = sorted(path.name for path in Path("checkpoints/checkpoints").iterdir())
    assert saved == [f"step-{n:08d}" for n in range(0, step, 10)][-3:], "the newest three"
    trainer.load_checkpoint(Path("checkpoints/checkpoints") / saved[0])
    assert trainer.state.step == int(saved[0][5:])
    assert trainer.state.epoch == trainer.state.step // len(list(dataset))
    with pytest.raises(CheckpointError, match="exists and is intact"):
        trainer.save_checkpoint(trainer.state.epoch, trainer.state.step)


def test_s2_1_train_step_returns_the_mean_loss_of_the_batch() -> None:
    trainer = make()
    x, y = loader().batch(0)
    expected, _ = trainer.model.loss(mt.Batch(x, y))
    assert trainer.train_step(x, y) == pytest.approx(expected.mean, rel=1e-6)


def test_s2_2_helpers_for_gradients() -> None:
    model = gpt()
    loss, cache = model.loss(loader().batch(0))
    model.loss_backward(cache)
    before = {path: parameter.grad.copy() for path, parameter in model.named_parameters()}
    norm = optim.compute_grad_norm(model)
    assert norm == pytest.approx(math.sqrt(sum(float((grad**2).sum()) for grad in before.values())), rel=1e-5)
    assert optim.clip_gradients(model, 2 * norm) == norm, "a short gradient stays"
    assert optim.clip_gradients(model, norm / 4) == norm
    for path, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, before[path] / 4, rtol=1e-5)
    assert optim.compute_grad_norm(model) == pytest.approx(norm / 4, rel=1e-5)
    with pytest.raises(ConfigError, match="max_norm"):
        optim.clip_gradients(model, 0)
    optim.zero_gradients(model)
    assert optim.compute_grad_norm(model) == 0
    assert loss.count == 32


def test_s2_3_training_config_and_its_defaults(tmp_path: Path) -> None:
    config = TrainingConfig()
    expected = DOCUMENTED_DEFAULTS
    assert {name: getattr(config, name) for name in expected} == expected
    document = tisslm.TrainingConfig()
    assert {name: getattr(document, name) for name in expected} == expected
    assert document.checkpoint_dir == "checkpoints"
    document.epochs, document.checkpoint_dir, document.resume_from = 20, "elsewhere", ""
    assert (document.epochs, document.checkpoint_dir) == (20, "elsewhere")
    with pytest.raises(ConfigError, match="epochs"):
        tisslm.TrainingConfig(epoch=3)
    with pytest.raises(ConfigError, match="epochs"):
        document.epochs = 0
    assert document.epochs == 20
    make(run_dir=tmp_path / "a", config={"log_gradients": True}).train()
    assert "grad_norm.tok_emb.weight" in read_metrics(tmp_path / "a/metrics.jsonl")[0]
    told: list[str] = []
    resumed = make(
        config={
            "resume_from": str(tmp_path / "a/checkpoints/step-00000003"),
            "checkpoint_dir": str(tmp_path / "b"),
        },
        warn=told.append,
    )
    assert resumed.state.step == 3
    assert resumed.train().step == 6
    assert (tmp_path / "b" / "checkpoints" / "step-00000006").is_dir()
    assert len(told) == 1, "the records of the first three steps are in the other folder"
    assert "lacks records from before step 3" in told[0]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_s2_4_optimizers(name: str) -> None:
    model = gpt()
    optimizer = getattr(tisslm, name)(model, 0.02)
    assert optimizer.get_lr() == 0.02
    losses_seen = []
    for _ in range(4):
        optimizer.zero_grad()
        loss, cache = model.loss(loader().batch(0))
        model.loss_backward(cache)
        optimizer.step(1 / loss.count)
        losses_seen.append(loss.mean)
    assert losses_seen[-1] < losses_seen[0]
    optimizer.set_lr(0.5)
    assert optimizer.get_lr() == 0.5


def test_s2_4_schedulers() -> None:
    optimizer = optim.SGD(gpt(), lr=1.0)
    schedulers = [
        optim.ConstantScheduler(optimizer),
        optim.StepScheduler(optimizer, step_size=10, gamma=0.5),
        optim.ExponentialScheduler(optimizer, gamma=0.9),
        optim.CosineScheduler(optimizer, total_steps=20, warmup_steps=5),
        optim.WarmupDecayScheduler(optimizer, total_steps=20, warmup_steps=5),
    ]
    rates = []
    for scheduler in schedulers:
        assert scheduler.step(12) == scheduler.get_lr() == optimizer.get_lr()
        rates.append(scheduler.get_lr())
    assert rates[:3] == [1.0, 0.5, pytest.approx(0.9**12)]
    assert all(0 < rate < 1 for rate in rates[3:])


def test_s2_5_losses_forward_and_backward() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    for loss_fn in (losses.CrossEntropyLoss(), losses.LabelSmoothing(0.1), losses.FocalLoss()):
        loss, cache = loss_fn.forward(logits, targets)
        gradient = loss_fn.backward(1.0, cache)
        gradient = gradient[0] if isinstance(gradient, tuple) else gradient
        assert gradient.shape == logits.shape
        assert loss_fn.forward(logits - 0.1 * gradient, targets)[0].total < loss.total
    loss, cache = losses.InfoNCELoss().forward(logits, logits + 0.1)
    assert loss.count > 0
    assert losses.InfoNCELoss().backward(1.0, cache)[0].shape == logits.shape


def test_s2_6_a_data_set_from_a_file_and_a_loop_by_hand(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    dataset = Dataset(tmp_path / "text.txt", TOKENIZER, block_size=8)
    trainer = make(train_data=None, dataset=dataset, run_dir=tmp_path / "run", config={"batch_size": 4})
    trainer.train()
    again = make(train_data=None, dataset=dataset, config={"batch_size": 4})
    again.load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000003")
    again.train()
    model = gpt()
    optimizer = mt.AdamW(model, lr=1e-4)
    for step in range(6):
        optimizer.zero_grad()
        loss, cache = model.loss(dataset.loader(4).batch(step))
        model.loss_backward(cache)
        optimizer.step(mt.clip_by_global_norm(model, 1.0, count=loss.count).scale)
    for path, weights in model.state_dict().items():
        np.testing.assert_array_equal(weights, trainer.model.state_dict()[path])
        np.testing.assert_array_equal(weights, again.model.state_dict()[path])


def test_s2_7_accumulation_checkpointing_early_stopping_and_evaluation_metrics(tmp_path: Path) -> None:
    whole, parts = make(), make(config={"gradient_accumulation_steps": 3, "activation_checkpointing": True})
    for one in (whole, parts):
        one.train()
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, atol=1e-5)
    stopped = make(callbacks=[EarlyStopping(patience=1, min_delta=100.0)], config={"max_steps": 60}).train()
    assert stopped.step < 60
    assert stopped.stopped.startswith("val_loss is "), "also without a run folder"
    points = ArrayDataset(inputs=np.eye(4, dtype=np.float32), targets=np.arange(4))
    classifier = nn.Linear(4, 4, np.random.default_rng(0))
    measured = make(
        classifier,
        train_data=points,
        val_data=points,
        loss_fn=losses.CrossEntropyLoss(),
        optimizer=mt.AdamW(classifier, lr=0.1),
        metrics={"accuracy": accuracy},
        config={"batch_size": 4, "max_steps": 30},
    ).train()
    assert measured.history.get_latest("val_accuracy") == 1.0


def test_s2_8_metrics_and_debugging(tmp_path: Path) -> None:
    callbacks = [ActivationStatistics(), WeightStatistics(), Histograms(every=2)]
    make(run_dir=tmp_path / "run", callbacks=callbacks).train()
    record = read_metrics(tmp_path / "run" / "metrics.jsonl")[1]
    assert {"loss", "grad_norm", "lr", "tokens_per_second"} <= record.keys()
    assert "activation_std.model.blocks.0.norm1.x" in record
    assert "weight_norm.blocks.0.attention.qkv.weight" in record
    assert mt.check_gradients(nn.LayerNorm(4), np.random.default_rng(0).standard_normal((3, 4))).worst < 1e-5
    broken = make(callbacks=[NaNGuard()])
    broken.model.blocks[0].attention.qkv.weight.data[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"step 1: .*blocks\.0\.attention\.qkv\.weight"):
        broken.train()
