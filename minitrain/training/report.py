"""The end of a run on a text: the loss next to guessing, pictures, a sample, and a summary for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import write_atomically
from ..generation import continue_text
from .evaluation import Validation
from .metrics import METRICS, read_metrics
from .plots import plot_learning_rate, plot_loss
from .result import TrainResult
from .trainer import Trainer

SAMPLE, LOSS_PICTURE, RATE_PICTURE = "sample.txt", "loss.png", "learning_rate.png"
TEMPERATURE = 0.8  # a little below 1: a small model's text reads better


@dataclass(frozen=True)
class RunResult:
    """What a finished run on a text came to.

    Attributes:
        run_dir: the run folder.
        training: steps, speed, losses, the last checkpoint.
        validation: loss on the whole validation split, next to guessing.
        pictures: the PNG files drawn.
        sample: text the model wrote; empty with ``sample_tokens=0``.
    """

    run_dir: Path
    training: TrainResult
    validation: Validation
    pictures: tuple[Path, ...]
    sample: str

    def describe(self) -> str:
        """The summary that the command line prints."""
        training = self.training
        lines = [
            f"trained {training.parameters:,} parameters for {training.step} steps in {training.seconds:.0f} s, "
            f"{training.tokens_per_second:,.0f} tokens/s",
            *([f"stopped early: {training.stopped}"] if training.stopped else []),
            "",
            self.validation.describe(),
            "",
            f"checkpoint  {training.checkpoint}",
            *(f"picture     {picture}" for picture in self.pictures),
        ]
        if self.sample:
            lines += ["", "a sample:", "", self.sample]
        return "\n".join(lines)


def draw(run_dir: str | Path, baselines: Mapping[str, float]) -> tuple[Path, ...]:
    """Draw the loss and the learning rate of the run in ``run_dir`` from its metrics.

    Args:
        run_dir: the run folder.
        baselines: losses in nats per token by name.

    Returns:
        The PNG files.

    Raises:
        DataError: if the metrics hold nothing to draw.
        FileError: if a file cannot be read or written.
    """
    run_dir = Path(run_dir)
    records = read_metrics(run_dir / METRICS)
    name = run_dir.resolve().name
    plot_loss(records, run_dir / LOSS_PICTURE, baselines=baselines, title=f"Loss of {name}")
    plot_learning_rate(records, run_dir / RATE_PICTURE, title=f"Learning rate of {name}")
    return run_dir / LOSS_PICTURE, run_dir / RATE_PICTURE


def write_sample(trainer: Trainer, run_dir: Path, length: int, val_tokens: NDArray[Any]) -> str:
    """Let the model write a text of its own, from the beginning of a line, and keep it in the run folder."""
    tokenizer = trainer.tokenizer
    if not length:
        return ""
    try:
        tokenizer.encode("\n")
        prompt = "\n"
    except DataError:  # a text of one line: go on from the held-out text's first token
        prompt = tokenizer.decode(np.asarray(val_tokens[:1], dtype=np.int32))
    rng, device = trainer.key.fold("sample"), trainer.device
    written = continue_text(trainer.model, tokenizer, prompt, length, temperature=TEMPERATURE, rng=rng, device=device)
    sample = written.strip("\n")
    write_atomically(run_dir / SAMPLE, sample.encode() + b"\n")
    return sample
