"""A model of one's own, as CONTRIBUTING shows it: one file and one line of registration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.models import GPTConfig, build_model
from minitrain.models.presets import MODELS
from minitrain.tasks.settings import model as model_settings
from minitrain.testing import CheckSettings, check_module
from minitrain.trainers import TransformerTrainer
from tests.helpers.model_checks import KEY, LossOf, assert_close, gradients_of, stir
from tests.helpers.model_zoo import Tokens, rows
from tests.helpers.places import ROOT

PAGE = ROOT / "CONTRIBUTING.md"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example, executed as a module of its own, and gone afterwards."""
    section = PAGE.read_text(encoding="utf-8").partition("## Add a model\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    module = ModuleType("own_model")
    monkeypatch.setitem(__import__("sys").modules, "own_model", module)  # a dataclass looks its module up
    before = list(MODELS)
    exec(compile(code, "CONTRIBUTING.md", "exec"), vars(module))
    yield module
    MODELS[:] = before
    model_settings.MODELS._registered.pop("gated_gpt", None)


def batch(B: int = 4) -> Tokens:
    inputs, targets = np.random.default_rng(0).integers(0, 9, (2, B, 6))
    return Tokens(inputs, targets)


def test_the_example_is_a_model_like_any_other(example: Any) -> None:
    config = example.GatedGPTConfig(9, 6, n_layer=2, n_head=2, n_embd=8, dropout=0.2, label_smoothing=0.1)
    model = stir(build_model(config, dtype=np.float64))
    check_module(LossOf(model, batch()), settings=CheckSettings(elementwise=0), key=KEY)
    whole = gradients_of(model, [batch()], key=KEY)
    parts = gradients_of(model, [rows(batch(), 0, 1), rows(batch(), 1, 4)], key=KEY)
    assert_close(parts, whole, 1e-10)


def test_the_example_trains(example: Any) -> None:
    model = build_model(example.GatedGPTConfig(9, 6, n_layer=1, n_head=2, n_embd=16))
    data = [tuple(batch())] * 20
    history = TransformerTrainer(model, data, data[:1], lr=1e-2, warmup_steps=5, progress=False).train(3)
    assert history["val_perplexity"][-1] < 0.8 * history["val_perplexity"][0]


def test_its_mistakes_are_explained(example: Any) -> None:
    with pytest.raises(ConfigError, match="n_embd = 10 is not a multiple of n_head = 4"):
        example.GatedGPTConfig(9, n_embd=10)
    with pytest.raises(ConfigError, match=r"dropout = 1.5 must be at least 0 and less than 1"):
        example.GatedGPTConfig(9, dropout=1.5)
    with pytest.raises(ConfigError, match="GatedGPT: config must be a GatedGPTConfig, got GPTConfig"):
        example.GatedGPT(GPTConfig(9))


def test_a_model_that_nobody_registered(example: Any) -> None:
    MODELS.remove(example.GatedGPT)
    with pytest.raises(ConfigError, match="no model has a configuration of type GatedGPTConfig: append its class to"):
        build_model(example.GatedGPTConfig(9))
