"""The task of a language model: predict the next token of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..data import PrefetchLoader, Tokenizer, TokenLoader
from ..data.tokens.separate_windows import SeparateWindows
from ..data.tokens.token_array import TokenArray
from ..errors import ConfigError, DataError
from ..generation import continue_text
from ..training.callbacks.base import Callback
from ..training.setup import Setup
from .task import Prepared, TaskSettings, register_task
from .text.need import refuse_impossible, refuse_impossible_model
from .text.token_task import TokenTask
from .text.unwanted import check_listed, counting, loss_of, mixed
from .text.validation import TokenWindows, Validation, compare_with_guessing, outcome_on_windows


@register_task("language_model")
class LanguageModel(TokenTask):
    """Continues a text, token by token. Its processor is a tokenizer, its data a `TokenSplit`."""

    name: ClassVar[str] = "language_model"
    usual_model: ClassVar[str] = "gpt"
    usual_recipe: ClassVar[str] = "pydoc"

    def check(self, config: TaskSettings) -> None:
        """Check that data, model and loss are for this task."""
        super().check(config)
        check_listed(config.data, config.loss, getattr(config.model, "label_smoothing", 0.0))

    def tokenizer(self, processor: Tokenizer) -> Tokenizer:
        """The processor itself."""
        return processor

    def model_sizes(self, config: TaskSettings, processor: Tokenizer) -> dict[str, Any]:
        """The vocabulary's size, and the length of a block."""
        return {"vocab_size": processor.vocab_size, "block_size": config.data.block_size}

    def refuse_impossible(self, config: TaskSettings, processor: Tokenizer, *, to_train: bool = True) -> None:
        """Refuse what cannot fit into memory, reckoned before anything is built."""
        (refuse_impossible if to_train else refuse_impossible_model)(config, processor.vocab_size)

    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """Blocks of the training text, shifted in every epoch; among them unwanted texts, if there is a list."""
        windows = TokenLoader(prepared.data.train, config.data.block_size, config.trainer.batch_size, config.seed)
        loader = mixed(windows, prepared.data.listed, prepared.processor, config.data.unwanted_share)
        return PrefetchLoader(loader, config.data.prefetch) if config.data.prefetch else loader

    def samples(self, config: TaskSettings, prepared: Prepared) -> SeparateWindows:
        """Windows of the training text that share no token."""
        if prepared.data.listed.train:
            raise ConfigError(
                "private training draws its samples itself: leave out data.unwanted, or set its share to 0"
            )
        return SeparateWindows(prepared.data.train, config.data.block_size)

    def validation_data(self, config: TaskSettings, prepared: Prepared) -> TokenWindows:
        """The held-out text in windows side by side."""
        at_once = -(-config.trainer.batch_size // config.trainer.gradient_accumulation_steps)  # what fits the memory
        return TokenWindows(prepared.data.val, config.data.block_size, at_once)

    def loss_fn(self, config: TaskSettings, prepared: Prepared) -> Any:
        """The loss that the settings name, or one that tells wanted from unwanted texts."""
        return loss_of(prepared.data.listed, config.loss)

    def callbacks(self, config: TaskSettings, prepared: Prepared) -> Sequence[Callback]:
        """The callback that counts unwanted continuations, if there is a list of them."""
        return counting(prepared.data.listed, config.seed)

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Validation:
        """The loss on the held-out text, next to guessing."""
        (train, val, _), tokenizer = prepared.data, prepared.processor
        if measured is not None:
            return compare_with_guessing(measured, train, val, tokenizer.vocab_size, tokenizer)
        sizes = (config.data.block_size, config.trainer.batch_size)
        precision = config.trainer.product_precision()
        return outcome_on_windows(model, prepared.data, tokenizer, *sizes, device=config.device, precision=precision)

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """A text that the model writes, ``trainer.sample_tokens`` long."""
        length, how, tokenizer = config.trainer.sample_tokens, config.generation, prepared.processor
        if not length:
            return ""
        written = continue_text(
            setup.model,
            tokenizer,
            how.prompt or _start_of_a_line(tokenizer, prepared.data.val),
            length,
            temperature=how.temperature,
            top_k=how.top_k,
            top_p=how.top_p,
            key=setup.key.fold("sample"),
            device=setup.device,
        )
        return f"{how.prompt or ''}{written}".strip("\n")


def _start_of_a_line(tokenizer: Tokenizer, val_tokens: TokenArray) -> str:
    try:
        tokenizer.encode("\n")
        return "\n"
    except DataError:  # a text of one line: go on from the held-out text's first token
        return tokenizer.decode(np.asarray(val_tokens[:1], dtype=np.int32))
