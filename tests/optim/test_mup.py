"""Maximal update parametrization: the table of the paper; activations and best rates do not move with the width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.data import Batch
from minitrain.errors import ConfigError
from minitrain.models import GPT, Encoder, EncoderConfig, GPTConfig, Llama, LlamaConfig, build_model
from minitrain.nn import Linear, Module, pack
from minitrain.optim import AdamW, use_mup
from minitrain.optim.mup import Role, base_config, mup_groups, width_roles
from minitrain.probes import check_coordinates, plot_coordinates
from minitrain.training.loop import train_step

V, T, HEAD = 16, 8, 8


def gpt(width: int, *, mup: bool, seed: int = 0, **changes: Any) -> Any:
    config = GPTConfig(V, T, n_layer=2, n_head=width // HEAD, n_embd=width, tie_weights=False, **changes)
    model = build_model(config, seed=seed)
    if mup:
        use_mup(model, 16)
    pack(model)
    return model


def llama(width: int, *, mup: bool, seed: int = 0) -> Any:
    config = LlamaConfig(V, T, n_layer=2, n_head=width // HEAD, n_embd=width, n_hidden=2 * width)
    model = build_model(config, seed=seed)
    if mup:
        use_mup(model, 16)
    pack(model)
    return model


def batches(count: int, *, seed: int = 0, rows: int = 16) -> list[Batch]:
    """Sequences that a hidden permutation continues, now and then disturbed."""
    rng = np.random.default_rng(seed)
    follows = np.random.default_rng(99).permutation(V)
    made = []
    for _ in range(count):
        ids = np.empty((rows, T + 1), np.int32)
        ids[:, 0] = rng.integers(0, V, rows)
        for t in range(T):
            ids[:, t + 1] = np.where(rng.random(rows) < 0.9, follows[ids[:, t]], rng.integers(0, V, rows))
        made.append(Batch(ids[:, :-1].copy(), ids[:, 1:].copy()))
    return made


@pytest.mark.parametrize("kind", [GPT, Llama])
def test_weights_and_rates_are_those_of_the_table(kind: type[Any]) -> None:
    make = gpt if kind is GPT else llama
    usual, ours = make(64, mup=False), make(64, mup=True)  # four times the base width
    plain = dict(usual.named_parameters())
    for path, parameter in ours.named_parameters():
        start, group = plain[path].data, parameter.group
        if path == "head.weight":
            assert not parameter.data.any() and group.lr_scale == 1 / 4
        elif parameter.data.ndim == 2 and "emb" not in path:
            np.testing.assert_allclose(parameter.data, start / 2, rtol=1e-6)
            assert group.lr_scale == 1 / 4
        else:
            np.testing.assert_array_equal(parameter.data, start)
            assert group.lr_scale == 1


def test_at_the_base_width_all_is_as_usual_but_for_the_head() -> None:
    usual, ours = gpt(16, mup=False), gpt(16, mup=True)
    for (path, one), two in zip(usual.named_parameters(), ours.parameters(), strict=True):
        assert two.group.lr_scale == 1
        np.testing.assert_array_equal(two.data, 0 * one.data if path == "head.weight" else one.data)


class Square(Module):
    """A layer with two outputs that is not called head, and one whose inputs do not grow."""

    def __init__(self, width: int) -> None:
        rng = np.random.default_rng(0)
        self.inside = Linear(width, width, rng, std=0.1)
        self.out = Linear(width, 2, rng, std=0.1)
        self.into = Linear(3, width, rng, std=0.1)
        self.again = self.inside  # a parameter has one name


def test_a_layer_whose_inputs_alone_grow_is_an_output() -> None:
    roles = width_roles(Square(12), Square(4))
    assert roles == {
        "inside.weight": Role("hidden", 3.0),
        "out.weight": Role("output", 3.0),
        "into.weight": Role("hidden", 1.0),
    }


def test_each_growth_has_a_group_of_its_own_and_none_stays_in_the_usual_one() -> None:
    roles = {"a": Role("hidden", 2.0), "b": Role("output", 4.0), "c": Role("hidden", 1.0), "d": Role("hidden", 2.0)}
    parameter = Square(4).parameters()[0]
    for decay in (0.0, 0.5):
        groups = mup_groups(roles, weight_decay=decay)
        assert [(group.lr_scale, group.weight_decay) for group in groups] == [
            (0.5, 2 * decay if decay else None),
            (0.25, 4 * decay if decay else None),
        ]
        found = [[path for path in "abcde" if group.match(path, parameter)] for group in groups]  # type: ignore[operator]
        assert found == [["a", "d"], ["b"]]


@pytest.mark.parametrize("heads", [3, 1])
def test_heads_must_be_whole(heads: int) -> None:
    """Of three heads, one and a half would be left, and of one, half."""
    config = GPTConfig(V, T, n_layer=1, n_head=heads, n_embd=96, tie_weights=False)
    with pytest.raises(ConfigError, match=f"must be a whole number; it is {heads} \\* 48 / 96"):
        base_config(config, 48)
    assert base_config(config, 96) == config


def test_decay_is_as_strong_at_every_width() -> None:
    shrunk = []
    for width in (16, 64):
        config = GPTConfig(V, T, n_layer=1, n_head=width // HEAD, n_embd=width, tie_weights=False)
        model = build_model(config)
        use_mup(model, 16, weight_decay=0.1)
        optimizer = AdamW(model, lr=0.5, weight_decay=0.1)
        model.zero_grad()
        weight = model.blocks[0].attention.qkv.weight
        before = weight.data.copy()
        weight.grad_buffer()[...] = 0
        weight._fresh = False
        optimizer.step()
        shrunk.append(float((weight.data / before).mean()))
    assert shrunk == pytest.approx([0.95, 0.95], rel=1e-5)


@pytest.mark.parametrize("make", [gpt, llama])
def test_activations_move_by_the_same_at_every_width(make: Any, tmp_path: Path) -> None:
    """The coordinate check: with mup no slope is far from 0; without, the logits move faster in wider models."""
    data, widths = batches(4), (16, 32, 64, 128)
    checks = {
        name: check_coordinates(lambda width, mup=mup: make(width, mup=mup), widths, data, lr=0.01)
        for name, mup in (("standard", False), ("mup", True))
    }
    standard, ours = (check.slopes() for check in checks.values())
    assert max(map(abs, ours.values())) < 0.3, ours
    assert standard["logits"] > 0.45 and abs(ours["logits"]) < 0.2
    assert sum(map(abs, standard.values())) > 2 * sum(map(abs, ours.values()))
    picture = plot_coordinates(checks, tmp_path / "coordinates.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "logits" in checks["mup"].describe()


RATES = [2.0**power for power in range(-11, -3)]


def loss_after(width: int, lr: float, *, mup: bool, seed: int) -> float:
    model = gpt(width, mup=mup, seed=seed)
    optimizer, losses = AdamW(model, lr=lr, weight_decay=0.0), []
    for batch in batches(30, seed=seed):
        update = train_step(model, optimizer, [(0, batch)], lr=lr)
        losses.append(update.loss / update.tokens)
    return float(np.mean(losses[-10:]))


def best_rate(width: int, *, mup: bool) -> float:
    """The vertex, in powers of two, of the loss over the rates: the mean of two seeds, weighted to its lowest part."""
    losses = np.array([np.mean([loss_after(width, lr, mup=mup, seed=seed) for seed in (0, 1)]) for lr in RATES])
    lowest = int(losses.argmin())
    around = slice(max(0, lowest - 1), lowest + 2)
    if len(losses[around]) < 3:
        return float(np.log2(RATES[lowest]))
    a, b, _ = np.polyfit(np.log2(RATES)[around], losses[around], 2)
    return float(-b / (2 * a))


@pytest.mark.slow
def test_the_best_rate_does_not_move_with_the_width() -> None:
    ours = best_rate(256, mup=True) - best_rate(16, mup=True)
    usual = best_rate(256, mup=False) - best_rate(16, mup=False)
    assert abs(ours) < 1.0, "within a factor of two"
    assert usual < -1.5, "the standard one falls by a factor of three or more"


MISTAKES = {
    "tied": (lambda: use_mup(build_model(GPTConfig(V, n_embd=64)), 16), "tie_weights=false"),
    "no decoder": (lambda: use_mup(Encoder(EncoderConfig(V, 2)), 16), "mup is for GPT and Llama"),
    "heads": (
        lambda: use_mup(build_model(GPTConfig(V, n_embd=64, n_head=2, tie_weights=False)), 16),
        r"n_head \* base width / n_embd must be a whole number; it is 2 \* 16 / 64",
    ),
    "one width": (lambda: check_coordinates(lambda width: None, [16], batches(1), lr=0.1), "two widths"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name: str) -> None:
    call, says = MISTAKES[name]
    with pytest.raises(ConfigError, match=says):
        call()
