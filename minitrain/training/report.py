"""The end of a run: the final evaluation, pictures, a sample, and a summary for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..backend.arrays import to_device, to_numpy
from ..errors import DataError
from ..files import write_atomically
from ..generation import generate
from .evaluation import Validation, compare_with_guessing
from .metrics import METRICS, MetricsWriter, read_metrics
from .plots import plot_learning_rate, plot_loss

if TYPE_CHECKING:
    from .trainer import Trainer

SAMPLE, LOSS_PICTURE, RATE_PICTURE = "sample.txt", "loss.png", "learning_rate.png"
TEMPERATURE = 0.8  # a little below 1: a small model's text reads better


@dataclass(frozen=True)
class TrainResult:
    """What a finished run came to.

    Attributes:
        run_dir: the run folder.
        step: number of updates done.
        parameters: number of weights of the model.
        validation: loss on the whole validation split, next to the baselines.
        best_val_loss: the lowest validation loss seen, in nats per token.
        best_step: where it was.
        seconds: time spent, over all sessions.
        tokens_per_second: training speed, the median of the logged ones.
        checkpoint: the last checkpoint.
        pictures: the PNG files drawn.
        sample: text the model wrote; empty without a tokenizer or with ``sample_tokens=0``.
    """

    run_dir: Path
    step: int
    parameters: int
    validation: Validation
    best_val_loss: float
    best_step: int
    seconds: float
    tokens_per_second: float
    checkpoint: Path | None
    pictures: tuple[Path, ...]
    sample: str

    def describe(self) -> str:
        """The summary that the command line prints."""
        lines = [
            f"trained {self.parameters:,} parameters for {self.step} steps in {self.seconds:.0f} s, "
            f"{self.tokens_per_second:,.0f} tokens/s",
            "",
            self.validation.describe(),
            "",
            f"checkpoint  {self.checkpoint}",
            *(f"picture     {picture}" for picture in self.pictures),
        ]
        if self.sample:
            lines += ["", "a sample:", "", self.sample]
        return "\n".join(lines)


def finish(trainer: Trainer, metrics: MetricsWriter) -> TrainResult:
    """Evaluate on the whole validation split, draw the curves, let the model write, and sum up.

    All of it can be done again from the last checkpoint.
    """
    loss = trainer.evaluate()
    trainer.record_validation(metrics, loss)
    metrics.sync()
    state, tokens = trainer.state, trainer.train_loader.tokens
    vocab_size = trainer.model.config.vocab_size
    validation = compare_with_guessing(loss, tokens, trainer.val_tokens, vocab_size, trainer.tokenizer)
    records = read_metrics(metrics.path)
    speeds = [record["tokens_per_second"] for record in records if "tokens_per_second" in record]
    return TrainResult(
        run_dir=trainer.run_dir,
        step=state.step,
        parameters=sum(parameter.data.size for _, parameter in trainer.model.named_parameters()),
        validation=validation,
        best_val_loss=float(state.best_val_loss or loss.mean),
        best_step=int(state.best_step or state.step),
        seconds=state.seconds,
        tokens_per_second=float(np.median(speeds)) if speeds else 0.0,
        checkpoint=trainer.checkpoints.latest(),
        pictures=draw(trainer.run_dir, validation.baselines),
        sample=_write_sample(trainer),
    )


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


def _write_sample(trainer: Trainer) -> str:
    """Let the model write a text of its own, from the beginning of a line, and keep it in the run folder."""
    tokenizer, length = trainer.tokenizer, trainer.config.sample_tokens
    if tokenizer is None or not length:
        return ""
    try:
        prompt = tokenizer.encode("\n")
    except DataError:  # a text of one line: go on from the held-out text's first token
        prompt = np.asarray(trainer.val_tokens[:1], dtype=np.int32)
    rng = trainer.key.fold("sample")
    tokens = to_device(prompt[None], trainer.device)  # (1, T0)
    written = generate(trainer.model, tokens, length, temperature=TEMPERATURE, rng=rng)
    sample = tokenizer.decode(to_numpy(written)[0, prompt.size :]).strip("\n")
    write_atomically(trainer.run_dir / SAMPLE, sample.encode() + b"\n")
    return sample
