"""Weights that version 0.1 saved load into today's models: the same names, shapes, and initial values for a seed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.helpers.model_checks import KEY
from tests.helpers.model_zoo import KINDS
from tests.helpers.places import FIXTURES

# Written with version 0.1: names and shapes of the weights, and the loss of a new model with seed 3 on `kind.batch()`.
SAVED: dict[str, Any] = json.loads((FIXTURES / "weights_0_1.json").read_text())


@pytest.mark.parametrize("name", SAVED)
def test_names_and_shapes_are_those_of_version_0_1(name: str) -> None:
    model = KINDS[name].build(seed=3)
    assert {path: list(array.shape) for path, array in model.state_dict().items()} == SAVED[name]["weights"]
    rng = np.random.default_rng(0)
    model.load_state_dict({path: rng.standard_normal(shape) for path, shape in SAVED[name]["weights"].items()})


@pytest.mark.parametrize("name", SAVED)
def test_a_seed_gives_the_model_of_version_0_1(name: str) -> None:
    # Version 0.1 smoothed labels in every call; today a key says that a call is training. No model here drops anything.
    loss, _ = KINDS[name].build(seed=3).loss(KINDS[name].batch(), key=KEY)
    assert float(loss.total) == pytest.approx(SAVED[name]["loss"], rel=1e-5)


def test_every_kind_of_version_0_1_is_here() -> None:
    assert SAVED.keys() <= KINDS.keys()
