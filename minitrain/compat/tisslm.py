"""A trainer for a hand-written language model: arguments by position, and the steps of a loop as its methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from .. import data, optim, training
from ..checkpoint.manifest import Location
from ..data import Batch
from ..losses import CrossEntropyLoss as CrossEntropyLoss
from ..losses import FocalLoss as FocalLoss
from ..losses import InfoNCELoss as InfoNCELoss
from ..losses import LabelSmoothing as LabelSmoothing
from ..optim import SGD as SGD
from ..optim import Adam as Adam
from ..optim import AdamW as AdamW
from ..optim import ConstantScheduler as ConstantScheduler
from ..optim import CosineScheduler as CosineScheduler
from ..optim import ExponentialScheduler as ExponentialScheduler
from ..optim import RMSprop as RMSprop
from ..optim import StepScheduler as StepScheduler
from ..optim import WarmupDecayScheduler as WarmupDecayScheduler
from ..settings.section import setting


class TrainingConfig(training.TrainingConfig):
    """A `minitrain.training.TrainingConfig` whose checkpoints go to the folder ``checkpoints`` if no other is given.

    minitrain's own has no default folder: a `Trainer` that was given none writes no file.
    """

    checkpoint_dir: str | None = setting(
        "checkpoints", "The run folder, if the Trainer gets no run_dir.", python_only=True
    )


class Dataset(data.Dataset):
    """A `minitrain.data.Dataset` that gives batches when it is iterated, each window once.

    Args:
        file: a text file or a folder of them.
        tokenizer: turns it into ids.
        batch_size: windows in a batch.
        block_size: T, tokens in a window.
    """

    batch_size = 32

    def __init__(
        self, file: str | os.PathLike[str], tokenizer: data.Tokenizer, batch_size: int = 32, *, block_size: int = 64
    ) -> None:
        super().__init__(file, tokenizer, block_size=block_size)
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(self.batch_size)


class Trainer(training.Trainer):
    """A `minitrain.training.Trainer` with other names and an order for its arguments.

    A loss keeps nothing of a call here: ``loss_fn.forward(logits, y)`` returns the loss and a cache, and
    ``loss_fn.backward(dloss, cache)`` takes it. So a validation between the two changes nothing.

    Args:
        model: the model.
        optimizer: its optimizer.
        loss_fn: loss of the model's outputs; ``None`` for a model with a loss of its own.
        scheduler: a scheduler over the optimizer, or any function of the step.
        dataset: the training data.
        config: by default a `TrainingConfig` of this module, which writes to ``checkpoints``.
        options: the other arguments of the trainer.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        loss_fn: Any = None,
        scheduler: Callable[[int], float] | None = None,
        dataset: Any = None,
        config: training.TrainingConfig | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            model=model,
            optimizer=optimizer,
            loss_fn=loss_fn,
            scheduler=scheduler,
            train_data=dataset,
            config=TrainingConfig() if config is None else config,
            **options,
        )

    def validate(self, val_dataset: Any = None) -> float:  # type: ignore[override]  # the document's type
        """The mean loss on ``val_dataset``, or on the validation data of the trainer."""
        return float(super().validate(val_dataset)["val_loss"])

    def save_checkpoint(self, epoch: int, step: int) -> Location:  # type: ignore[override]  # the document's arguments
        """Save a checkpoint of a loop of your own that stands at ``step`` in ``epoch``; returns its place."""
        self.state.epoch, self.state.step = epoch, step
        return super().save_checkpoint()

    def compute_grad_norm(self) -> float:
        """The global norm of all gradients."""
        return optim.compute_grad_norm(self.model)

    def clip_gradients(self, max_norm: float) -> float:
        """Scale all gradients down to the norm ``max_norm`` if theirs is larger; returns the norm before."""
        return optim.clip_gradients(self.model, max_norm)

    def zero_gradients(self) -> None:
        """Forget all gradients."""
        optim.zero_gradients(self.model)
