"""A trainer whose arguments may be given by position: model, data, optimizer, scheduler, configuration, folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import training
from ..training import TrainingConfig as TrainingConfig


class Trainer(training.Trainer):
    """A `minitrain.training.Trainer` with other names and an order for its arguments.

    Args:
        model: the model.
        train_dataloader: ``train_data`` of the trainer.
        val_dataloader: its ``val_data``.
        optimizer: its optimizer.
        scheduler: its learning rate.
        config: its configuration.
        checkpoint_dir: its ``run_dir``.
        use_amp: train with ``precision="bfloat16"``.
        options: its other arguments.
    """

    def __init__(
        self,
        model: Any,
        train_dataloader: Any,
        val_dataloader: Iterable[Any] | None = None,
        optimizer: Any = None,
        scheduler: Callable[[int], float] | None = None,
        config: TrainingConfig | None = None,
        checkpoint_dir: str | Path | None = None,
        use_amp: bool = False,
        **options: Any,
    ) -> None:
        if use_amp:
            options["use_amp"] = True
        super().__init__(
            model=model,
            train_data=train_dataloader,
            val_data=val_dataloader,
            optimizer=optimizer,
            scheduler=scheduler,
            config=config,
            run_dir=checkpoint_dir,
            **options,
        )
