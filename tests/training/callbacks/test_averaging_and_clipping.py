"""Callbacks that average weights, and those that clip gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.optim import StochasticWeightAverage, clip_adaptive, clip_by_value
from minitrain.training import SWA, AdaptiveClipping, Callback, EarlyStopping, ValueClipping
from tests.helpers.small_trainers import make


class Weights(Callback):
    """Keeps the weights after each update."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
        self.model = setup.model

    def on_step_end(self, view: Any, update: Any) -> None:
        self.seen.append({path: array.copy() for path, array in self.model.state_dict().items()})


def test_swa_is_the_mean_of_the_weights_and_is_validated():
    trainer = make(None, swa := SWA(start=4, every=2), weights := Weights(), max_steps=8)
    result = trainer.train()
    assert isinstance(swa.average, StochasticWeightAverage)
    assert swa.average.averaged == 3
    with swa.average.applied():
        for path, array in trainer.model.state_dict().items():
            mean = np.mean([weights.seen[i - 1][path] for i in (4, 6, 8)], axis=0)
            np.testing.assert_allclose(array, mean, rtol=1e-5, atol=1e-7)
        assert trainer.run.evaluator.run()["val_loss"] == result.val_loss
    assert trainer.run.evaluator.run()["val_loss"] != result.val_loss


def test_swa_survives_a_stop(tmp_path: Path):
    make(None, whole := SWA(start=2, every=3)).train()
    make(tmp_path / "run", SWA(start=2, every=3), EarlyStopping(patience=None, target=99.0)).train()
    resumed = make(tmp_path / "run", swa := SWA(start=2, every=3))
    resumed.resume()
    resumed.state.stopped = ""
    resumed.train()
    assert whole.average is not None
    assert swa.average is not None
    for path, array in whole.average.state_dict().items():
        np.testing.assert_array_equal(swa.average.state_dict()[path], array)


@pytest.mark.parametrize(
    ("callback", "clip"),
    [
        (
            lambda: AdaptiveClipping(0.001, eps=1e-2, match="*weight"),
            lambda m, n: clip_adaptive(m, 0.001, eps=1e-2, match="*weight", count=n),
        ),
        (lambda: ValueClipping(1e-3), lambda m, n: clip_by_value(m, 1e-3, count=n)),
    ],
    ids=["adaptive", "value"],
)
def test_gradients_are_clipped_before_the_update(callback, clip):
    """The optimizer sees what the function of ``minitrain.optim`` makes of the summed gradient."""

    class Before(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.model = setup.model

        def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
            model = self.model
            whole = {path: p.grad.copy() for path, p in model.named_parameters()}
            clip(model, gradient.loss.count)
            self.expected = {path: p.grad.copy() for path, p in model.named_parameters()}
            for path, p in model.named_parameters():
                p.grad[...] = whole[path]
            assert any((whole[path] != self.expected[path]).any() for path in whole)

    class After(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.model = setup.model

        def on_step_end(self, view: Any, update: Any) -> None:
            self.seen = {path: p.grad.copy() for path, p in self.model.named_parameters()}

    before, after = Before(), After()
    make(None, before, callback(), after, max_steps=2, max_grad_norm=None).train()
    for path, expected in before.expected.items():
        np.testing.assert_array_equal(after.seen[path], expected)


def test_impossible_limits_are_named():
    with pytest.raises(ConfigError, match="clip_by_value: max_value = 0 must be more than 0"):
        make(None, ValueClipping(0)).train()
    with pytest.raises(ConfigError, match="StochasticWeightAverage: start = 0 must be more than 0"):
        make(None, SWA(start=0)).train()
