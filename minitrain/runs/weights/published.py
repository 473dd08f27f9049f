"""Starting a run from a published model: ``init_from`` with a folder of transformers or a GGUF file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...checkpoint import Checkpoint
from ...errors import CheckpointError
from ...interop.formats import describe_published, load_published, published_tokenizer
from ...tasks.settings.model import MODELS, TEXT

LONGEST = 256
"""The block size of a run unless ``data.block_size`` is given: published models are for texts of thousands of tokens,
whose activations a training would hold."""
_BY_TOKEN = ("tok_emb.weight", "head.weight")  # weights with a row for each token


def published_settings(place: str) -> dict[str, Any]:
    """The settings of a run that follow from a published model: the model's, and the block size.

    Raises:
        CheckpointError: if the model cannot be read, or is not a language model.
    """
    _, family, config = describe_published(place)
    name = next((name for name, kind in MODELS.items() if kind.config is type(config)), None)
    if name is None:
        raise CheckpointError(f"init_from={place} is a {family}, which is not a language model that a run trains")
    settings = {key: value for key, value in asdict(config).items() if key not in TEXT}
    return {
        "options": {"model": name},
        "model": {"name": name} | settings,
        "data": {"block_size": min(config.block_size, LONGEST)},
    }


def load_published_weights(place: str, block_size: int | None, vocab_size: int | None = None) -> Checkpoint:
    """The weights of a published model as a checkpoint of step 0.

    Published models often have more rows than tokens, as some sizes are fast. Those rows are left out: no text has
    their tokens, and without them none can be generated.

    Args:
        place: the folder or file.
        block_size: longest sequence of the run; a table of positions is cut to it.
        vocab_size: number of tokens of the run; ``None`` keeps all rows.

    Raises:
        CheckpointError: if the model cannot be read, or is for shorter sequences or another tokenizer.
    """
    model = load_published(place, block_size=block_size)
    weights, rows = model.state_dict(), model.config.vocab_size
    if vocab_size is not None and vocab_size != rows:
        if vocab_size > rows or published_tokenizer(place).vocab_size != vocab_size:
            raise CheckpointError(
                f"init_from={place}: the model has rows for {rows:,} tokens, and the tokenizer of this run has "
                f"{vocab_size:,}: they do not belong together. Give the model the tokenizer that it was trained with, "
                "and train on a text (data.path), which is encoded with that one"
            )
        weights = {path: array[:vocab_size] if path in _BY_TOKEN else array for path, array in weights.items()}
    return Checkpoint(Path(place), 0, weights, {"moments": {}}, {}, {})
