"""Which session a model gets, and how much memory it may take."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.backend.precision import use_precision
from minitrain.errors import ConfigError
from minitrain.generation import UncachedSession, session_for
from minitrain.generation.sessions import choice
from minitrain.generation.sessions.cached import CachedSession
from minitrain.generation.sessions.choice import cache_bytes, open_session
from minitrain.generation.sessions.graphed import GraphedSession
from minitrain.generation.sessions.kernel import KernelSession
from minitrain.generation.sessions.packed import why_not
from minitrain.generation.sessions.seq2seq import Seq2SeqSession
from minitrain.generation.sessions.weights import with_weights
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig, Seq2Seq, Seq2SeqConfig
from minitrain.nn import add_lora
from minitrain.nn.attention.past import rows_needed
from minitrain.testing.cuda.fake import emulated_device
from tests.helpers.own_product import only_with_own_product

pytestmark = pytest.mark.usefixtures("compiled_kernels")
VOCABULARY = 23
SMALL = GPTConfig(VOCABULARY, n_layer=1)


class Own:
    """A model of one's own."""

    config = dataclasses.replace(SMALL)
    forward = GPT(SMALL).forward


@only_with_own_product
def test_which_session_a_model_gets() -> None:
    """Kernels where they fit, layers where they do not, the plain forward for models of one's own."""
    assert isinstance(session_for(GPT(SMALL)), KernelSession)
    assert isinstance(session_for(Llama(LlamaConfig(VOCABULARY, n_layer=1))), KernelSession)
    assert isinstance(session_for(GPT(SMALL, dtype=np.float64)), CachedSession)
    adapted = GPT(SMALL)
    add_lora(adapted, rank=2, alpha=4.0)
    assert "layers" in str(why_not(adapted))
    assert isinstance(session_for(adapted), CachedSession)
    assert isinstance(session_for(Seq2Seq(Seq2SeqConfig(VOCABULARY))), Seq2SeqSession)
    with use_precision("bfloat16"):
        assert isinstance(session_for(GPT(SMALL)), CachedSession)
    assert isinstance(session_for(Own()), UncachedSession)


@pytest.mark.parametrize("method", ["forward", "forward_hidden"])
def test_a_decoder_that_computes_something_else_does_so(method: str) -> None:
    """Its own forward runs, with rounded weights too."""

    def twice(self: Any, tokens: Any, *, key: Any = None) -> Any:
        x, cache = getattr(GPT, method)(self, tokens, key=key)
        return 2 * x, cache

    model = type("Twice", (GPT,), {method: twice})(SMALL)
    for weights in ("float32", "int8"):
        session: Any = session_for(model, 2, device="cpu", weights=weights)
        assert (type(session), session.slots, session.device) == (UncachedSession, 2, "cpu")
        text = np.arange(5, dtype=np.int32)
        expected = 2 * GPT.forward(with_weights(model, weights), text[None])[0][:, -1]
        if method == "forward_hidden":  # which that has doubled already
            expected = expected / 2
        assert np.array_equal(session.extend({0: text}), expected)


def test_a_session_is_opened_or_already_there() -> None:
    session: Any = open_session(Own(), 2, device="cuda")
    assert (type(session), session.slots, session.device) == (UncachedSession, 2, "cuda")
    assert open_session(session, 3) is session


