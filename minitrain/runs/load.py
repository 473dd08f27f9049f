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
from ..folder.names import CONFIG, TOKENIZER
from ..models.common.decoder import Decoder
from ..nn.adapters.lora import merge_lora
from ..training.preconditions import open_checkpoints
from ..training.saving.capture import evaluation_weights
from .config import RunConfig
from .confine import needs_trust, refuse_remote_checkpoints
from .evaluation import Validation, baselines, compare_with_guessing, evaluate
from .model_config import create_model
from .need import refuse_impossible_model
from .python_run import is_from_python, load_weights, read_settings, rebuild_model, written_settings
from .report import draw, write_report
from .run_data import load_tokenizer, load_tokens, tokens_of_text
from .weights.adapters import create_adapter


def model_of(config: RunConfig, tokenizer: Tokenizer) -> Decoder:
    """The model of a run with fresh weights: its settings, the tokenizer's vocabulary, the data's block size."""
    sizes = {"vocab_size": tokenizer.vocab_size, "block_size": config.data.block_size}
    dtype = "float64" if config.trainer.product_precision() == "float64" else "float32"
    return create_model(config.model, **sizes, seed=config.seed, dtype=dtype)


class LoadedRun(NamedTuple):
    """A trained model and what belongs to it.

    Attributes:
        model: the model, with the weights of the newest intact checkpoint that its validation used: averaged ones
            where a callback such as `EMA` keeps some. Adapters are merged.
        tokenizer: its tokenizer; ``None`` if the run was made in Python and kept none.
        config: its settings; ``None`` if the run was made in Python. Parts that only a training calls are left out if
            they are not registered here, such as callbacks of your own.
        step: the number of updates behind the weights.
    """

    model: Any
    tokenizer: Tokenizer | None
    config: RunConfig | None
    step: int


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
    run_dir: str | Path, *, model: Any = None, device: str | None, trusted: bool, warn: Warn
) -> tuple[LoadedRun, str, Checkpoint]:
    """The run, the callback that averaged its weights, if one did, and its newest checkpoint."""
    folder = RunFolder(run_dir, trusted=trusted)
    config = read_settings(folder, to_train=False)
    if model is not None or not isinstance(config, RunConfig):
        if model is None:
            assert not isinstance(config, RunConfig)
            model = rebuild_model(folder, config)
        checkpoint = load_weights(folder, model, warn)
        model.to(device or "cpu")
        tokenizer = load_tokenizer(folder) if folder.exists(TOKENIZER) else None
        made = config if isinstance(config, RunConfig) else None
        return LoadedRun(model, tokenizer, made, checkpoint.step), "", checkpoint
    refuse_remote_checkpoints(config, folder)
    tokenizer = load_tokenizer(folder)
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
    refuse_impossible_model(config, tokenizer.vocab_size)
    model = model_of(config, tokenizer)
    if (adapter := create_adapter(config.adapter)) is not None:
        adapter.add(model, config.seed)
    newest.check_fits(model.state_dict())
    weights, averaged_by = evaluation_weights(newest)
    model.load_state_dict(weights)
    if adapter is not None:
        merge_lora(model)
    model.to(device or config.device)
    return LoadedRun(model, tokenizer, config, newest.step), averaged_by, newest


def evaluate_run(
    run_dir: str | Path,
    *,
    text: str | Path | None = None,
    device: str | None = None,
    trusted: bool = False,
    warn: Warn = warn_user,
) -> Validation:
    """Loss of the run's newest model on its whole validation split or on another text, next to the baselines.

    Args:
        run_dir: the run folder.
        text: a file or a folder to evaluate instead of the validation split; the baselines are then those of itself.
        device: where to compute; ``None`` takes the device it was trained on.
        trusted: whether its settings may name a URL for checkpoints.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if the folder is no run, has no intact checkpoint, or they are of another model.
        DataError: if its tokens or its tokenizer are damaged, or the tokenizer cannot encode the text.
    """
    (model, tokenizer, config, _), averaged_by, _ = _load(run_dir, device=device, trusted=trusted, warn=warn)
    if tokenizer is None:
        raise CheckpointError(
            f"{run_dir} was made by a Trainer in Python and has no {TOKENIZER} to read a text with; measure with "
            "trainer.resume() and trainer.validate() in its script"
        )
    if config is None and text is None:
        raise _no_held_out(run_dir)
    block_size = model.config.block_size
    batch_size, place, precision = 32, "cpu", None
    if config is not None:
        batch_size, place, precision = config.trainer.batch_size, config.device, config.trainer.product_precision()
    if text is not None:
        train = held_out = tokens_of_text(text, tokenizer)
    else:
        assert config is not None
        _, train, held_out = load_tokens(config, RunFolder(run_dir))
    measured = evaluate(model, held_out, block_size, batch_size, device=device or place, precision=precision)
    found = compare_with_guessing(measured, train, held_out, tokenizer.vocab_size, tokenizer)
    return replace(found, averaged_by=averaged_by)


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
    return load_tokens(config, folder).val


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
            config = RunConfig.from_dict({"data": values.get("data", {})})
        except ConfigError as error:
            raise ConfigError(f"{folder.file(CONFIG)}: {error}") from error
        tokens = load_tokens(config, folder)
        guesses = baselines(tokens.train, tokens.val, tokens.tokenizer.vocab_size)
    pictures = draw(run_dir, guesses)
    own_loss = values.get("loss") is None  # another one has other units than a guess
    write_report(run_dir, pictures, baselines=guesses if own_loss else None)
    return pictures
