"""Every kind of model takes the batches of its data set, from a loop of one's own and from the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.data import (
    ArrayDataset,
    Batch,
    BucketLoader,
    ByteTokenizer,
    Dataset,
    PackedDataset,
    PairDataset,
    PrefetchLoader,
    train_joint_bpe_tokenizer,
)
from minitrain.models import GPT, MLP, Encoder, EncoderConfig, GPTConfig, MLPConfig, Seq2Seq, Seq2SeqConfig
from minitrain.training import Trainer, TrainingConfig

SHAPE: dict[str, Any] = {"n_layer": 1, "n_head": 1, "n_embd": 8}


class Reviews:
    """Texts of different lengths, and whether each has an 'a' in it."""

    texts = ("good", "bad", "so bad", "very very good", "a", "no")

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Batch:
        text = self.texts[index]
        return Batch(ByteTokenizer().encode(text), np.int64("a" in text))


def losses_and_counts() -> dict[str, tuple[Any, Any, float]]:
    """A model, a batch, and how many targets in it count."""
    tokenizer = train_joint_bpe_tokenizer(["der Hund"] * 3, ["the dog"] * 3, vocab_size=268)
    pairs = PairDataset.from_texts(["der Hund", "Hund"], ["the dog", "a dog or two"], tokenizer)
    answers = sum(len(target) + 1 for target in pairs.targets)
    packed = PackedDataset(np.arange(30), np.array([0, 7, 9, 30]), 8, method="first_fit")
    reviews, lengths = Reviews(), np.array([len(text) for text in Reviews.texts])
    buckets = BucketLoader(reviews, lengths, max_tokens=100, seed=0, buckets=1)
    arrays = ArrayDataset(
        inputs=np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32), targets=np.arange(9) % 3
    )
    translator = Seq2Seq(Seq2SeqConfig(tokenizer.vocab_size, block_size=32, **SHAPE))
    gpt = GPT(GPTConfig(vocab_size=30, block_size=8, **SHAPE))
    return {
        "seq2seq": (translator, pairs.loader(2).batch(0), answers),
        "packed gpt": (gpt, next(packed.batches(len(packed))), 27),
        "classifier": (Encoder(EncoderConfig(256, 2, block_size=32, **SHAPE)), buckets.batch(0), 6),
        "mlp": (MLP(MLPConfig((4, 8, 3))), arrays.loader(5).batch(0), 5),
    }


@pytest.mark.parametrize("name", ["seq2seq", "packed gpt", "classifier", "mlp"])
def test_a_model_reads_the_batches_of_its_data_set(name: str) -> None:
    model, batch, count = losses_and_counts()[name]
    loss, cache = model.loss(batch)
    assert float(loss.count) == count
    assert np.isfinite(float(loss.total))
    model.loss_backward(cache)


def test_the_padding_of_a_batch_changes_no_prediction() -> None:
    """In one batch with longer texts, or alone: the same loss, so ``lengths`` means the same to data and model."""
    model, batch, _ = losses_and_counts()["classifier"]
    together = float(model.loss(batch)[0].total)
    alone = [
        float(model.loss(type(batch)(row[None, :length], target[None], length[None]))[0].total)
        for row, target, length in zip(*batch, strict=True)
    ]
    assert together == pytest.approx(sum(alone), rel=1e-5)


def test_the_trainer_takes_a_data_set_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the quick brown fox " * 40)
    train, val = Dataset(tmp_path / "train.txt", ByteTokenizer(), block_size=8).split(0.2)
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-2)

    def outcome(**data: Any) -> tuple[dict[str, float], list[bytes]]:
        model = GPT(GPTConfig(vocab_size=256, block_size=8, **SHAPE), seed=0)
        trainer = Trainer(model=model, config=config, progress=False, **data)
        before = trainer.validate()["val_loss"]
        trainer.train()
        after = trainer.validate()
        assert after["val_loss"] < before
        assert after["val_tokens"] == len(val) * 8
        return after, [parameter.data.tobytes() for _, parameter in model.named_parameters()]

    by_data_set = outcome(dataset=train, val_dataloader=val)
    with PrefetchLoader(train.loader(16)) as loader:
        assert outcome(train_data=loader, val_data=list(val.batches(16))) == by_data_set
