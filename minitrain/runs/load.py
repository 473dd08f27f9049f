"""Opening a run to use it: its model with the newest weights, its loss on held-out text, its curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..backend.product import Products
from ..checkpoint import Checkpoint
from ..checkpoint.products import read_products
from ..checkpoint.store import Warn, warn_user
from ..data import Tokenizer
from ..data.tokens.token_array import TokenArray
from ..errors import CheckpointError, ConfigError
from ..folder import RunFolder
from ..folder.commands import resume_command
from ..folder.names import CONFIG, PLOTS, SAMPLE, SUMMARY, TOKENIZER
from ..nn.adapters.lora import merge_lora
from ..tasks import Outcome
from ..tasks.settings.data import TokensConfig
from ..tasks.text.tokens import TokenSplit, load_tokenizer, load_tokens, tokens_of_text
from ..tasks.text.validation import Validation, outcome_on_windows
from ..training.preconditions import open_checkpoints
from ..training.saving.capture import evaluation_weights
from .config import RunConfig
from .confine import needs_trust, refuse_remote_checkpoints
from .python_run import is_from_python, load_weights, read_settings, rebuild_model, written_settings
from .report import draw, write_report
from .weights.adapters import create_adapter


class LoadedRun(NamedTuple):
    """A trained model and what belongs to it.

    Attributes:
        model: the model, with the weights of the newest intact checkpoint that its validation used: averaged ones
            where a callback such as `EMA` keeps some. Adapters are merged.
        processor: turns inputs into arrays and outputs into something to read, such as a tokenizer; ``None`` if the run
            was made in Python and kept none.
        config: its settings; ``None`` if the run was made in Python. Parts that only a training calls are left out if
            they are not registered here, such as callbacks of your own.
        step: the number of updates behind the weights.
    """

    model: Any
    processor: Any
    config: RunConfig | None
    step: int

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of a language model; ``None`` for other models."""
        return self.processor if self.config is None else self.config.the_task.tokenizer(self.processor)


def load_run(
    run_dir: str | Path,
    *,
    model: Any = None,
    device: str | None = None,
    trusted: bool = False,
    warn: Warn = warn_user,
) -> LoadedRun:
    """The model of the run in ``run_dir`` at its newest intact checkpoint, ready to use.

    Args:
        run_dir: the run folder.
        model: the model to put the weights into, for a run made in Python with a model of your own.
        device: where to put the model; ``None`` takes the device it was trained on.
        trusted: whether its settings may name a URL for checkpoints.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if the folder is no run, has no intact checkpoint, or they are of another model.
        DataError: if its tokenizer is damaged.
        DeviceError: if the device is not there.
    """
    return _load(run_dir, model=model, device=device, trusted=trusted, warn=warn)[0]


def load_with_products(
    run_dir: str | Path, *, device: str | None = None, trusted: bool = False, warn: Warn = warn_user
) -> tuple[LoadedRun, Products]:
    """`load_run`, and what multiplied its matrices; nothing where its checkpoint does not say."""
    run, _, checkpoint = _load(run_dir, device=device, trusted=trusted, warn=warn)
    return run, read_products(checkpoint.state)


def _load(
    run_dir: str | Path,
    *,
    model: Any = None,
    device: str | None,
    trusted: bool,
    averaged: bool = True,
    warn: Warn,
) -> tuple[LoadedRun, str, Checkpoint]:
    """The run, the callback that averaged its weights, if one did, and its newest checkpoint."""
    folder = RunFolder(run_dir, trusted=trusted)
    config = read_settings(folder, to_train=False)
    if model is not None or not isinstance(config, RunConfig):
        if model is None:
            assert not isinstance(config, RunConfig)
            model = rebuild_model(folder, config)
        checkpoint = load_weights(folder, model, warn, averaged=averaged)
        model.to(device or "cpu")
        tokenizer = load_tokenizer(folder) if folder.exists(TOKENIZER) else None
        made = config if isinstance(config, RunConfig) else None
        return LoadedRun(model, tokenizer, made, checkpoint.step), "", checkpoint
    refuse_remote_checkpoints(config, folder)
    task = config.the_task
    processor = task.load_processor(folder)
    checkpoints = open_checkpoints(folder.path, config.trainer, warn)
    assert checkpoints is not None  # since there is a folder
    newest = checkpoints.load_latest()
    if newest is None:
        count = len(checkpoints.checkpoints())
        found = f"none of its {count} checkpoints is intact" if count else "it has no checkpoint yet"
        raise CheckpointError(
            f"cannot use the run in {run_dir}: {found}; train it with: "
            f"{resume_command(run_dir, trust=needs_trust(config, folder.path))}"
        )
    task.refuse_impossible(config, processor, to_train=False)
    model = task.model(config, processor)
    if (adapter := create_adapter(config.adapter)) is not None:
        adapter.add(model, config.seed)
    newest.check_fits(model.state_dict())
    weights, averaged_by = evaluation_weights(newest) if averaged else (newest.model, "")
    model.load_state_dict(weights)
    if adapter is not None:
        merge_lora(model)
    model.to(device or config.device)
    return LoadedRun(model, processor, config, newest.step), averaged_by, newest


