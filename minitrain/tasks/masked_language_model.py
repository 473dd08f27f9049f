"""The task of an encoder on a text: find tokens that are hidden, from those on both sides (Devlin et al., 2018).

`minitrain.data.tokens.masked` says which tokens are hidden, and that the mask token is the id after the tokenizer's
last. A prompt writes it as ``[MASK]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import to_device, to_numpy
from ..backend.precision import use_precision
from ..data import PrefetchLoader, Tokenizer
from ..data.loading.batches import IGNORED
from ..data.tokens.masked import MaskedTokenLoader, MaskedWindows
from ..errors import ConfigError
from ..measures import Accuracy, Perplexity, perplexity
from ..models.masked import MaskedEncoder, MaskedEncoderConfig
from ..records.made import Made
from ..training.evaluator import LOSS, Evaluator
from ..training.setup import Setup
from .outcome import Measured
from .settings.model import register_model
from .task import Prepared, TaskSettings, evenly, register_task
from .text.masks import MASK, encode_masked, fill_probabilities, pseudo_perplexity, with_masks
from .text.need import refuse_impossible, refuse_impossible_model
from .text.token_task import TokenTask
from .text.validation import digest

LISTED = 5
"""Tokens in an answer for each mask, the most likely first."""
SHOWN = 4
"""Windows in a sample."""
ALONE = 8
"""Windows of which the pseudo-perplexity hides each token alone."""

register_model("masked_encoder", MaskedEncoderConfig, task="masked_language_model")(MaskedEncoder)


@register_task("masked_language_model")
class MaskedLanguageModel(TokenTask):
    """Finds hidden tokens of a text. Its processor is a tokenizer, its data a `TokenSplit`."""

    name: ClassVar[str] = "masked_language_model"
    usual_model: ClassVar[str] = "masked_encoder"
    usual_recipe: ClassVar[str] = "masked"

    def prepare(self, config: TaskSettings, processor: Tokenizer | None = None) -> Prepared:
        """The text as tokens."""
        if config.generation.prompt is not None:
            raise ConfigError("generation.prompt is for task=language_model: minitrain generate RUN --prompt fills in")
        if config.data.unwanted is not None or config.data.unwanted_val is not None:
            raise ConfigError("data.unwanted is for task=language_model: a masked language model continues no text")
        return super().prepare(config, processor)

    def model_sizes(self, config: TaskSettings, processor: Tokenizer) -> dict[str, Any]:
        """The vocabulary's size with the mask token, and the length of a window."""
        return {"vocab_size": processor.vocab_size + 1, "block_size": config.data.block_size}

    def refuse_impossible(self, config: TaskSettings, processor: Tokenizer, *, to_train: bool = True) -> None:
        """Refuse what cannot fit into memory, reckoned before anything is built."""
        (refuse_impossible if to_train else refuse_impossible_model)(config, processor.vocab_size + 1)

    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """Masked windows of the training text; each epoch shifts them and hides other tokens."""
        data = config.data
        sizes = (data.block_size, config.trainer.batch_size, config.seed)
        vocab_size = prepared.processor.vocab_size
        loader = MaskedTokenLoader(prepared.data.train, *sizes, vocab_size=vocab_size, share=data.mask_share)
        return PrefetchLoader(loader, data.prefetch) if data.prefetch else loader

    def validation_data(self, config: TaskSettings, prepared: Prepared) -> MaskedWindows:
        """The held-out text in windows side by side, with masks that the seed fixes."""
        at_once = -(-config.trainer.batch_size // config.trainer.gradient_accumulation_steps)  # what fits the memory
        return MaskedWindows(
            prepared.data.val,
            config.data.block_size,
            at_once,
            seed=config.seed,
            vocab_size=prepared.processor.vocab_size,
            share=config.data.mask_share,
        )

    def metrics(self, config: TaskSettings, processor: Tokenizer) -> Mapping[str, Any]:
        """How many of the hidden tokens are found."""
        return {"accuracy": Accuracy()}

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Measured:
        """Loss and accuracy of the hidden tokens of the held-out text, and its pseudo-perplexity, next to guessing."""
        windows, val = self.validation_data(config, prepared), prepared.data.val
        measures = {"accuracy %": Accuracy(), "perplexity": Perplexity()}
        precision = config.trainer.product_precision()
        evaluator = Evaluator(model, windows, metrics=measures, device=config.device, precision=precision)
        name = f"{val.shape[0]} tokens in windows of {windows.block_size}, masked by seed {config.seed}"
        table = evaluator.samples(data=f"{name}, {windows.share} of them, sha256 {digest(val)}")
        values = table.values()
        with use_precision(precision):
            alone = pseudo_perplexity(model, windows, count=ALONE, device=config.device)
        notes = []
        if alone is not None:
            values["pseudo-perplexity"] = alone
            count = min(ALONE, windows.full)
            notes = [f"pseudo-perplexity: each token of {count} windows hidden alone, all others in sight"]
        masked = int(table.rows[LOSS][:, 1].sum())
        unigram = self.guesses(prepared)["unigram frequencies"]
        others = {"unigram frequencies": {"loss": unigram, "perplexity": perplexity(unigram)}}
        loss = values.pop(LOSS)
        return Measured(loss, f"{masked:,} hidden tokens", values, others, tuple(notes), samples=table)

    def answer(self, config: TaskSettings, model: Any, processor: Tokenizer, text: str) -> str:
        """The text with its masks filled in, and the most likely tokens for each mask."""
        ids = encode_masked(processor, text, config.data.block_size)
        shares = fill_probabilities(model, ids, processor.vocab_size, config.device)  # (masks, V)
        filled = ids.copy()
        filled[ids == processor.vocab_size] = shares.argmax(axis=1)
        lines = [processor.decode(filled)]
        for number, row in enumerate(shares, 1):
            best = np.argsort(-row, kind="stable")[:LISTED]
            guesses = "  ".join(f"{processor.decode([i])!r} {100 * row[i]:.1f} %" for i in best.tolist())
            lines.append(f"{MASK} {number}: {guesses}" if len(shares) > 1 else f"{MASK}: {guesses}")
        return "\n".join(lines)

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Some held-out windows, as they are hidden and as the model fills them in."""
        found = self.made(config, setup.model, prepared)
        return "\n\n".join(f"hidden {one.given!r}\nfilled {one.made!r}\nright  {one.right!r}" for one in found)

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """The tokens that it fills into some held-out windows."""
        tokenizer, windows = prepared.processor, self.validation_data(config, prepared)
        found = []
        for place in evenly(windows.full, SHOWN):
            inputs, targets = (rows[0] for rows in windows.batch(place, 1))
            logits = to_numpy(model.forward(to_device(inputs[None], config.device))[0])[0]
            best = logits[:, : tokenizer.vocab_size].argmax(axis=1)
            filled = np.where(targets == IGNORED, inputs, best)
            right = np.where(targets == IGNORED, inputs, targets)
            texts = with_masks(tokenizer, inputs), tokenizer.decode(right), tokenizer.decode(filled)
            found.append(Made(*texts, bool((filled == right).all())))
        return found

    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """How many tokens of what."""
        return f"{super().describe(config, prepared)}, and a mask token"
