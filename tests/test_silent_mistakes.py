"""Mistakes after which nothing would be learnt, and nobody would say so: they are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain.errors import ConfigError, MinitrainError
from minitrain.losses import CrossEntropyLoss
from minitrain.nn import Linear, Module, Parameter, add_lora, freeze, merge_lora, pack
from minitrain.optim import AdamW, ExponentialAverage, Muon
from tests.helpers.model_zoo import KINDS


def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def gpt() -> Any:
    return KINDS["gpt"].build()


def unpack(model: Any) -> None:
    """Each parameter in memory of its own, as moving a model to another device leaves it."""
    for parameter in model.parameters():
        parameter.data = parameter.data.copy()


@pytest.mark.parametrize("make", [AdamW, Muon, ExponentialAverage])
@pytest.mark.parametrize("late", [pack, unpack])
def test_weights_that_moved_after_the_optimizer_was_made(make, late):
    """It would go on with the old arrays, and the model would learn nothing."""
    model = gpt()
    owner = make(model)
    late(model)
    message = rf"{make.__name__} was made before the weights .* moved to other memory.*make it after pack\(model\)"
    with pytest.raises(MinitrainError, match=message):
        owner.update() if make is ExponentialAverage else owner.step()


def test_adapters_merged_under_an_optimizer():
    model = gpt()
    add_lora(model, 2, 4.0)
    pack(model)
    optimizer = AdamW(model)
    merge_lora(model)
    with pytest.raises(MinitrainError, match="AdamW was made before the weights of the model moved"):
        optimizer.step()


class Hidden(Module):
    """Layers where nobody finds them."""

    def __init__(self, layers: Any) -> None:
        self.layers = layers


@pytest.mark.parametrize("make", [lambda layer: (layer, layer), lambda layer: {"a": layer}], ids=["tuple", "dict"])
def test_layers_that_would_not_be_trained(make):
    """They would keep their initial weights, and nobody would say so."""
    message = r"Hidden.layers is a (tuple|dict) with a Linear in it; put layers and parameters into attributes or lists"
    with pytest.raises(ConfigError, match=message):
        AdamW(Hidden(make(Linear(3, 4, draw()))))


def test_lists_of_layers_and_parameters_are_found():
    model = Hidden([Linear(3, 4, draw(), bias=False), Parameter(np.zeros(2)), "neither"])
    assert [path for path, _ in model.named_parameters()] == ["layers.0.weight", "layers.1"]
    assert model.parameter_count() == 14


def trainer(**changes: Any) -> Any:
    model = Linear(3, 2, draw())
    batch = (np.zeros((2, 3), np.float32), np.ones(2, int))
    settings = {"model": model, "train_data": [batch], "loss_fn": CrossEntropyLoss(), "progress": False}
    return mt.Trainer(**(settings | changes))


def test_a_trainer_with_an_optimizer_for_another_model():
    with pytest.raises(ConfigError, match=r"the optimizer was made for another model and would not train this one"):
        trainer(optimizer=AdamW(Linear(3, 2, draw())))


def test_a_trainer_with_an_optimizer_for_the_model_and_more():
    model = Linear(3, 2, draw())
    assert trainer(model=model, optimizer=AdamW(Hidden([model, Linear(3, 2, draw())]))).model is model


def test_a_trainer_with_a_class_for_a_loss_and_a_dictionary_for_a_configuration():
    with pytest.raises(ConfigError, match=r"loss_fn is the class CrossEntropyLoss: give an object of it"):
        trainer(loss_fn=CrossEntropyLoss)
    with pytest.raises(ConfigError, match=r"config is a dict: give a TrainingConfig\(epochs=..., ...\)"):
        trainer(config={"epochs": 1})


def test_nothing_to_train():
    model = gpt()
    freeze(model, "*")
    with pytest.raises(ConfigError, match=r"AdamW: the model has no trainable parameter; is all of it frozen\?"):
        AdamW(model)
