"""The thin trainers that count in epochs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.data import CharTokenizer, TokenLoader
from minitrain.errors import ConfigError, DataError
from minitrain.losses import MeanSquaredError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Linear
from minitrain.runs import TokenWindows
from minitrain.trainers import LanguageModelTrainer, TransformerTrainer, train_model

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


def blobs(seed: int = 0, batches: int = 6) -> list[Any]:
    """Three clouds of points in the plane."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, (batches, 16))
    centres = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    points = (centres[targets] + rng.standard_normal((batches, 16, 2))).astype(np.float32)
    return list(zip(points, targets, strict=True))


def classifier() -> Linear:
    return Linear(2, 3, np.random.default_rng(1))


def test_any_classifier_is_trained_in_one_call() -> None:
    history = train_model(classifier(), blobs(), blobs(1), epochs=4, learning_rate=0.1, progress=False)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(history, 4)
    assert {"train_loss", "val_loss", "val_accuracy", "learning_rate"} <= history.keys()
    assert history["train_loss"] == sorted(history["train_loss"], reverse=True)
    assert history["val_accuracy"][-1] > 0.85
    assert history["learning_rate"] == [0.1] * 4


def test_the_history_is_that_of_a_loop_by_hand() -> None:
    """The loss of an epoch is the mean over its targets, each at the weights of its time."""
    data = blobs()
    model, reference = classifier(), classifier()
    history = train_model(model, data, epochs=2, learning_rate=0.05, progress=False)
    from minitrain.losses import CrossEntropyLoss
    from minitrain.optim import AdamW, clip_by_global_norm

    loss_fn, optimizer = CrossEntropyLoss(), AdamW(reference, lr=0.05)
    expected = []
    for _ in range(2):
        total = count = 0.0
        for x, y in data:
            optimizer.zero_grad()
            logits, cache = reference.forward(x)
            loss, loss_cache = loss_fn.forward(logits, y)
            reference.backward(loss_fn.backward(1.0, loss_cache), cache)
            optimizer.step(clip_by_global_norm(reference, 1.0, count=loss.count).scale)
            total, count = total + float(loss.total), count + float(loss.count)
        expected.append(total / count)
    assert history["train_loss"] == expected
    np.testing.assert_array_equal(model.weight.data, reference.weight.data)


def test_early_stopping_counts_epochs() -> None:
    away = [(-x, y) for x, y in blobs(1)]  # gets worse while training gets better
    history = train_model(
        classifier(), blobs(), away, epochs=50, learning_rate=0.1, early_stopping_patience=3, progress=False
    )
    best = int(np.argmin(history["val_loss"]))
    assert len(history["val_loss"]) == len(history["train_loss"]) == best + 1 + 3
    with pytest.raises(ConfigError, match="needs a val_dataloader"):
        train_model(classifier(), blobs(), early_stopping_patience=3)


def test_any_loss() -> None:
    data = [(x, x[:, :1] * 2) for x, _ in blobs()]
    model = Linear(2, 1, np.random.default_rng(1))
    history = train_model(model, data, data, epochs=30, learning_rate=0.1, loss_fn=MeanSquaredError(), progress=False)
    assert history["val_loss"][-1] < 0.01
    assert "val_accuracy" not in history


def language_trainer(**options: Any) -> LanguageModelTrainer:
    tokenizer = CharTokenizer.from_text(TEXT)
    tokens = tokenizer.encode(TEXT)
    config = GPTConfig(vocab_size=tokenizer.vocab_size, block_size=16, n_layer=1, n_head=2, n_embd=16)
    return LanguageModelTrainer(
        model=GPT(config, seed=1),
        train_dataloader=TokenLoader(tokens[:450], 16, 4, seed=0),
        val_dataloader=TokenWindows(tokens[450:], 16, 4),
        learning_rate=1e-2,
        tokenizer=tokenizer,
        progress=False,
        **options,
    )


def test_a_language_model(tmp_path: Path) -> None:
    trainer = language_trainer()
    history = trainer.train(num_epochs=5, save_dir=tmp_path / "models", model_name="fox")
    assert len(history["val_perplexity"]) == 5
    assert history["val_perplexity"] == [math.exp(loss) for loss in history["val_loss"]]
    assert history["train_perplexity"][-1] < 0.7 * history["train_perplexity"][0]
    assert trainer.evaluate() == pytest.approx(
        {"loss": history["val_loss"][-1], "perplexity": history["val_perplexity"][-1]}, rel=1e-6
    )
    text = trainer.generate("the ", max_length=12, temperature=0.5)
    assert text.startswith("the ")
    assert len(text) == 16
    assert text == trainer.generate("the ", max_length=12, temperature=0.5)
    folder = tmp_path / "models" / "fox"
    saved = sorted((folder / "checkpoints").iterdir())[-1]
    np.testing.assert_array_equal(
        read_checkpoint(saved).model["tok_emb.weight"], trainer.model.state_dict()["tok_emb.weight"]
    )
    for picture in (trainer.plot_training_history(tmp_path / "h.png"), trainer.plot_learning_rate(tmp_path / "r.png")):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_training_in_the_same_folder_is_taken_up(tmp_path: Path) -> None:
    whole = language_trainer()
    expected = whole.train(6, tmp_path, "whole")
    part = language_trainer()
    part.train(6, tmp_path, "part")
    checkpoints = sorted((tmp_path / "part" / "checkpoints").iterdir())
    assert len(checkpoints) == 1
    again = language_trainer()
    assert again.train(6, tmp_path, "part")["train_loss"] == expected["train_loss"]
    assert again.trainer is not None
    assert again.trainer.state.step == part.trainer.state.step  # type: ignore[union-attr]


def test_a_transformer_with_warm_up_and_smoothed_labels() -> None:
    data = [(x, y) for x, y in blobs()]
    trainer = TransformerTrainer(classifier(), data, blobs(1), lr=0.1, warmup_steps=6, pad_idx=None, progress=False)
    history = trainer.train(epochs=3)
    assert history["learning_rate"] == pytest.approx([0.1, 0.1 * math.sqrt(6 / 12), 0.1 * math.sqrt(6 / 18)])
    assert min(history["train_loss"]) > 0.3  # smoothing keeps it from 0


def test_what_is_missing_is_said() -> None:
    trainer = language_trainer()
    with pytest.raises(DataError, match="no history yet"):
        trainer.plot_training_history()
    trainer.tokenizer = None
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        trainer.generate("x")
    trainer.val_data = None
    with pytest.raises(ConfigError, match="needs batches"):
        trainer.evaluate()
