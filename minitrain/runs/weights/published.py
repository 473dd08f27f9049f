"""Starting a run from a published model: ``init_from`` with a folder of transformers or a GGUF file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoint import Checkpoint
from ...data import Tokenizer, load_pretrained_tokenizer, tokenizer_from_gguf
from ...errors import CheckpointError
from ...interop.formats import describe_published, load_published
from ...interop.gguf.model import is_gguf
from ...interop.gguf.reader import GGUFFile
from ..model_config import FROM_THE_RUN, MODELS

LONGEST = 256
"""The block size of a run unless ``data.block_size`` is given: published models are for texts of thousands of tokens,
whose activations a training would hold."""


def published_settings(place: str) -> dict[str, Any]:
    """The settings of a run that follow from a published model: the model's, and the block size.

    Raises:
        CheckpointError: if the model cannot be read, or is not a language model.
    """
    _, family, config = describe_published(place)
    name = next((name for name, kind in MODELS.items() if kind.config is type(config)), None)
    if name is None:
        raise CheckpointError(f"init_from={place} is a {family}, which is not a language model that a run trains")
    settings = {key: value for key, value in asdict(config).items() if key not in FROM_THE_RUN}
    return {
        "options": {"model": name},
        "model": {"name": name} | settings,
        "data": {"block_size": min(config.block_size, LONGEST)},
    }


def load_published_weights(place: str, block_size: int | None) -> Checkpoint:
    """The weights of a published model as a checkpoint of step 0.

    Args:
        place: the folder or file.
        block_size: longest sequence of the run; a table of positions is cut to it.

    Raises:
        CheckpointError: if the model cannot be read, or is for shorter sequences.
    """
    model = load_published(place, block_size=block_size)
    return Checkpoint(Path(place), 0, model.state_dict(), {"moments": {}}, {}, {})


def published_tokenizer(place: str) -> Tokenizer:
    """The tokenizer of a published model.

    Raises:
        DataError: if there is none, or minitrain cannot do exactly what it does.
    """
    if not is_gguf(place):
        return load_pretrained_tokenizer(place)
    metadata = GGUFFile(place).metadata
    own = {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}
    return tokenizer_from_gguf(
        {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in own.items()}
    )
