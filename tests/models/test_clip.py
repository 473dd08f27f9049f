"""Two encoders with one configuration: what each side is, gradients, FLOPs, and equal texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.models import Clip, ClipConfig, ImageTextBatch, build_model
from minitrain.models.summary import summarize
from minitrain.testing import CheckSettings, check_module
from tests.helpers.model_checks import KEY, LossOf, stir

SMALL: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "text_layer": 1, "text_head": 1, "text_embd": 6}


def config(**changes: Any) -> ClipConfig:
    sizes = {"vocab_size": 9, "image_size": 4, "patch": 2, "block_size": 5, "n_features": 6}
    return ClipConfig(**(sizes | SMALL | changes))


def batch(B: int = 4) -> ImageTextBatch:
    rng = np.random.default_rng(0)
    return ImageTextBatch(
        rng.standard_normal((B, 3, 4, 4)), rng.integers(0, 9, (B, 5)), rng.integers(1, 6, B), np.arange(B) // 2
    )


@pytest.mark.parametrize("contrast", ["info_nce", "siglip"])
@pytest.mark.parametrize("key", [None, KEY])
def test_gradients(contrast: str, key: Any) -> None:
    model = stir(Clip(config(contrast=contrast, dropout=0.2, scale=2.0), dtype=np.float64))
    report = check_module(LossOf(model, batch()), settings=CheckSettings(elementwise=0), key=key)
    assert {argument.name for argument in report.arguments} == {f"model.{path}" for path, _ in model.named_parameters()}


def test_an_image_side_of_convolutions_alone() -> None:
    """Its gradients and its FLOPs."""
    convolutions = {"n_layer": 0, "stem": "conv", "stem_depth": 1, "pool": "concat"}
    model = stir(Clip(config(**convolutions), dtype=np.float64))
    report = check_module(LossOf(model, batch()), settings=CheckSettings(elementwise=0))
    assert not any(".image.blocks" in argument.name for argument in report.arguments)
    found = model.image.forward_flops()
    assert found.attention == 0
    assert found.products > 0
    assert summarize(model).parameter_count == model.parameter_count()


def test_each_side_has_its_shape_and_both_cost_their_sum() -> None:
    model = Clip(config())
    assert (model.image.config.n_embd, model.text.config.n_embd) == (8, 6)
    assert model.image.config.n_classes == model.text.config.n_classes == 6
    sides = [side.forward_flops() for side in (model.image, model.text)]
    assert model.forward_flops() == tuple(map(sum, zip(*sides, strict=True)))
    found = summarize(build_model("clip-shapes"))
    assert found.parameter_count == build_model("clip-shapes").parameter_count()


def test_a_side_does_not_depend_on_the_other() -> None:
    model, one = Clip(config(), dtype=np.float64), batch()
    image, text, _ = model.forward(one.images, one.texts, one.lengths)
    other, same, _ = model.forward(one.images * 2, one.texts, one.lengths)
    np.testing.assert_array_equal(text, same)
    assert abs(image - other).max() > 1e-6


def test_equal_groups_cost_less() -> None:
    model, one = Clip(config(), dtype=np.float64), batch()
    assert model.loss(one)[0].total < model.loss(one._replace(groups=None))[0].total


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch": 3}, "patch = 3 does not divide image_size = 4"),
        ({"text_head": 4}, "text_embd = 6 is not a multiple of text_head = 4"),
        ({"n_head": 3}, "n_embd = 8 is not a multiple of n_head = 3"),
        ({"contrast": "cosine"}, "contrast = 'cosine': use one of 'info_nce', 'siglip'"),
        ({"scale": 200.0}, "scale = 200.0 must be at most 100"),
        ({"scale": 0.0}, "scale = 0.0 must be greater than 0"),
        ({"n_layer": 0}, "n_layer = 0 needs stem = 'conv'"),
        ({"text_layer": 0}, "text_layer = 0 must be 1 or more"),
        ({"n_features": 0}, "n_features = 0 must be 1 or more"),
        ({"dropout": 1.0}, "dropout = 1.0 must be"),
    ],
)
def test_wrong_shapes_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        config(**changes)
