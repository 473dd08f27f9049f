"""Opening any trained model to write with: a run, a folder of transformers, or a GGUF file."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..checkpoint.store import CheckpointStore, Warn, warn_user
from ..errors import CheckpointError
from ..folder import RunFolder
from ..folder.names import CHECKPOINTS
from ..generation.text.detokenize import unused_tokens
from ..interop.formats import is_published, load_published, published_tokenizer
from ..training.preconditions import open_checkpoints
from ..training.saving.capture import evaluation_weights
from .config import RunConfig
from .load import load_run
from .weights.adapters import create_adapter, merge_adapters


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model with its tokenizer, whatever it came from.

    Attributes:
        name: what it may be called: the last part of its path.
        model: the model, on ``device``.
        tokenizer: turns texts into its tokens and back.
        device: where it is.
        checkpoint: the name of the checkpoint that its weights are of; empty if it is no run.
        checkpoints: the names of all checkpoints of the run, oldest first; they may be damaged.
        store: where they are.
        adapter: the setting of the run that names its adapters, which are merged into the weights.
    """

    name: str
    model: Any
    tokenizer: Any
    device: str = "cpu"
    checkpoint: str = ""
    checkpoints: tuple[str, ...] = ()
    store: CheckpointStore | None = None
    adapter: Any = None

    @property
    def unused_tokens(self) -> range:
        """Ids that the model has and its tokenizer does not, see `minitrain.generation.text.detokenize`."""
        return unused_tokens(self.model, self.tokenizer)

    def at(self, checkpoint: str) -> OpenedModel:
        """The same model with the weights of another checkpoint of its run.

        Raises:
            CheckpointError: if there is no such checkpoint, or it is damaged or of another model.
        """
        if checkpoint == self.checkpoint:
            return self
        if self.store is None or checkpoint not in self.checkpoints:
            there = ", ".join(self.checkpoints) or "none"
            raise CheckpointError(f"{self.name} has no checkpoint {checkpoint!r:.100}; there are: {there}")
        read = self.store.load(checkpoint)
        read = replace(read, model=dict(evaluation_weights(read)[0]))
        merge_adapters(read, create_adapter(self.adapter))
        model = copy.deepcopy(self.model)
        read.check_fits(model.state_dict())
        model.load_state_dict(read.model)
        return replace(self, model=model, checkpoint=checkpoint)


def open_model(
    place: str | Path,
    *,
    device: str | None = None,
    longest: int | None = None,
    trusted: bool = False,
    warn: Warn = warn_user,
) -> OpenedModel:
    """The model at a place: the newest one of a run, one in a folder of transformers, or one in a GGUF file.

    Args:
        place: a folder or a file.
        device: where to put the model; ``None`` takes the device that a run was trained on, and the CPU otherwise.
        longest: the most tokens of its context, for published models; they may have been trained on more than there is
            memory for.
        trusted: whether the settings of a run may name a URL for checkpoints.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if there is no model, or it cannot be read, or it has no tokenizer.
        DataError: if its tokenizer is damaged, or one that minitrain cannot do exactly.
        DeviceError: if the device is not there.
    """
    name = Path(place).resolve().name
    if is_published(place):
        return _published(Path(place), name, device, longest)
    loaded = load_run(place, device=device, trusted=trusted, warn=warn)
    if loaded.tokenizer is None:
        raise CheckpointError(
            f"{place} was made by a Trainer in Python and has no tokenizer.json to write a text with; a "
            "language model writes with trainer.generate_text() in its script"
        )
    folder, config = RunFolder(place, trusted=trusted), loaded.config
    if isinstance(config, RunConfig):
        store, used = open_checkpoints(folder.path, config.trainer, warn), device or config.device
    else:
        store, used = CheckpointStore(folder.file(CHECKPOINTS), warn=warn), device or "cpu"
    adapter = config.adapter if isinstance(config, RunConfig) else None
    names = tuple(str(path).rpartition("/")[2] for path in store.checkpoints()) if store else ()
    newest = next((name for name in reversed(names) if name.endswith(f"{loaded.step:08d}")), "")
    return OpenedModel(name, loaded.model, loaded.tokenizer, used, newest, names, store, adapter)


def _published(place: Path, name: str, device: str | None, longest: int | None) -> OpenedModel:
    tokenizer: Any = published_tokenizer(place)
    model = load_published(place, **({} if longest is None else {"block_size": longest}))
    if not hasattr(model, "blocks") or not hasattr(model, "head"):
        raise CheckpointError(f"{place} has a {type(model).__name__}, which reads texts and writes none")
    if tokenizer.vocab_size > model.config.vocab_size:
        raise CheckpointError(
            f"{place} has a tokenizer of {tokenizer.vocab_size} tokens, but its model knows {model.config.vocab_size}: "
            "they do not belong together"
        )
    model.to(device or "cpu")
    return OpenedModel(name.removesuffix(".gguf"), model, tokenizer, device or "cpu")