def test_each_session_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots and device. On another device, the memory of this one is not asked for."""
    monkeypatch.setattr(choice, "available_memory", lambda: 1)
    for model, kind in (
        (Own(), UncachedSession),
        (Seq2Seq(Seq2SeqConfig(VOCABULARY)), Seq2SeqSession),
        (GPT(SMALL), GraphedSession),
    ):
        session: Any = session_for(model, 2, device="cuda")
        assert isinstance(session, kind)
        assert (session.model, session.slots, session.device) == (model, 2, "cuda")
    assert session_for(Own()).slots == 1
    monkeypatch.setattr(choice, "available_memory", lambda: None)  # not known
    double = GPT(SMALL, dtype=np.float64)
    rounded: Any = session_for(double, 3, weights="int8")
    assert (type(rounded), rounded.slots, rounded.device) == (CachedSession, 3, "cpu")
    weight = double.head.weight.data
    assert 0 < abs(rounded.model.head.weight.data - weight).max() <= abs(weight).max() / 127


def test_on_a_gpu_a_model_gets_a_graph_unless_its_keys_have_places() -> None:
    with emulated_device(), use_kernels("reference"):
        found = session_for(GPT(SMALL).to("cuda"), 2, device="cuda")
        assert isinstance(found, GraphedSession)
        assert (found.slots, found.device, found._plain_if_refused) == (2, "cuda", True)
        for config in (dataclasses.replace(SMALL, positions="alibi"), LlamaConfig(VOCABULARY, n_layer=1, window=3)):
            model = (GPT if isinstance(config, GPTConfig) else Llama)(config).to("cuda")
            assert isinstance(session_for(model, device="cuda"), CachedSession)


@only_with_own_product
def test_the_kernel_session_gets_its_settings() -> None:
    """Slots and weights."""
    session = session_for(GPT(SMALL), 2, weights="bfloat16")
    assert isinstance(session, KernelSession)
    assert (session.slots, session.packed.weights) == (2, "bfloat16")


def test_what_is_refused() -> None:
    """No slot, other weights, and weights of what is no decoder."""
    for model in (GPT(SMALL), Own()):
        with pytest.raises(ConfigError, match="slots = 0"):
            session_for(model, 0)
        with pytest.raises(ConfigError, match="did you mean 'int8'"):
            session_for(model, weights="int9")
    for other in (Own(), Seq2Seq(Seq2SeqConfig(VOCABULARY))):
        with pytest.raises(ConfigError, match="weights='int8': only decoders"):
            session_for(other, weights="int8")


def test_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much there would be, how much is free, and how many sequences fit."""
    model = GPT(GPTConfig(VOCABULARY, block_size=100, n_layer=2, n_head=4, n_embd=64))
    one = cache_bytes(model)
    assert cache_bytes(model, 3) == 3 * one == 3 * 2 * 2 * 100 * 64 * 4

    def free(memory: int) -> None:
        monkeypatch.setattr(choice, "available_memory", lambda: memory)

    free(10 * one)
    with pytest.raises(ConfigError, match=r"slots = 9: .* of 9 sequences of 100 tokens take .*; at most 8 of them fit"):
        session_for(model, 9)
    session_for(model, 8)
    free(one)
    says = r"take 102 kB, and 102 kB of memory are free; use a model with a smaller block_size$"
    with pytest.raises(ConfigError, match=says):
        session_for(model)
    monkeypatch.setattr(choice, "SHARE", 0.5)
    free(2 * one)
    session_for(model)  # exactly as much as it may
    free(2 * one - 2)
    with pytest.raises(ConfigError):
        session_for(model)


def test_bytes_of_all_kinds() -> None:
    """Keys and values of each layer, in the type of the model's numbers."""
    llama = LlamaConfig(VOCABULARY, block_size=1000, n_layer=3, n_head=4, n_kv_head=2, n_embd=32, window=5)
    assert cache_bytes(Llama(llama), 2) == 2 * 3 * 2 * rows_needed(1000, 5) * 16 * 4
    double = GPT(GPTConfig(VOCABULARY, block_size=9, n_layer=1, n_head=2, n_embd=8), dtype=np.float64)
    assert cache_bytes(double) == 2 * 9 * 8 * 8
    both = Seq2Seq(Seq2SeqConfig(VOCABULARY, block_size=9, n_embd=8, n_head=2))
    assert cache_bytes(both, 3) == 3 * len(both.decoder) * 2 * (2 * 9 * 8 * 4)


def test_a_window_bounds_the_memory() -> None:
    """A sliding window keeps its own keys and some room, whatever the length of the text."""
    short, long = (Llama(LlamaConfig(VOCABULARY, block_size=n, window=32, n_layer=1)) for n in (1000, 100_000))
    assert cache_bytes(short) == cache_bytes(long)
