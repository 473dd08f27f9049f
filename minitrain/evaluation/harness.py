"""minitrain's models in lm-evaluation-harness, with its tasks.

Importing this module registers the model ``minitrain`` there. As a program it is the harness with that model:

    python -m minitrain.evaluation.harness run --model minitrain --model_args pretrained=RUN --tasks TASK

It needs ``pip install 'minitrain[lm-eval]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.devices import gpu_status
from ..errors import ConfigError
from ..generation import SamplingParams, batch_generate, detokenizer_of, find_tokenizer, session_for, text_pieces
from ..generation.sessions.weights import check_weights, with_weights
from ..generation.text.detokenize import encode_prompt
from ..generation.text.vocabulary import end_tokens
from .choices import pair_likelihoods
from .likelihood import ContinuationScorer
from .pairs import start_token
from .text_score import score_tokens

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ModuleNotFoundError as error:
    raise ConfigError(
        f"lm-evaluation-harness is not installed ({error}); install it with: pip install 'minitrain[lm-eval]'"
    ) from error

_IGNORED = ("do_sample", "until", "max_gen_toks", "max_tokens", "max_new_tokens", "max_length", "temperature")


@register_model("minitrain")
class MinitrainLM(LM):
    """A language model of minitrain, as lm-evaluation-harness asks for it.

    Args:
        pretrained: a model, or the place of one: a run, a folder of transformers, or a GGUF file.
        tokenizer: its tokenizer; needed for a model without one.
        weights: ``"float32"``, or ``"bfloat16"`` or ``"int8"`` to round the weights.
        context: the most tokens of a published model's context, to save memory; ``None`` for all.
        max_gen_toks: the most tokens to write where a task does not say.
        batch_size: continuations that run at once.
        max_batch_size: is ignored; the harness passes it.
        device: where to put a model that is loaded, and where a model is. The harness's command says ``"cuda:0"`` where
            nothing was said, so any ``"cuda"`` means the GPU if there is one, and otherwise the CPU.
        trust: whether the settings of a run may name a URL for checkpoints.

    Raises:
        CheckpointError: if there is no model at that place.
        ConfigError: if a setting is out of range, or the tokenizer is missing.

    Example:
        ```python
        import lm_eval
        from minitrain.evaluation.harness import MinitrainLM

        found = lm_eval.simple_evaluate(model=MinitrainLM("runs/mine"), tasks=["arc_easy"])
        ```
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        tokenizer: Any = None,
        weights: str = "float32",
        context: int | None = None,
        max_gen_toks: int = 256,
        batch_size: int | str = 8,
        max_batch_size: int | None = None,
        device: str | None = None,
        trust: bool = False,
    ) -> None:
        super().__init__()
        check_weights(weights)
        if device is not None and device.startswith("cuda"):
            device = "cuda" if gpu_status()[0] is not None else "cpu"
        if isinstance(pretrained, str | Path):
            from ..runs.opened import open_model

            opened = open_model(pretrained, device=device, longest=context, trusted=trust)
            pretrained, device, tokenizer = opened.model, opened.device, tokenizer or opened.tokenizer
            self._name = opened.name
        else:
            self._name = type(pretrained).__name__
        self.tokenizer = find_tokenizer(tokenizer, pretrained)
        self._device = device or "cpu"
        self.max_gen_toks = max_gen_toks
        vocabulary = pretrained.config.vocab_size  # published models have tokens without text, see `OpenedModel`
        self._unused = range(getattr(self.tokenizer, "vocab_size", vocabulary), vocabulary)
        self.model = with_weights(pretrained, weights)
        slots = 1 + (8 if batch_size == "auto" else int(batch_size))
        self.session = session_for(pretrained, slots, device=self._device, weights=weights)

    @property
    def tokenizer_name(self) -> str:
        """The name of the tokenizer in the harness's caches."""
        return self._name

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, and whether greedy decoding would write it.

        Args:
            requests: have ``args``, a context and a continuation.
            disable_tqdm: is ignored; nothing is shown.

        Raises:
            DataError: if a continuation is longer than the model's ``block_size``, or the tokenizer does not know a
                character.
        """
        pairs = [request.args for request in requests]
        scorer = ContinuationScorer(self.session)
        found = pair_likelihoods(scorer, self.tokenizer, pairs)
        scorer.free()  # `generate_until` takes the free slots
        return self._kept("loglikelihood", pairs, ((one.nats, one.greedy) for one in found))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of whole texts, each after the token that starts a text.

        Windows are side by side, but for the last one, which overlaps with the one before it: the harness's way.

        Args:
            requests: have ``args`` with a text.
            disable_tqdm: is ignored; nothing is shown.

        Raises:
            DataError: if the tokenizer does not know a character.
        """
        texts = [request.args for request in requests]
        return self._kept("loglikelihood_rolling", texts, (self._of_whole(text) for (text,) in texts))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The text that the model writes after each context, up to the first of its stop strings.

        Args:
            requests: have ``args``, a context and settings: ``until``, ``max_gen_toks``, ``do_sample``,
                ``temperature``, and those of `SamplingParams` by their names.
            disable_tqdm: is ignored; nothing is shown.

        Raises:
            ConfigError: if a setting is unknown or out of range.
            DataError: if the tokenizer does not know a character.
        """
        asked = [request.args for request in requests]
        prompts = [self._prompt(context) for context, _ in asked]
        params = [self._params(settings) for _, settings in asked]
        results = batch_generate(
            self.session, prompts, params, detokenizer=detokenizer_of(self.tokenizer), device=self._device
        )
        return self._kept("generate_until", asked, (self._text(result) for result in results))

    def _kept(self, method: str, asked: Sequence[Any], found: Iterable[Any]) -> list[Any]:
        """The results, which the harness may keep for a repetition."""
        kept = []
        for arguments, result in zip(asked, found, strict=True):
            self.cache_hook.add_partial(method, arguments, result)
            kept.append(result)
        return kept

    def _of_whole(self, text: str) -> float:
        tokens = np.array([start_token(self.tokenizer), *self.tokenizer.encode(text)], np.int32)
        if len(tokens) == 1:
            return 0.0
        return -score_tokens(self.model, tokens, stride=self.model.config.block_size, device=self._device).nats

    def _prompt(self, context: str) -> Any:
        tokens = np.asarray(encode_prompt(self.tokenizer, context), np.int32)
        return tokens if len(tokens) else np.array([start_token(self.tokenizer)], np.int32)

    def _params(self, settings: Mapping[str, Any]) -> SamplingParams:
        until = settings.get("until") or ()
        lengths = (settings.get(name) for name in ("max_gen_toks", "max_new_tokens", "max_tokens"))
        sampled = settings.get("do_sample", False)
        rest = {name: value for name, value in settings.items() if name not in _IGNORED}
        try:
            return SamplingParams(
                max_new_tokens=next((length for length in lengths if length is not None), self.max_gen_toks),
                temperature=settings.get("temperature", 1.0) if sampled else 0.0,
                stop=(until,) if isinstance(until, str) else tuple(text for text in until if text),
                stop_token_ids=end_tokens(self.tokenizer),
                suppress_tokens=self._unused,
                **rest,
            )
        except TypeError as error:
            raise ConfigError(f"generation_kwargs of a task: {error}; see SamplingParams for what there is") from error

    def _text(self, result: Any) -> str:
        (sample,) = result.samples
        text = "".join(text_pieces(sample.tokens, self.tokenizer, after=result.prompt))
        return text.partition(sample.stopped_by)[0] if isinstance(sample.stopped_by, str) else text


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    run: Callable[[], None] = cli_evaluate
    run()
