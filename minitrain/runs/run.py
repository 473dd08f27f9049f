"""A run and its folder: started from a config, resumed, or opened to use the model.

::

    runs/pydoc-20250102-030405/
      config.yaml  tokenizer.json  data/train.bin  data/val.bin
      metrics.jsonl  checkpoints/step-…/  loss.png  learning_rate.png  sample.txt

The folder is complete in itself: the tokens lie in it, so that a run goes on with the text it began with. Token shards
alone stay where they are, see `run_data`.
"""

from __future__ import annotations

import itertools
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint.store import Warn, warn_user
from ..data import PrefetchLoader, Tokenizer, TokenLoader
from ..data.tokens.token_array import TokenArray
from ..errors import CheckpointError
from ..files import make_folder
from ..folder.names import CONFIG
from ..models.decoder import Decoder
from ..nn.core.packing import pack
from ..optim import ReduceOnPlateau, Scheduler, create_optimizer, create_scheduler
from ..random import Key
from ..training.callbacks import PlateauWatch, create_callbacks
from ..training.config import TrainingConfig
from ..training.preconditions import open_checkpoints, refuse_used_folder
from ..training.trainer import Trainer
from .config import RunConfig
from .evaluation import TokenWindows, Validation, baselines, compare_with_guessing, evaluate
from .model_config import create_model
from .report import RunResult, draw, write_report, write_sample
from .run_data import load_tokenizer, load_tokens, prepare_tokens, save_tokens


@dataclass(frozen=True)
class Run:
    """A run that is ready to train.

    Attributes:
        config: its settings.
        run_dir: its folder.
        tokenizer: its tokenizer.
        train_tokens: ``(N,)`` token ids of the training text.
        val_tokens: ``(M,)`` token ids of the held-out text.
        trainer: its trainer; ``trainer.state.step`` updates are done.
    """

    config: RunConfig
    run_dir: Path
    tokenizer: Tokenizer
    train_tokens: TokenArray
    val_tokens: TokenArray
    trainer: Trainer

    def train(self) -> RunResult:
        """Train to the end (see `Trainer.train`), compare with guessing, draw the curves, let the model write.

        What comes after the training can be done again from the last checkpoint.
        """
        training = self.trainer.train()
        history, vocabulary = training.history, self.tokenizer.vocab_size
        measured = {name: history.get_latest(name) or 0.0 for name in ("val_loss", "val_tokens")}
        validation = compare_with_guessing(measured, self.train_tokens, self.val_tokens, vocabulary, self.tokenizer)
        pictures = draw(self.run_dir, validation.baselines)
        length, how = self.config.trainer.sample_tokens, self.config.generation
        sample = write_sample(self.trainer.setup, self.tokenizer, self.run_dir, length, how, self.val_tokens)
        summary = f"{training.describe()}\n\n{validation.describe()}"
        report = write_report(self.run_dir, pictures, summary, sample)
        return RunResult(self.run_dir, training, validation, pictures, report, sample)

    def describe(self) -> str:
        """What is trained on what, in a line or two for the screen."""
        trainer = self.trainer
        source = self.config.data.path or "Python's own language reference"
        return (
            f"{trainer.model.parameter_count():,} parameters, {self.train_tokens.size:,} training and "
            f"{self.val_tokens.size:,} validation tokens of {source} ({self.tokenizer.vocab_size} different)\n"
            f"run folder: {self.run_dir}"
        )


class LoadedRun(NamedTuple):
    """A trained model and what belongs to it."""

    model: Decoder
    tokenizer: Tokenizer
    config: RunConfig
    step: int


def start_run(config: RunConfig, *, warn: Warn = warn_user) -> Run:
    """Prepare a new run: read the data, make the tokens, the run folder, the model and its trainer.

    The data is read and checked before anything is written.

    Args:
        config: the settings; with ``run_dir=None`` the folder is a new one under ``runs/``.
        warn: called with a sentence when something is not as it should be but training can go on.

    Raises:
        DataError: if the data is missing, not text or token shards, or too short.
        CheckpointError: if the folder holds a run already.
        FileError: if the folder cannot be written.
        DeviceError: if the device is not there.
    """
    run_dir = Path(config.run_dir) if config.run_dir else _new_run_dir(config)
    refuse_used_folder(run_dir, open_checkpoints(run_dir, config.trainer))
    tokens = prepare_tokens(config)
    make_folder(run_dir)
    config = save_tokens(tokens, config, run_dir)
    config.save(run_dir / CONFIG)  # last: with it the folder counts as prepared
    return _assemble(config, run_dir, warn)


def resume_run(run_dir: str | Path, *, warn: Warn = warn_user) -> Run:
    """Take up the run in ``run_dir`` at its newest intact checkpoint.

    Trained on, it ends with the same bytes as if it had never been interrupted.

    Args:
        run_dir: the run folder.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if the folder is no run, no checkpoint of it is intact, or they are of another model.
        DataError: if its tokens or its tokenizer are damaged.
    """
    run_dir = Path(run_dir)
    run = _assemble(_read_config(run_dir), run_dir, warn)
    run.trainer.resume()
    return run


