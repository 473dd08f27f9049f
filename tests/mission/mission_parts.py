"""A small text, model and trainer that the tests of the documents' rows share."""

from __future__ import annotations

from typing import Any

import minitrain as mt
from minitrain.data import CharTokenizer
from minitrain.runs import TokenWindows
from minitrain.training import Trainer, TrainingConfig

TEXT = "the quick brown fox jumps over the lazy dog\nand runs away\n" * 12
TOKENIZER = CharTokenizer.from_text(TEXT)
TOKENS = TOKENIZER.encode(TEXT)


def gpt(**changes: Any) -> mt.GPT:
    shape = {"vocab_size": TOKENIZER.vocab_size, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, **changes}
    return mt.GPT(mt.GPTConfig(**shape), seed=1)


def loader() -> mt.TokenLoader:
    return mt.TokenLoader(TOKENS[:600], block_size=8, batch_size=4, seed=0)


def make(model: Any = None, *, config: dict[str, Any] | None = None, **options: Any) -> Trainer:
    """A trainer of a small GPT, for six updates."""
    settings = {"max_steps": 6, "log_every": 2, "validation_frequency": 3, "save_every": 3, **(config or {})}
    defaults = {"train_data": loader(), "val_data": TokenWindows(TOKENS[600:], 8, 4), "tokenizer": TOKENIZER}
    return Trainer(
        model=model or gpt(), config=TrainingConfig(**settings), **{"progress": False, **defaults, **options}
    )
