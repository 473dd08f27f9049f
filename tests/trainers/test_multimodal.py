"""Two encoders in one space: gradients, what the measures mean, and that pairs are learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.models import DualEncoder, Encoder, EncoderConfig, ImageTextBatch, ViT, ViTConfig
from minitrain.optim import AdamW
from minitrain.random import Key, fold
from minitrain.testing import CheckSettings, check_module
from minitrain.trainers import MultimodalTrainer
from tests.helpers.model_checks import LossOf, stir


def make(dtype: Any = np.float32, dropout: float = 0.0, width: int = 8) -> DualEncoder:
    shape: dict[str, Any] = {"n_classes": 6, "n_layer": 1, "n_head": 2, "n_embd": width, "dropout": dropout}
    image = ViT(ViTConfig(image_size=4, patch=2, channels=1, **shape), seed=1, dtype=dtype)
    text = Encoder(EncoderConfig(vocab_size=7, block_size=5, **shape), seed=2, dtype=dtype)
    return DualEncoder(image, text, scale=4.0, dtype=dtype)


def pairs(count: int, seed: int, dtype: Any = np.float32) -> ImageTextBatch:
    """Images of one bright patch each, and texts that name its place, with fillers behind."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(count) % 4
    images = 0.1 * rng.standard_normal((count, 1, 4, 4))
    for image, place in zip(images, places, strict=True):
        row, column = divmod(int(place), 2)
        image[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 2
    lengths = rng.integers(1, 6, count)
    texts = np.where(np.arange(5) == 0, places[:, None] + 1, rng.integers(5, 7, (count, 5)))
    return ImageTextBatch(images.astype(dtype), texts.astype(np.int32), lengths)


@pytest.mark.parametrize("key", [None, Key.from_seed(3)], ids=["evaluation", "dropout"])
def test_gradients_of_the_loss(key: Any) -> None:
    model = stir(make(np.float64, dropout=0.2))
    model.contrast.temperature.log_scale.data[...] = 1.0
    check_module(LossOf(model, pairs(5, 0, np.float64)), settings=CheckSettings(elementwise=0), key=key)


def test_both_sides_drop_with_masks_of_their_own() -> None:
    model, batch, key = make(dropout=0.5), pairs(4, 0), Key.from_seed(1)
    image, _ = model.image.forward(batch.images, key=fold(key, "image"))
    text, _ = model.text.forward(batch.texts, lengths=batch.lengths, key=fold(key, "text"))
    assert model.loss(batch, key=key)[0].total == model.contrast.forward(image, text)[0].total
    assert model.loss(batch)[0].total != model.loss(batch, key=key)[0].total


def test_padding_does_not_matter() -> None:
    model = make()
    batch = pairs(4, 0)
    other = batch.texts.copy()
    other[np.arange(5) >= batch.lengths[:, None]] = 0
    total = model.loss(batch)[0].total
    assert model.loss(batch._replace(texts=other))[0].total == total
    assert model.loss(batch._replace(texts=(other + 1) % 7))[0].total != total


def trainer(folder: Path | None, model: DualEncoder) -> MultimodalTrainer:
    train = [pairs(4, seed) for seed in range(12)]
    whole = pairs(4, 100)
    val = [ImageTextBatch(*(f if f is None else f[part] for f in whole)) for part in (slice(3), slice(3, 4))]
    return MultimodalTrainer(model, train, val, AdamW(model, lr=1e-3), folder, progress=False)


def test_pairs_are_learnt_and_measured(tmp_path: Path) -> None:
    # Of width 8, one model in three ends with two places taken for one, and which does hangs on the last bits.
    multimodal = trainer(tmp_path / "run", make(width=32))
    history = multimodal.train(num_epochs=20)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(history, 20)
    assert history["val_recall_top1"][-1] > 0.9
    assert history["val_recall_top5"] == [1.0] * 20, "there are four texts in all"
    assert multimodal.metrics.get_metric("val_recall_top1") == history["val_recall_top1"]
    gaps = multimodal.metrics.get_metric("alignment_gap")
    assert len(gaps) == 20
    assert gaps[-1] > gaps[0] + 0.3
    own, mean = (multimodal.metrics.get_latest(f"alignment_{name}") for name in ("diag_mean", "sim_mean"))
    assert gaps[-1] == pytest.approx(own - mean)
    assert len(multimodal.trainer.checkpoints.checkpoints()) == 3, "of twenty epochs, the newest three are kept"


def test_it_is_trained_further_and_taken_up(tmp_path: Path) -> None:
    whole = trainer(None, make())
    expected = whole.train(3)
    assert whole.checkpoint_mgr is None
    trainer(tmp_path / "run", make()).train(1)
    again = trainer(tmp_path / "run", make())
    again.train(2)
    history = again.train(3)
    assert again.trainer.state.epoch == 3
    assert history["train_loss"] == expected["train_loss"]
    for path, weights in again.trainer.model.state_dict().items():
        np.testing.assert_array_equal(weights, whole.trainer.model.state_dict()[path])
