"""Updates that read their numbers from an array, as one in a graph does, are the plain updates."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.distributed import Group, run_ranks
from minitrain.models import GPT, GPTConfig
from minitrain.nn import assign_groups, pack
from minitrain.nn.core.groups import ParamGroup
from minitrain.optim import SGD, Adafactor, Adam, AdamW, Lion, Muon, NAdam
from minitrain.optim.optimizer import NUMBERS, Optimizer
from minitrain.optim.rules.adam import adam_numbers

KINDS: dict[str, Any] = {
    "adam": partial(Adam, weight_decay=0.1),
    "adamw": partial(AdamW, betas=(0.8, 0.95)),
    "nadam": NAdam,
    "lion": partial(Lion, weight_decay=0.2),
    "muon": Muon,
    "muon as adamw": partial(Muon, adjust_lr_fn="match_rms_adamw", adamw_lr_scale=0.3),
}


def model() -> GPT:
    """Two groups with rates of their own, one with a decay of its own, and the rest."""
    made = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
    assign_groups(made, ParamGroup("*norm*", lr_scale=0.5), ParamGroup("*feed*", weight_decay=0.7, lr_scale=2.0))
    pack(made)
    return made


def content(optimizer: Optimizer, of: GPT) -> list[bytes]:
    return [x.tobytes() for x in (*of.state_dict().values(), *optimizer.state_dict()["moments"].values())]


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_update_has_the_bytes_of_the_plain_one(kind: str) -> None:
    """Over several steps, with another rate in each, and a plain step in between."""
    models = model(), model()
    plain, late = (KINDS[kind](one, lr=0.1) for one in models)
    rng = np.random.default_rng(0)
    with use_kernels("reference"):
        for step in range(5):
            for optimizer in (plain, late):
                optimizer.set_lr(0.1 / (step + 1))
            for pair in zip(*(one.parameters() for one in models), strict=True):
                gradient = rng.standard_normal(pair[0].data.shape)
                for parameter in pair:
                    parameter.grad[...] = gradient
            plain.step(0.25)
            if step == 2:
                late.step(0.25)
                continue
            numbers = late.count_late()
            assert len(numbers) == NUMBERS * len(late._spans)
            assert late.steps == plain.steps
            late.lr = 1e9  # not looked at any more
            with late.reading(np.array(numbers)):
                late.step(0.25)
            assert late.steps == plain.steps == step + 1
            assert content(late, models[1]) == content(plain, models[0])


def test_numbers_are_those_of_each_span() -> None:
    made = model()
    optimizer = AdamW(made, lr=0.1, weight_decay=0.01, betas=(0.9, 0.99))
    numbers = np.array(optimizer.count_late()).reshape(-1, NUMBERS)
    for row, span in zip(numbers, optimizer._spans, strict=True):
        lr, decay = 0.1 * span.group.lr_scale, span.weight_decay(0.01)
        np.testing.assert_allclose(row, [lr / (1 - 0.9), 0, 1 - lr * decay, np.sqrt(1 - 0.99)], rtol=1e-14)
    assert len({tuple(row) for row in numbers}) > 2
    assert adam_numbers(1, 0.1, 0.9, 0.99, 0.0, (0.5, 0.25))[:2] == (0.05, 0.025)
    coupled = np.array(Adam(made, lr=0.1, weight_decay=0.5).count_late()).reshape(-1, NUMBERS)
    assert (coupled[:, 2] == 1).all()  # its decay is a part of the gradient
    lion = np.array(Lion(made, lr=0.1).count_late()).reshape(-1, NUMBERS)
    assert (lion[:, 2:] == 0).all()


def test_after_an_error_the_next_update_is_a_plain_one() -> None:
    made = model()
    optimizer = AdamW(made, lr=0.1)
    numbers = np.array(optimizer.count_late())
    for parameter in made.parameters():
        parameter.grad[...] = 1.0
    with use_kernels("reference"):
        with pytest.raises(KeyError), optimizer.reading(numbers):
            raise KeyError
        optimizer.step()
    assert optimizer.steps == 2


class OtherUpdate(AdamW):
    """Its numbers are those of another update."""

    def update(self, weight: Any, grad: Any, moments: Any, **rates: Any) -> None:
        weight -= rates["lr"] * grad


class OtherStep(AdamW):
    """It does something of its own in each step."""

    def step(self, grad_scale: Any = 1.0) -> None:
        super().step(grad_scale)


class Both(OtherUpdate):
    """It names the numbers of its own update."""

    def update(self, weight: Any, grad: Any, moments: Any, **rates: Any) -> None:
        super().update(weight, grad, moments, **rates)

    def numbers(self, moments: Any, *, lr: float, weight_decay: float) -> tuple[float, ...]:
        return (lr,)


@pytest.mark.parametrize(
    ("kind", "can"),
    [
        (AdamW, True),
        (Lion, True),
        (Muon, True),
        (SGD, False),
        (Adafactor, False),
        (OtherUpdate, False),
        (OtherStep, False),
        (Both, True),
    ],
)
def test_who_can_be_in_a_graph(kind: type[Optimizer], can: bool) -> None:
    assert kind(model(), lr=0.1).capturable is can


def test_shared_moments_cannot() -> None:
    def shared(group: Group) -> bool:
        optimizer = AdamW(model(), lr=0.1)
        optimizer.share(group)
        return optimizer.capturable

    assert run_ranks(2, shared) == [False, False]


def test_a_graph_repeats_all_settings_but_rate_and_count() -> None:
    optimizer = AdamW(model(), lr=0.1, betas=(0.5, 0.25), eps=1e-3, weight_decay=0.125)
    names = {"_moment_names": ("exp_avg", "exp_avg_sq")}
    assert optimizer.frozen_settings() == {"betas": (0.5, 0.25), "eps": 1e-3, "weight_decay": 0.125} | names
    muon = Muon(model(), lr=0.1)
    assert {"nesterov": True, "ns_steps": 5, "adjust_lr_fn": "original"}.items() <= muon.frozen_settings().items()


def test_an_update_writes_to_weights_and_moments() -> None:
    optimizer = AdamW(model(), lr=0.1)
    found = [id(x) for x in optimizer.memory()]
    expected = [(span.data, moments["exp_avg"], moments["exp_avg_sq"]) for span, moments in optimizer._pairs()]
    assert found == [id(x) for arrays in expected for x in arrays]