def evaluate_run(
    run_dir: str | Path,
    *,
    text: str | Path | None = None,
    device: str | None = None,
    trusted: bool = False,
    averaged: bool = True,
    beams: int | None = None,
    warn: Warn = warn_user,
) -> Outcome:
    """Evaluate the run's newest model on all of its held-out data, or on other data.

    Args:
        run_dir: the run folder.
        text: other data to evaluate on: a text file or a folder of them; guesses are then those of itself.
        device: the device to compute on; ``None`` takes the device it was trained on.
        trusted: whether its settings may name a URL for checkpoints.
        averaged: whether to take averaged weights where the run validates with some, as `EMA` keeps them; ``False``
            takes the weights as they were trained.
        beams: in place of ``generation.num_beams``, for a task that writes by beam search.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Returns:
        The losses, with the loss of each window in ``samples``.

    Raises:
        CheckpointError: if the folder is no run, has no intact checkpoint, or they are of another model.
        ConfigError: if its task takes no other data, or does not search with beams.
        DataError: if its data or its processor are damaged, or the processor cannot read the other data.
    """
    (model, processor, config, _), averaged_by, _ = _load(
        run_dir, device=device, trusted=trusted, averaged=averaged, warn=warn
    )
    if config is None:
        if beams is not None:
            raise ConfigError(f"beams={beams}: the run in {run_dir} was made in Python, and keeps no task to write for")
        return _evaluate_from_python(run_dir, model, processor, text, device or "cpu")
    task = config.the_task
    config = replace(config, device=device or config.device)
    if beams is not None:
        config = replace(config, generation=replace(config.generation, num_beams=beams))
    folder = RunFolder(run_dir)
    prepared = task.load(config, folder) if text is None else task.held_out(config, processor, text)
    return replace(task.evaluate(config, model, prepared), averaged_by=averaged_by)


def _evaluate_from_python(
    run_dir: str | Path, model: Any, tokenizer: Tokenizer | None, text: str | Path | None, device: str
) -> Validation:
    """The loss on a text of a model that was trained by a `Trainer` in Python."""
    if tokenizer is None:
        raise CheckpointError(
            f"{run_dir} was made by a Trainer in Python and has no {TOKENIZER} to read a text with; measure with "
            "trainer.resume() and trainer.validate() in its script"
        )
    if text is None:
        raise _no_held_out(run_dir)
    tokens = tokens_of_text(text, tokenizer)
    return outcome_on_windows(model, TokenSplit(tokens, tokens), tokenizer, model.config.block_size, 32, device=device)


def held_out_tokens(run_dir: str | Path) -> TokenArray:
    """The (N,) token ids that a run holds out.

    Args:
        run_dir: the run folder.

    Raises:
        CheckpointError: if the folder is no run, or was made by a `Trainer` in Python.
        DataError: if they are damaged.
    """
    folder = RunFolder(run_dir)
    config = read_settings(folder, to_train=False)
    if not isinstance(config, RunConfig):
        raise _no_held_out(run_dir)
    if not isinstance(config.data, TokensConfig):
        raise CheckpointError(f"{run_dir} is a run of task={config.task}, which holds out no text")
    return load_tokens(config.data, folder)[1].val


def _no_held_out(run_dir: str | Path) -> CheckpointError:
    return CheckpointError(
        f"{run_dir} was made by a Trainer in Python: its validation data is in a script. Evaluate a text with "
        "--text FILE, or call trainer.resume() and trainer.validate() in that script"
    )


def plot_run(run_dir: str | Path) -> tuple[Path, ...]:
    """Draw the curves of the run in ``run_dir`` anew, finished or not; returns the PNG files.

    Raises:
        CheckpointError: if the folder is no run.
        ConfigError: if the settings of its data are damaged.
        DataError: if nothing was logged yet, or its tokens or its tokenizer are damaged.
    """
    run_dir = Path(run_dir)
    folder = RunFolder(run_dir, trusted=True)  # of the settings, only those of the data are used
    values = written_settings(folder)
    guesses: dict[str, float] = {}
    if not is_from_python(values):
        try:
            config = RunConfig.from_dict({name: values[name] for name in ("task", "data") if name in values})
        except ConfigError as error:
            raise ConfigError(f"{folder.file(CONFIG)}: {error}") from error
        guesses = config.the_task.guesses(config.the_task.load(config, folder))
    pictures = draw(run_dir, guesses)
    own_loss = values.get("loss") is None  # another one has other units than a guess
    others = [one for one in sorted(folder.file(PLOTS).glob("*.png")) if one not in pictures and one.is_file()]
    sample = folder.read(SAMPLE).decode(errors="replace") if folder.exists(SAMPLE) else ""
    summary = folder.read(SUMMARY).decode(errors="replace").rstrip("\n") if folder.exists(SUMMARY) else ""
    write_report(run_dir, pictures, summary, sample, guesses if own_loss else None, others)
    return pictures
