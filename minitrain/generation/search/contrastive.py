"""Contrastive search: likely tokens that do not repeat what was said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend.arrays import Array, to_device, to_numpy
from ...errors import ConfigError
from ...models.common.decoder import Decoder
from ...nn.attention.past import KeyValues
from ...ops.linear.linear import linear_forward
from ..choosing import float_rows
from ..context import context_start
from ..sessions.choice import check_memory, computes_like_a_decoder
from ..sessions.session import Tokens
from .distribution import log_probabilities
from .prompts import Prompts, check_new_tokens, read_prompts, read_stop_tokens


def contrastive_generate(
    model: Any,
    prompts: Prompts,
    *,
    max_new_tokens: int,
    top_k: int = 4,
    penalty_alpha: float = 0.6,
    stop_token_ids: Iterable[int] = (),
    device: str = "cpu",
) -> list[Tokens]:
    """Continue each prompt by contrastive search.

    Each step takes one of the ``top_k`` most likely tokens: the ``v`` with the largest
    ``(1 - alpha) * p(v) - alpha * max_j cos(h_v, h_j)``. Here ``h_v`` is the model's last hidden state after ``v``, and
    ``h_j`` those of all tokens before it in the context. So a token loses if the model is in a state that it was
    in before, which is how repetition begins. Of equal scores, the more likely token wins, then the lower id. Source:
    Su et al., 2022, "A Contrastive Framework for Neural Text Generation".

    There is no random choice. Scores are float64. Each prompt is computed alone, so it does not depend on the others.
    Keys and values are kept: a step runs the model once, on the ``top_k`` tokens side by side.

    Args:
        model: a decoder of minitrain, such as ``GPT`` or ``Llama``. Sessions and other models do not give their hidden
            states.
        prompts: (B, T0) integers, or B rows of integers of any lengths, at least one token each.
        max_new_tokens: how many tokens to append, 1 or more.
        top_k: how many of the most likely tokens to compare, 1 or more; 1 is greedy decoding.
        penalty_alpha: from 0 to 1, the weight of the penalty; 0 is greedy decoding.
        stop_token_ids: a row ends with the first of these tokens.
        device: the model's device.

    Returns:
        For each prompt its new tokens (n,) int32.

    Raises:
        ConfigError: if a setting is out of range, the model has no hidden states to give, or the keys and values of
            ``top_k`` sequences take more than the memory that is free.
        ShapeError: if a prompt is empty or not a row of integers.
        TokenError: if a token is outside the model's vocabulary.
        NonFiniteError: if the model returns NaN or infinity.
    """
    check_new_tokens(max_new_tokens)
    if top_k < 1:
        raise ConfigError(f"top_k={top_k} must be 1 or more")
    if not 0 <= penalty_alpha <= 1:
        raise ConfigError(f"penalty_alpha={penalty_alpha} must be from 0 to 1; 0 is greedy decoding")
    if not computes_like_a_decoder(model):
        raise ConfigError(
            f"contrastive search needs the hidden states of a model, which {type(model).__name__} does not give: pass "
            "a decoder such as GPT or Llama, whose forward is the library's"
        )
    stops, texts = read_stop_tokens(stop_token_ids), read_prompts(prompts)
    k = min(top_k, model.config.vocab_size)
    check_memory(model, k + 1, device, f"top_k = {k}")
    branches = _Branches(model, k, device)
    results = []
    for prompt in texts:
        text = prompt
        logits = branches.begin(text)  # (V,)
        while len(text) - len(prompt) < max_new_tokens:
            probabilities = np.exp(log_probabilities(logits[None])[0])  # (V,)
            candidates = np.argsort(-probabilities, kind="stable")[:k].astype(np.int32)
            candidates = candidates[probabilities[candidates] > 0]
            following, nearest = branches.try_each(text, candidates)
            score = (1 - penalty_alpha) * probabilities[candidates] - penalty_alpha * nearest
            best = int(score.argmax())
            branches.keep(best)
            text = np.append(text, candidates[best])
            logits = following[best]
            if int(candidates[best]) in stops:
                break
        results.append(text[len(prompt) :])
    return results


class _Branches:
    """A text with several next tokens: the keys and values of ``k`` sequences that differ in their last token alone."""

    _start: int  # of the context
    _length: int  # how many of its tokens were chosen
    _last: Array  # (k, C) the states after the candidates, of length 1

    def __init__(self, model: Decoder, k: int, device: str) -> None:
        self.model, self.k, self.device = model, k, device
        self._longest: int = model.config.block_size
        self._one = model.new_past()
        self._past = model.new_past(k)
        self._directions = np.empty((self._longest, model.config.n_embd))  # the states of the context, of length 1

    def begin(self, text: Tokens) -> Array:
        """Take in the context of a text, one token or more, and return the logits (V,) of what comes next."""
        self._start = context_start(len(text), self._longest)
        return self._take_in(text[self._start :])[0]  # type: ignore[no-any-return]

    def try_each(self, text: Tokens, candidates: Tokens) -> tuple[Array, Array]:
        """Put each of the candidates (n,), n at most k, after the text.

        Returns:
            The logits (n, V) of what comes next, and the largest cosine (n,) of the state after a candidate with one
            before it; 0 if there is none.
        """
        start = context_start(len(text) + 1, self._longest)
        if start != self._start:
            self._start = start
            self._take_in(text[start:])
        n, directions = len(candidates), self._directions[: self._length]
        padded = np.resize(candidates, self.k)  # there are k sequences, needed or not
        hidden, logits = self._forward(padded[:, None], self._past)
        self._last = _normalized(hidden[:, 0])
        if not self._length:
            return logits[:n], np.zeros(n)
        return logits[:n], (directions @ self._last[:n].T).max(axis=0)

    def keep(self, best: int) -> None:
        """Choose a candidate: all sequences go on from it."""
        for kept in self._past:
            kept.keep_last(best)
        self._directions[self._length] = self._last[best]
        self._length += 1

    def _take_in(self, context: Tokens) -> Array:
        """Begin again with these tokens (T,), and return the logits (1, V) of what comes next; (0, V) after none."""
        for kept in (*self._one, *self._past):
            kept.cut(0)
        self._length = 0
        logits = np.empty((0, self.model.config.vocab_size), np.float32)
        while self._length < len(context):  # as many at once as a window has room for
            end = self._length + min(kept.room() for kept in self._one)
            hidden, logits = self._forward(context[None, self._length : end], self._one)
            self._directions[self._length : self._length + hidden.shape[1]] = _normalized(hidden[0])
            self._length += hidden.shape[1]
        for kept, one in zip(self._past, self._one, strict=True):
            kept.copy_from(one)
        return logits

    def _forward(self, tokens: Tokens, past: list[KeyValues]) -> tuple[Array, Array]:
        """The hidden states (n, T, C) of tokens (n, T) in float64, and the logits (n, V) after the last; on the CPU."""
        hidden, _ = self.model.forward_hidden(to_device(np.ascontiguousarray(tokens), self.device), past=past)
        logits, _ = linear_forward(hidden[:, -1], self.model.head.weight.data)
        return to_numpy(hidden).astype(np.float64), float_rows(logits)


def _normalized(states: Array) -> Array:
    """States (n, C) of length 1, or 0."""
    length = np.linalg.norm(states, axis=-1, keepdims=True)  # (n, 1)
    return states / np.where(length > 0, length, 1)
