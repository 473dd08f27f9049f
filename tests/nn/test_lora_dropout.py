"""Dropout of adapters inside models, which hand their keys on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.nn import LoRALinear, Module, add_lora, lora_state_dict
from minitrain.nn.adapters import lora
from minitrain.ops import dropout_forward
from minitrain.random import random_bits
from minitrain.testing import CheckSettings, check_module
from tests.helpers.model_checks import KEY, LossOf, assert_close, gradients_of, stir
from tests.helpers.model_zoo import KINDS, rows

EVERYWHERE = ("*attention*", "*cross*", "*feed_forward*", "head", "layers*")
DROPPING = {name: kind for name, kind in KINDS.items() if name in ("gpt", "llama", "encoder", "seq2seq", "mlp")}
dropping = pytest.mark.parametrize("kind", DROPPING.values(), ids=DROPPING)


def dropping_model(kind: Any, dropout: float) -> Module:
    targets = EVERYWHERE if kind in (KINDS["encoder"], KINDS["mlp"]) else EVERYWHERE[:3]  # the others' head takes none
    model = stir(kind.build(dtype=np.float64))
    add_lora(model, 2, 4.0, targets=targets, dropout=dropout)
    rng = np.random.default_rng(5)
    for array in lora_state_dict(model).values():  # as after some training
        array[...] = 0.3 * rng.standard_normal(array.shape)
    return model


@dropping
def test_adapters_drop_with_a_key_alone(kind):
    batch = kind.batch(dtype=np.float64)
    model, plain = dropping_model(kind, 0.5), dropping_model(kind, 0.0)
    assert model.loss(batch)[0].total == plain.loss(batch)[0].total == plain.loss(batch, key=KEY)[0].total
    assert model.loss(batch, key=KEY)[0].total != plain.loss(batch)[0].total


@dropping
def test_gradients_with_dropping_adapters(kind):
    """Against finite differences; and of any split of the batch, since a mask belongs to a sample."""
    model, batch = dropping_model(kind, 0.4), kind.batch(4, dtype=np.float64)
    check_module(LossOf(model, batch), settings=CheckSettings(elementwise=0), key=KEY)
    parts = [rows(batch, 0, 1), rows(batch, 1, 4)]
    assert_close(gradients_of(model, parts, key=KEY), gradients_of(model, [batch], key=KEY), 1e-10)


@dropping
def test_every_adapter_is_given_a_key_and_has_a_mask_of_its_own(kind, monkeypatch):
    masks = []

    def watched(x: Any, *, p: float, key: Any) -> Any:
        masks.append(random_bits(key, (50,)))
        return dropout_forward(x, p=p, key=key)

    monkeypatch.setattr(lora, "dropout_forward", watched)
    model = dropping_model(kind, 0.5)
    model.loss(kind.batch(dtype=np.float64), key=KEY)
    adapters = [module for module in model.modules() if isinstance(module, LoRALinear)]
    assert len(masks) == len(adapters) >= 2
    assert len({mask.tobytes() for mask in masks}) == len(masks)
