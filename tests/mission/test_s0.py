"""One test for each row of the insight engine, called as its document calls it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

import minitrain as mt
from minitrain.compat.insight import (
    CrossEntropyLoss,
    LabelSmoothing,
    LanguageModelTrainer,
    MeanSquaredError,
    TransformerTrainer,
    create_causal_mask,
    create_combined_mask,
    create_padding_mask,
    train_joint_bpe_tokenizer,
    train_model,
)
from minitrain.data import ArrayDataset, Dataset
from minitrain.models import Encoder, EncoderConfig, ViT, ViTConfig
from minitrain.nn import Linear
from tests.mission.mission_parts import TEXT, TOKENIZER, gpt


def classifiers() -> dict[str, tuple[Any, ArrayDataset]]:
    """Each kind of model that classifies, with 24 samples whose class is easy to see."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    points = (np.eye(3)[labels] + 0.1 * rng.standard_normal((24, 3))).astype(np.float32)
    images = np.ones((24, 1, 4, 4), np.float32) * (labels - 1)[:, None, None, None]
    texts = np.repeat(labels[:, None], 4, axis=1)
    shape: dict[str, Any] = {"n_classes": 3, "n_layer": 1, "n_head": 2, "n_embd": 8}
    return {
        "MLP": (mt.MLP(mt.MLPConfig((3, 8, 3))), ArrayDataset(inputs=points, targets=labels)),
        "ViT": (
            ViT(ViTConfig(image_size=4, patch=2, channels=1, **shape)),
            ArrayDataset(inputs=images.astype(np.float32), targets=labels),
        ),
        "Encoder": (
            Encoder(EncoderConfig(vocab_size=3, block_size=4, **shape)),
            ArrayDataset(inputs=texts, targets=labels),
        ),
        "Linear": (Linear(3, 3, rng), ArrayDataset(inputs=points, targets=labels)),
    }


@pytest.mark.parametrize("name", ["MLP", "ViT", "Encoder", "Linear"])
def test_s0_1_train_model_measures_the_accuracy_of_every_classifier(name: str) -> None:
    my_model, train_loader = classifiers()[name]
    history = train_model(
        model=my_model,
        train_dataloader=train_loader,
        val_dataloader=train_loader,
        epochs=60,
        learning_rate=2e-2,
        early_stopping_patience=60,
        device="cpu",
        progress=False,
    )
    assert len(history["train_loss"]) == len(history["val_accuracy"]) == len(history["val_loss"])
    assert history["val_accuracy"][-1] == 1.0
    by_position = train_model(classifiers()[name][0], train_loader, train_loader, 2, 2e-2, progress=False)
    assert by_position["val_accuracy"] == history["val_accuracy"][:2]


def plotted_points(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of points of each curve that is drawn from now on."""
    counts: list[int] = []
    real = Axes.plot

    def plot(self: Axes, *args: Any, **options: Any) -> Any:
        lines = real(self, *args, **options)
        counts.extend(len(line.get_xdata()) for line in lines)  # type: ignore[arg-type]
        return lines

    monkeypatch.setattr(Axes, "plot", plot)
    return counts


def test_s0_2_transformer_trainer_at_its_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.from_tokens(TOKENIZER.encode(TEXT), TOKENIZER, block_size=8)
    model = gpt()
    transformer_trainer = TransformerTrainer(
        model=model,
        train_dataloader=dataset,
        val_dataloader=dataset,
        lr=0.01,
        warmup_steps=4,
        label_smoothing=0.1,
        early_stopping_patience=5,
        progress=False,
    )
    history = transformer_trainer.train(epochs=3)
    plain, _ = model.loss(next(iter(dataset.batches(10_000))))  # without a key: no smoothing
    assert history["val_loss"][-1] == pytest.approx(plain.mean, rel=1e-5)
    assert history["val_perplexity"] == [math.exp(loss) for loss in history["val_loss"]]
    steps = transformer_trainer.trainer.state.step  # type: ignore[union-attr]
    assert steps > 3
    drawn = plotted_points(monkeypatch)
    history_plot = transformer_trainer.plot_training_history(tmp_path / "history.png")
    assert set(drawn) == {3}, "a point for each epoch"
    drawn.clear()
    rate_plot = transformer_trainer.plot_learning_rate(tmp_path / "rate.png")
    assert drawn == [steps], "a point for each update"
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (history_plot, rate_plot))


def test_s0_3_masks_are_true_where_attention_is_allowed() -> None:
    src_tokens = np.array([[5, 6, 0], [7, 0, 0]])
    src_mask = create_padding_mask(src_tokens, pad_idx=0)
    assert src_mask.reshape(2, 3).tolist() == [[True, True, False], [True, False, False]]
    tgt_mask = create_causal_mask(src_tokens.shape[1], "cpu")
    assert tgt_mask.reshape(3, 3).tolist() == np.tri(3, dtype=bool).tolist()
    both = create_combined_mask(src_tokens, pad_idx=0)
    np.testing.assert_array_equal(both, tgt_mask & src_mask)


def test_s0_4_losses() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((4, 5)), np.array([1, 2, 0, 3])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    each = -(0.9 * log_p[np.arange(4), targets] + 0.1 * log_p.mean(axis=1))
    mean, _ = CrossEntropyLoss(label_smoothing=0.1, reduction="mean").forward(logits, targets)
    assert float(mean) == pytest.approx(each.mean())
    padded, _ = LabelSmoothing(smoothing=0.1, pad_idx=0).forward(logits, targets)
    assert padded.count == 3, "the padding does not count"
    total, _ = MeanSquaredError(reduction="sum", weight=None).forward(logits, logits + 2.0)
    assert float(total) == pytest.approx(4 * logits.size)


def test_s0_5_language_model_trainer_generates_with_the_tokenizer_of_its_data(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    train_loader = Dataset(tmp_path / "text.txt", TOKENIZER, block_size=8)
    lm_trainer = LanguageModelTrainer(
        model=gpt(),
        train_dataloader=train_loader,
        val_dataloader=train_loader,
        learning_rate=5e-3,
        warmup_steps=1000,
        max_grad_norm=1.0,
        progress=False,
    )
    training_stats = lm_trainer.train(num_epochs=3, save_dir=tmp_path / "models/language", model_name="multimodal_lm")
    assert training_stats["val_perplexity"][-1] < training_stats["val_perplexity"][0]
    assert (tmp_path / "models/language/multimodal_lm/checkpoints").is_dir()
    text = lm_trainer.generate(prompt="the quick", max_length=10, temperature=0.7)
    assert text.startswith("the quick") and len(text) == 19
    likeliest = [lm_trainer.generate("the ", 6, 0.7, seed, top_k=1) for seed in range(3)]
    assert len(set(likeliest)) == 1, "of one token there is no choice"
    assert lm_trainer.generate("the ", 6, 0.7, top_p=1e-6) == likeliest[0]


def test_s0_6_a_tokenizer_for_two_languages(tmp_path: Path) -> None:
    german_texts, english_texts = ["der Fuchs springt"] * 5, ["the fox jumps"] * 5
    joint_tokenizer = train_joint_bpe_tokenizer(
        src_texts=german_texts, tgt_texts=english_texts, vocab_size=280, min_frequency=2, save_dir=tmp_path / "t"
    )
    for sentence in ("der fox", "the Fuchs"):
        assert joint_tokenizer.decode(joint_tokenizer.encode(sentence)) == sentence
    assert any((tmp_path / "t").iterdir())
