"""One test for each row of what the training system has to do, through public names, from end to end in a small way.

S1 to S4 are the documents that asked for it. The details are tested elsewhere; here each row is seen to be there.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain import losses, nn, optim, plotting, training
from minitrain.data import ArrayDataset, CharTokenizer, Dataset
from minitrain.errors import CheckpointError, ConfigError, NonFiniteError
from minitrain.models import DualEncoder, Encoder, EncoderConfig, ImageTextBatch, ViT, ViTConfig
from minitrain.records import MetricsCollector, read_metrics
from minitrain.runs import TokenWindows
from minitrain.trainers import MultimodalTrainer
from minitrain.training import (
    EMA,
    ActivationStatistics,
    Callback,
    CallbackList,
    EarlyStopping,
    Evaluator,
    Histograms,
    NaNGuard,
    Trainer,
    TrainingConfig,
    TrainingLoop,
    WeightStatistics,
    accuracy,
)

TEXT = "the quick brown fox jumps over the lazy dog\nand runs away\n" * 12
TOKENIZER = CharTokenizer.from_text(TEXT)
TOKENS = TOKENIZER.encode(TEXT)


def gpt(**changes: Any) -> mt.GPT:
    shape = {"vocab_size": TOKENIZER.vocab_size, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, **changes}
    return mt.GPT(mt.GPTConfig(**shape), seed=1)


def loader() -> mt.TokenLoader:
    return mt.TokenLoader(TOKENS[:600], block_size=8, batch_size=4, seed=0)


def make(model: Any = None, *, config: dict[str, Any] | None = None, **options: Any) -> Trainer:
    """A trainer of a small GPT, for six updates."""
    settings = {"max_steps": 6, "log_every": 2, "validation_frequency": 3, "save_every": 3, **(config or {})}
    defaults = {"train_data": loader(), "val_data": TokenWindows(TOKENS[600:], 8, 4), "tokenizer": TOKENIZER}
    return Trainer(
        model=model or gpt(), config=TrainingConfig(**settings), **{"progress": False, **defaults, **options}
    )


# S1, the modular package


def test_s1_1_parts_with_one_responsibility_each() -> None:
    trainer = make()
    loop = TrainingLoop(trainer.setup, trainer.state, trainer.view, CallbackList())  # the loop alone
    assert [update.step for update in loop.steps(2)] == [1, 2]
    assert trainer.state.step == 2
    measured = Evaluator(trainer.model, TokenWindows(TOKENS[600:], 8, 4)).run()  # the evaluation alone
    assert 0 < measured["val_loss"] < 2 * math.log(TOKENIZER.vocab_size)
    text = mt.generate(trainer.model, TOKENS[None, :3], 5, rng=mt.Key.from_seed(0))  # generation alone
    assert text.shape == (1, 8)


def test_s1_2_the_trainer_takes_the_documents_names(tmp_path: Path) -> None:
    model = gpt()
    optimizer = mt.AdamW(model)
    told: list[str] = []
    trainer = Trainer(
        model=model,
        train_dataloader=loader(),
        val_dataloader=TokenWindows(TOKENS[600:], 8, 4),
        optimizer=optimizer,
        scheduler=mt.WarmupCosine(1e-2, 1e-3, 1, 4),
        config=TrainingConfig(max_steps=4),
        checkpoint_dir=tmp_path / "run",
        use_amp=True,
        tokenizer=TOKENIZER,
        progress=False,
        warn=told.append,
    )
    assert trainer.config.use_mixed_precision
    assert told == ["use_mixed_precision has no effect on a CPU, which computes in float32"]
    assert trainer.train().step == 4
    assert len(trainer.generate_text("the ", max_new_tokens=7, temperature=0.5)) == 7
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()


def test_s1_3_save_resume_and_a_plain_fallback_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(run_dir=tmp_path / "run", progress=True).train()
    lines = capsys.readouterr().out.splitlines()  # pytest's output is no terminal
    assert lines[0].startswith("step 1/6  loss ")
    assert "tok/s" in lines[0]
    assert lines[-1].startswith("step 6/6") and lines[-1].endswith("left")
    assert not any("\x1b" in line for line in lines)
    resumed = make(run_dir=tmp_path / "run")
    assert resumed.resume() == 6
    with pytest.raises(CheckpointError, match="already holds a run"):
        make(run_dir=tmp_path / "run").train()


def test_s1_3_type_hints_and_docstrings_throughout() -> None:
    public = {name: thing for name, thing in vars(training).items() if callable(thing) and not name.startswith("_")}
    assert len(public) > 50
    for name, thing in public.items():
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            assert "return" in inspect.get_annotations(thing), name


# S2, the hand-written language model


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
    expected = {
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "max_grad_norm": 1.0,
        "save_every": 1000,
        "keep_checkpoints": 3,
        "resume_from": None,
        "use_mixed_precision": False,
        "gradient_accumulation_steps": 1,
        "log_gradients": False,
        "validation_frequency": 100,
    }
    assert {name: getattr(config, name) for name in expected} == expected
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
    optimizer = getattr(optim, name)(model, lr=0.02)
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
        scheduler.step(12)
        assert scheduler.get_lr() == optimizer.get_lr()
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


# S3, the multimodal trainer


def test_s3_2_metrics_collector(tmp_path: Path) -> None:
    metrics = MetricsCollector()
    for step in range(40):
        figures = {"loss": np.float32(2.0), "accuracy": step / 40, "recalls": {"top1": 0.1, "top5": 0.5}}
        metrics.update(figures, "val", step)
    metrics.log_metrics({"loss": 1.0}, "train")
    metrics.update_alignment_metrics(3, diag_mean=0.8, sim_mean=0.1, alignment_gap=0.7, alignment_snr=2.0)
    assert metrics.get_metric("val_recalls_top5") == [0.5] * 40
    assert metrics.get_latest("alignment_gap") == 0.7
    summary = metrics.get_summary()
    assert summary["val_accuracy"]["best"] == summary["val_accuracy"]["latest"] == 39 / 40
    assert summary["val_loss"]["std"] == 0
    assert all(path.exists() for path in metrics.plot_history(tmp_path))
    again = MetricsCollector()
    again.from_dict(metrics.to_dict())
    assert again.to_dict() == metrics.to_dict()
    flat = MetricsCollector()
    for step in range(60):
        flat.update({"train_loss": 2.0 + 1e-4 * (step % 2)}, step=step)
    assert [finding.kind for finding in flat.diagnose_training_issues()] == ["plateau"]
    metrics.clear()
    assert metrics.names() == []


def test_s3_1_checkpoint_manager(tmp_path: Path) -> None:
    """State in parts, paths by epoch and figure, the best by its direction, patience, resuming, subclasses."""
    model = gpt()
    optimizer = mt.AdamW(model)

    class Noting(training.CheckpointManager):
        def save_checkpoint(self, path: Any, **extra: Any) -> Any:
            return super().save_checkpoint(path, **extra, note="mine")

    manager = Noting(model, optimizer, tmp_path / "deep" / "checkpoints", device="cpu", mode="max", metric="accuracy")
    assert (tmp_path / "deep" / "checkpoints").is_dir()
    manager.update_state(current_epoch=5, global_step=1000)
    weights = model.state_dict()["tok_emb.weight"].copy()
    assert manager.save_best_checkpoint(0.85) == manager.get_checkpoint_path(epoch=5, metric_value=0.85)
    manager.update_state(current_epoch=6)
    assert manager.save_best_checkpoint(0.80) is None  # more is better
    assert manager.state["patience_counter"] == 1
    model.tok_emb.weight.data[...] = 0
    latest = manager.get_latest_checkpoint()
    assert latest is not None
    state = manager.load_checkpoint(latest)
    assert (state["current_epoch"], state["global_step"], state["note"]) == (5, 1000, "mine")
    assert (state["best_val_metric"], state["patience_counter"]) == (0.85, 0)
    np.testing.assert_array_equal(model.state_dict()["tok_emb.weight"], weights)


def test_s3_3_multimodal_trainer_exposes_its_parts(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"n_classes": 4, "n_layer": 1, "n_head": 2, "n_embd": 8}
    model = DualEncoder(
        ViT(ViTConfig(image_size=4, patch=2, channels=1, **shape)),
        Encoder(EncoderConfig(vocab_size=5, block_size=3, **shape)),
    )
    rng = np.random.default_rng(0)
    batches = [
        ImageTextBatch(rng.standard_normal((4, 1, 4, 4)).astype(np.float32), rng.integers(0, 5, (4, 3)))
        for _ in range(3)
    ]
    multimodal = MultimodalTrainer(model, batches, batches, mt.AdamW(model), tmp_path / "run", progress=False)
    multimodal.train(2)
    assert len(multimodal.metrics.get_metric("val_recall_top1")) == 2
    assert multimodal.checkpoint_mgr.latest() is not None


def test_s3_5_gradient_statistics_schedule_plots_and_histograms(tmp_path: Path) -> None:
    make(run_dir=tmp_path / "run", callbacks=[training.GradientStatistics(), Histograms(every=2)]).train()
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "grad_norm.blocks.0.attention.qkv.weight" in records[0]
    plotting.plot_learning_rate(records, tmp_path / "run" / "learning_rate.png")
    for name in ("histograms.png", "learning_rate.png"):
        (picture,) = (tmp_path / "run").rglob(name)
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_s3_5_checkpoints_in_a_cloud_store() -> None:
    """The store is one in memory here; an S3 server on loopback has tests of its own."""
    pytest.importorskip("fsspec")
    url = "memory://bucket/run"
    make(run_dir=url).train()
    resumed = make(run_dir=url, config={"max_steps": 8})
    assert resumed.resume() == 6
    assert resumed.train().step == 8


# S4, craft


def test_s4_1_everything_can_be_imported_from_the_package() -> None:
    names = (
        "Trainer TrainingLoop TrainingConfig create_optimizer create_scheduler Callback CallbackList JsonlLogger "
        "EarlyStopping CheckpointManager Evaluator ProgressTracker MetricsCollector"
    )
    assert [name for name in names.split() if not hasattr(training, name)] == []
    optimizer = training.create_optimizer({"name": "adamw", "lr": 0.5}, gpt())
    scheduler = training.create_scheduler({"name": "warmup_cosine", "warmup_steps": 2}, optimizer, 10)
    assert scheduler(2) == 0.5


def test_s4_3_activation_checkpointing_recomputes_the_same_gradients() -> None:
    plain, recomputed = gpt(dropout=0.3), gpt(dropout=0.3)
    nn.checkpoint_activations(recomputed)
    for model in (plain, recomputed):
        _, cache = model.loss(loader().batch(0), rng=mt.Key.from_seed(4))
        model.loss_backward(cache)
    for a, b in zip(plain.parameters(), recomputed.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


class Hooks(Callback):
    """Notes when it is called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_step_begin(self, view: Any) -> None:
        self.called.append(f"step {view.step}")

    def on_epoch_end(self, view: Any) -> None:
        self.called.append(f"epoch {view.epoch}")


def test_s4_4_hooks_and_a_script_with_a_configuration(tmp_path: Path) -> None:
    from minitrain.cli.compose import compose_config
    from minitrain.runs import RunConfig, start_run

    hooks = Hooks()
    batches = [loader().batch(step) for step in range(2)]
    make(train_data=batches, callbacks=[hooks, EMA(0.5)], config={"max_steps": 4}).train()
    assert hooks.called == ["step 0", "step 1", "epoch 1", "step 2", "step 3", "epoch 2"]

    (tmp_path / "text.txt").write_text(TEXT)
    settings = [
        "recipe=tiny",
        f"data.path={tmp_path / 'text.txt'}",
        f"run_dir={tmp_path / 'run'}",
        "trainer.max_steps=6",
    ]
    config = compose_config([*settings, "model=llama", "optimizer=lion", "scheduler=constant", "data.block_size=8"])
    run = start_run(config)
    assert (type(run.trainer.model), type(run.trainer.optimizer)) == (mt.Llama, optim.Lion)
    assert RunConfig.load(run.run_dir / "config.yaml") == config
