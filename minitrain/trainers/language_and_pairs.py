"""Trainers that count in epochs: one for any transformer, one for language models, and a function for any model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..measures import perplexity
from ..optim import InverseSqrt, Schedule, WarmupCosine
from .base import EpochTrainer


class TransformerTrainer(EpochTrainer):
    """Trains a transformer as in Vaswani et al. (2017, arXiv:1706.03762): inverse square root, smoothed labels.

    Args:
        model: a model with ``label_smoothing`` in its config, such as `Seq2Seq` or `GPT`, whose config then gets it; or
            one that gives class scores (..., V) for integer targets (...,).
        train_dataloader: a loader, or a list of batches, see `Trainer`.
        val_dataloader: batches to validate on after each epoch.
        lr: the highest rate, that of update ``warmup_steps``.
        warmup_steps: updates over which the rate rises; after that it falls with their square root.
        label_smoothing: share of each target spread over all classes in training. Validation measures the plain loss.
        early_stopping_patience: stop when the validation loss was no better for so many epochs in a row.
        pad_idx: the target that does not count; ``None`` if all do.
        options: see `EpochTrainer`.

    Raises:
        ConfigError: if the model has a loss of its own without label smoothing.
    """

    assumes_likelihood = True

    def __init__(
        self,
        model: Any,
        train_dataloader: Any,
        val_dataloader: Iterable[Any] | None = None,
        lr: float = 1e-4,
        warmup_steps: int = 4000,
        label_smoothing: float = 0.1,
        early_stopping_patience: int | None = 5,
        *,
        pad_idx: int | None = 0,
        **options: Any,
    ) -> None:
        from ..losses import LabelSmoothing

        loss_fn = None
        if not hasattr(model, "loss_backward"):
            loss_fn = LabelSmoothing(label_smoothing, pad_idx)
        elif hasattr(getattr(model, "config", None), "label_smoothing"):
            model.config = dataclasses.replace(model.config, label_smoothing=label_smoothing)
        elif label_smoothing:
            raise ConfigError(
                f"{type(model).__name__} has a loss of its own without label smoothing: pass label_smoothing=0"
            )
        if val_dataloader is None:
            early_stopping_patience = None
        super().__init__(
            model,
            train_dataloader,
            val_dataloader,
            learning_rate=lr,
            warmup_steps=warmup_steps,
            early_stopping_patience=early_stopping_patience,
            loss_fn=loss_fn,
            **options,
        )

    def schedule(self, total_steps: int) -> Schedule:
        """Linear up to the highest rate, then falling with the square root of the step."""
        return InverseSqrt(self.learning_rate, self.warmup_steps)


class LanguageModelTrainer(EpochTrainer):
    """Trains a causal language model: warm-up and cosine, clipping, perplexities, and text at the end.

    Args:
        model: a language model with a loss of its own, such as `GPT`.
        train_dataloader: a loader such as `TokenLoader`, or a list of batches.
        val_dataloader: batches to validate on after each epoch.
        learning_rate: the highest rate.
        warmup_steps: updates over which the rate rises, at most a tenth of the training.
        max_grad_norm: longer gradients are scaled down to this length.
        tokenizer: for ``generate``; by default that of the training data, if it has one.
        options: see `EpochTrainer`.
    """

    assumes_likelihood = True

    def __init__(
        self,
        model: Any,
        train_dataloader: Any,
        val_dataloader: Iterable[Any] | None = None,
        learning_rate: float = 5e-5,
        warmup_steps: int = 1000,
        max_grad_norm: float | None = 1.0,
        *,
        tokenizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            model,
            train_dataloader,
            val_dataloader,
            learning_rate=learning_rate,
            warmup_steps=warmup_steps,
            max_grad_norm=max_grad_norm,
            tokenizer=tokenizer,
            **options,
        )

    def schedule(self, total_steps: int) -> Schedule:
        """Linear up to the highest rate, then half a cosine down to a tenth of it."""
        warmup = min(self.warmup_steps, total_steps // 10)  # a short training is not all warm-up
        return WarmupCosine(self.learning_rate, self.learning_rate / 10, warmup, max(total_steps, warmup + 1))

    def train(
        self,
        num_epochs: int = 10,
        save_dir: str | Path | None = None,
        model_name: str = "language_model",
    ) -> dict[str, list[float]]:
        """Train for so many epochs, and return the history.

        Args:
            num_epochs: passes over the training data.
            save_dir: folder of models; ``None`` saves nothing.
            model_name: name of this one's folder in it; an interrupted training in it is taken up.
        """
        return super().train(num_epochs, None if save_dir is None else Path(save_dir) / model_name)

    def evaluate(self, batches: Iterable[Any] | None = None) -> dict[str, float]:
        """Loss in nats per token and perplexity, on the validation data or on other batches.

        Raises:
            ConfigError: if there is no data.
        """
        data = self.val_data if batches is None else batches
        if data is None:
            raise ConfigError("evaluate needs batches: there is no val_dataloader")
        trainer = self.make_trainer(1) if self.trainer is None else self.trainer
        loss = trainer.validate(data)["val_loss"]
        return {"loss": loss, "perplexity": perplexity(loss)}

    def generate(
        self,
        prompt: str,
        max_length: int = 100,
        temperature: float = 1.0,
        seed: int = 0,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> str:
        """Let the model continue ``prompt`` by ``max_length`` tokens; returns prompt and continuation.

        Raises:
            ConfigError: if there is no tokenizer.
        """
        from ..generation import continue_text
        from ..random import Key

        if self.tokenizer is None:
            raise ConfigError("generate needs a tokenizer: LanguageModelTrainer(..., tokenizer=...)")
        return prompt + continue_text(
            self.model,
            self.tokenizer,
            prompt,
            max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            key=Key.from_seed(seed),
            device=self.device,
        )


def train_model(
    model: Any,
    train_dataloader: Any,
    val_dataloader: Iterable[Any] | None = None,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    early_stopping_patience: int | None = None,
    device: str | None = None,
    *,
    loss_fn: Any = None,
    progress: bool = True,
) -> dict[str, list[float]]:
    """Train any model by AdamW at a constant rate, and return its history.

    Args:
        model: a model with a loss of its own, or one that gives class scores (..., V) for integer targets (...,).
        train_dataloader: a loader, or a list of batches, see `Trainer`.
        val_dataloader: batches to validate on after each epoch.
        epochs: passes over the training data.
        learning_rate: the rate.
        early_stopping_patience: stop when the validation loss was no better for so many epochs in a row; ``None``
            goes on to the end.
        device: ``"cpu"`` or ``"cuda"``, where the model is moved to; ``None`` for the CPU.
        loss_fn: in place of cross-entropy, for a model without a loss of its own; see `Trainer`.
        progress: whether to show progress.

    Returns:
        Lists with one value an epoch, see `EpochTrainer`; a classifier has ``val_accuracy`` too.

    Raises:
        ConfigError: if early stopping has no validation data to look at.
    """
    from ..losses import CrossEntropyLoss

    if loss_fn is None and not hasattr(model, "loss_backward"):
        loss_fn = CrossEntropyLoss()
    if device is not None:
        model.to(device)
    return EpochTrainer(
        model,
        train_dataloader,
        val_dataloader,
        learning_rate=learning_rate,
        early_stopping_patience=early_stopping_patience,
        loss_fn=loss_fn,
        device=device or "cpu",
        progress=progress,
    ).train(epochs)
