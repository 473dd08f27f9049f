"""One test for each row of the multimodal trainer, through public names, from end to end in a small way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain import plotting, training
from minitrain.compat.multimodal import CheckpointManager, MetricsCollector, MultimodalTrainer
from minitrain.errors import CheckpointError, DataError
from minitrain.models import DualEncoder, Encoder, EncoderConfig, ImageTextBatch, ViT, ViTConfig
from minitrain.records import read_metrics
from minitrain.training import Histograms
from tests.mission.mission_parts import gpt, make


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
    metrics.update({"loss": np.array([1.0]), "accuracy": np.array([[0.5]], np.float32)}, prefix="train")
    assert (metrics.get_latest("train_loss"), metrics.get_latest("train_accuracy")) == (1.0, 0.5)
    with pytest.raises(DataError, match="loss"):
        metrics.update({"loss": np.array([1.0, 2.0])})


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


def pairs_model() -> DualEncoder:
    shape: dict[str, Any] = {"n_classes": 4, "n_layer": 1, "n_head": 2, "n_embd": 8}
    return DualEncoder(
        ViT(ViTConfig(image_size=4, patch=2, channels=1, **shape)),
        Encoder(EncoderConfig(vocab_size=5, block_size=3, **shape)),
    )


def pairs() -> list[tuple[Any, Any]]:
    """Batches as plain tuples: images and texts."""
    rng = np.random.default_rng(0)
    shapes = range(3)
    return [(rng.standard_normal((4, 1, 4, 4)).astype(np.float32), rng.integers(0, 5, (4, 3))) for _ in shapes]


def multimodal(folder: Path | None, **options: Any) -> MultimodalTrainer:
    model = pairs_model()
    return MultimodalTrainer(
        model=model,
        train_dataloader=pairs(),
        val_dataloader=pairs(),
        optimizer=mt.AdamW(model, lr=1e-2),
        checkpoint_dir=folder,
        progress=False,
        **options,
    )


def test_s3_3_multimodal_trainer_exposes_its_parts(tmp_path: Path) -> None:
    trainer = multimodal(tmp_path / "checkpoints")
    trainer.train(num_epochs=2)
    assert isinstance(trainer.checkpoint_mgr, CheckpointManager)
    assert isinstance(trainer.metrics, MetricsCollector)
    assert len(trainer.metrics.get_metric("val_recall_top1")) == 2
    trainer.checkpoint_mgr.save_checkpoint(tmp_path / "mine")
    assert all(path.exists() for path in trainer.metrics.plot_history(save_dir=tmp_path / "plots"))
    assert multimodal(None).checkpoint_mgr is None


def test_s3_3_its_manager_saves_and_restores_the_whole_training(tmp_path: Path) -> None:
    trainer = multimodal(tmp_path / "run")
    trainer.train(2)
    manager = trainer.checkpoint_mgr
    assert manager is not None
    assert (manager.state["current_epoch"], manager.state["global_step"]) == (2, 6)
    path = manager.get_checkpoint_path(epoch=2, metric_value=0.5)
    assert manager.save_checkpoint(path, note="mine", scale=np.float32([1, 2])) == path
    trainer.train(3)
    best = manager.save_best_checkpoint(0.4)
    assert best is not None
    assert manager.save_best_checkpoint(0.45) is None
    assert manager.state["patience_counter"] == 1
    expected = trainer.trainer.model.state_dict()
    latest = manager.get_latest_checkpoint()
    assert latest is not None and str(latest).endswith("step-00000009")
    assert str(manager.get_best_checkpoint()) == str(best)

    told: list[str] = []
    again = multimodal(tmp_path / "other", warn=told.append)
    assert again.checkpoint_mgr is not None
    state = again.checkpoint_mgr.load_checkpoint(path)
    assert (state["current_epoch"], state["global_step"], state["note"]) == (2, 6, "mine")
    np.testing.assert_array_equal(state["scale"], [1, 2])
    assert again.trainer.state.step == 6
    again.train(3)
    assert len(told) == 1 and "lacks records from before step 6" in told[0]
    for name, weights in again.trainer.model.state_dict().items():
        np.testing.assert_array_equal(weights, expected[name])

    trainer.train(4)
    resumed = multimodal(tmp_path / "run")
    resumed.train(4)
    assert resumed.checkpoint_mgr is not None
    state = resumed.checkpoint_mgr.state
    assert (state["current_epoch"], state["best_val_metric"], state["patience_counter"]) == (4, 0.4, 1)


def test_s3_3_a_damaged_state_of_the_manager_is_refused(tmp_path: Path) -> None:
    trainer = multimodal(tmp_path / "run")
    manager, callbacks, model = trainer.checkpoint_mgr, trainer.trainer.callbacks, trainer.trainer.model
    assert manager is not None
    manager.update_state(of_a_user="yes")
    good = callbacks.state_dict()
    own = good["EpochProgress"]
    for name, value in (("current_epoch", -1), ("best_val_metric", "low"), ("patience_counter", None)):
        bad = {**own, "progress": {**own["progress"], name: value}}
        with pytest.raises(CheckpointError, match=name):
            callbacks.load_state_dict({**good, "EpochProgress": bad}, model)
    with pytest.raises(CheckpointError, match="extra"):
        callbacks.load_state_dict({**good, "EpochProgress": {**own, "extra": 3}}, model)
    manager.update_state(of_a_user="no", current_epoch=7)
    callbacks.load_state_dict(good, model)
    assert (manager.state["of_a_user"], manager.state["current_epoch"]) == ("yes", 0)


def test_s3_3_batches_are_named_or_plain_tuples() -> None:
    model = pairs_model()
    (images, texts), *_ = pairs()
    assert model.loss((images, texts))[0].total == model.loss(ImageTextBatch(images, texts))[0].total


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