def load_run(run_dir: str | Path, *, device: str | None = None, warn: Warn = warn_user) -> LoadedRun:
    """The model of the run in ``run_dir`` at its newest intact checkpoint, ready to use.

    Args:
        run_dir: the run folder.
        device: where to put the model; ``None`` takes the device it was trained on.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if the folder is no run, has no intact checkpoint, or they are of another model.
        DataError: if its tokenizer is damaged.
        DeviceError: if the device is not there.
    """
    run_dir = Path(run_dir)
    config, tokenizer = _read_config(run_dir), load_tokenizer(run_dir)
    checkpoints = open_checkpoints(run_dir, config.trainer, warn)
    assert checkpoints is not None  # since there is a folder
    path = checkpoints.latest()
    if path is None:
        count = len(checkpoints.checkpoints())
        found = f"none of its {count} checkpoints is intact" if count else "it has no checkpoint yet"
        raise CheckpointError(
            f"cannot use the run in {run_dir}: {found}; train it with --resume {shlex.quote(str(run_dir))}"
        )
    checkpoint = checkpoints.load(path)
    model = _create_model(config, tokenizer)
    checkpoint.check_fits(model.state_dict())
    model.load_state_dict(checkpoint.model)
    model.to(device or config.device)
    return LoadedRun(model, tokenizer, config, checkpoint.step)


def evaluate_run(run_dir: str | Path, *, device: str | None = None, warn: Warn = warn_user) -> Validation:
    """Loss of the run's newest model on its whole validation split, next to the baselines.

    Raises:
        CheckpointError: if the folder is no run, has no intact checkpoint, or they are of another model.
        DataError: if its tokens or its tokenizer are damaged.
    """
    model, tokenizer, config, _ = load_run(run_dir, device=device, warn=warn)
    _, train_tokens, val_tokens = load_tokens(config, Path(run_dir))
    measured = evaluate(
        model, val_tokens, config.data.block_size, config.trainer.batch_size, device=device or config.device
    )
    return compare_with_guessing(measured, train_tokens, val_tokens, tokenizer.vocab_size, tokenizer)


def plot_run(run_dir: str | Path) -> tuple[Path, ...]:
    """Draw the curves of the run in ``run_dir`` anew, finished or not; returns the PNG files.

    Raises:
        CheckpointError: if the folder is no run.
        DataError: if nothing was logged yet, or its tokens or its tokenizer are damaged.
    """
    run_dir = Path(run_dir)
    tokens = load_tokens(_read_config(run_dir), run_dir)
    pictures = draw(run_dir, baselines(tokens.train, tokens.val, tokens.tokenizer.vocab_size))
    write_report(run_dir, pictures)
    return pictures


def _assemble(config: RunConfig, run_dir: Path, warn: Warn) -> Run:
    """Model, optimizer, schedule and loader as the config says, in a trainer."""
    tokenizer, train_tokens, val_tokens = load_tokens(config, run_dir)
    model = _create_model(config, tokenizer)
    model.to(config.device)
    pack(model)
    loader: Any = TokenLoader(train_tokens, config.data.block_size, config.trainer.batch_size, config.seed)
    if config.data.prefetch:
        loader = PrefetchLoader(loader, config.data.prefetch)
    optimizer = create_optimizer(config.optimizer, model)
    scheduler = create_scheduler(config.scheduler, optimizer, config.trainer.total_steps(loader.steps_per_epoch))
    watches = [PlateauWatch()] if isinstance(scheduler, ReduceOnPlateau) else []
    at_once = -(-config.trainer.batch_size // config.trainer.gradient_accumulation_steps)  # what fits the memory
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        # A plateau has a state and goes into checkpoints; of the others the pure function is enough.
        scheduler=scheduler.schedule if isinstance(scheduler, Scheduler) else scheduler,
        callbacks=[*watches, *create_callbacks(config.callbacks)],
        train_data=loader,
        val_data=TokenWindows(val_tokens, config.data.block_size, at_once),
        config=TrainingConfig(**asdict(config.trainer)),
        run_dir=run_dir,
        key=Key.from_seed(config.seed).fold("dropout"),
        tokenizer=tokenizer,
        hyperparameters=config.to_dict(),
        device=config.device,
        warn=warn,
    )
    return Run(config, run_dir, tokenizer, train_tokens, val_tokens, trainer)


def _create_model(config: RunConfig, tokenizer: Tokenizer) -> Decoder:
    sizes = {"vocab_size": tokenizer.vocab_size, "block_size": config.data.block_size}
    return create_model(config.model, **sizes, seed=config.seed)


def _read_config(run_dir: Path) -> RunConfig:
    if not run_dir.is_dir():
        raise CheckpointError(f"there is no run folder {run_dir}; check the path")
    if not (run_dir / CONFIG).exists():
        raise CheckpointError(f"{run_dir} is not the folder of a run: it has no {CONFIG}")
    return RunConfig.load(run_dir / CONFIG)


def _new_run_dir(config: RunConfig) -> Path:
    """A folder under ``runs/`` that is not there yet, named by the recipe and the time."""
    name = f"{config.recipe or config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
    return next(path for path in (Path("runs", name) for name in names) if not path.exists())
