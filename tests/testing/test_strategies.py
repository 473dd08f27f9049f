"""The Hypothesis strategies for configurations, lengths and padding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.models import GPTConfig
from minitrain.testing import strategies as mt

FIRST = settings(phases=[Phase.generate])  # the first that is found, not the smallest


@settings(max_examples=50)
@given(mt.configs(GPTConfig, vocab_size=st.just(11), n_embd=st.sampled_from([4, 8, 12]), dropout=st.just(0.25)))
def test_configs_are_valid_and_keep_to_what_was_asked(config):
    assert (config.vocab_size, config.dropout, config.gelu) == (11, 0.25, GPTConfig(5).gelu)
    assert config.n_embd in (4, 8, 12)
    assert config.n_embd % config.n_head == 0  # what its own checks demand
    assert config.n_kv_head is None or config.n_head % config.n_kv_head == 0


def test_configs_vary():
    drawn = []

    @settings(max_examples=60)
    @given(mt.configs(GPTConfig, n_embd=st.just(8), dropout=st.just(0.0)))
    def collect(config):
        drawn.append(config)

    collect()
    assert {config.bias for config in drawn} == {config.tie_weights for config in drawn} == {True, False}
    assert {type(config.n_kv_head) for config in drawn} == {int, type(None)}
    assert len({config.n_head for config in drawn}) > 1


@dataclass
class Shape:
    sizes: list[int]
    form: Literal["round", "square"] = "round"
    name: str = "it"
    half: int = 1
    extra: dict[str, int] = field(default_factory=dict)
    area: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.half % 2:
            raise ConfigError("half must be even")


@given(mt.configs(Shape, sizes=st.just([1])))
def test_types_choose_values(shape):
    assert (shape.name, shape.extra, shape.area) == ("it", {}, 0)
    assert shape.form in ("round", "square")
    assert shape.half in (2, 4)


def test_configs_that_cannot_be_drawn_are_told():
    with pytest.raises(ValueError, match="configs: give a strategy for sizes of Shape, which has no default"):
        mt.configs(Shape)
    with pytest.raises(ValueError, match="configs: Shape has no field size; it has sizes, form, name, half, extra"):
        mt.configs(Shape, size=st.just(1))


@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.integers(0, 1))
def test_lengths_lie_within_their_bounds(data, count, longest, shortest):
    drawn = data.draw(mt.lengths(count, longest, shortest=shortest, dtype=np.int32))
    assert (drawn.shape, drawn.dtype) == ((count,), np.int32)
    assert shortest <= drawn.min()
    assert drawn.max() <= longest


def test_lengths_reach_both_ends():
    for wanted in (0, 5):
        find(mt.lengths(2, 5), lambda drawn: wanted in drawn, settings=FIRST)  # noqa: B023  # raises if there is none


@given(mt.padded_tokens((3, 5), 6, pad=2, dtype=np.int32))
def test_padding_follows_the_tokens(tokens):
    assert (tokens.shape, tokens.dtype) == ((3, 5), np.int32)
    assert tokens.min() >= 0
    assert tokens.max() < 6
    padding = tokens == 2
    assert not padding[:, 0].any()
    assert (padding[:, 1:] >= padding[:, :-1]).all()  # once padded, padded to the end
