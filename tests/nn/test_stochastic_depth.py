"""Stochastic depth in blocks and models: whole branches of a sample left out, more often the deeper the block."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.models import ViTConfig
from minitrain.nn import DecoderBlock, TransformerBlock
from minitrain.nn.blocks.branch import drop_path_rates
from minitrain.nn.core.init import generator
from minitrain.testing import CheckSettings, check_module
from tests.helpers.model_checks import KEY, LossOf, assert_close, gradients_of, stir
from tests.helpers.model_zoo import KINDS, rows

DEEP = {name: KINDS[name] for name in ("encoder", "seq2seq", "vit")}  # the kinds with the setting
deep = pytest.mark.parametrize("kind", DEEP.values(), ids=DEEP)
B, T, C = 40, 3, 4


def block(drop_path: float, **options: Any) -> TransformerBlock:
    return stir(TransformerBlock(C, 2, generator(0), dtype=np.float64, drop_path=drop_path, **options))


def normal(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape)


def branches(x: Any) -> tuple[Any, Any]:
    """Out of attention, and out of the feed-forward layer if attention was left out: (B, T, C) each, undropped."""
    whole = block(0.0)
    attended = whole.attention.forward(whole.norm1.forward(x)[0])[0]
    fed = whole.feed_forward.forward(whole.norm2.forward(x)[0])[0]
    return attended, fed


def test_a_sample_loses_each_branch_as_a_whole_or_has_it_doubled():
    """At p = 1/2 a branch is there twice or not at all; a sample that loses both passes unchanged."""
    x = normal(B, T, C)
    out, cache = block(0.5).forward(x, key=KEY)
    attended, fed = branches(x)
    unchanged = np.array([np.allclose(out[i], x[i]) for i in range(B)])
    only_fed = np.array([np.allclose(out[i], x[i] + 2 * fed[i]) for i in range(B)])
    only_attended = np.array([np.allclose(out[i], x[i] + 2 * attended[i]) for i in range(B)])
    both = ~(unchanged | only_fed | only_attended)
    assert min(unchanged.sum(), only_fed.sum(), only_attended.sum(), both.sum()) >= 3  # of 40, 10 are expected each
    dout = normal(B, T, C)
    dx = block(0.5).backward(dout, cache)
    np.testing.assert_array_equal(dx[unchanged], dout[unchanged])
    assert (abs(dx - dout).max(axis=(1, 2))[~unchanged] > 1e-3).all()


def test_without_a_key_nothing_is_left_out():
    x = normal(B, T, C)
    np.testing.assert_array_equal(block(0.5).forward(x)[0], block(0.0).forward(x)[0])
    assert (block(0.5).forward(x, key=KEY)[0] != block(0.0).forward(x, key=KEY)[0]).any()


@pytest.mark.parametrize("kind", [TransformerBlock, DecoderBlock])
def test_gradients_of_blocks(kind):
    layer = stir(kind(C, 2, generator(0), dtype=np.float64, dropout=0.2, drop_path=0.5))
    inputs = [normal(5, T, C)] if kind is TransformerBlock else [normal(5, T, C), normal(5, 2, C)]
    check_module(layer, *inputs, settings=CheckSettings(elementwise=0), key=KEY)


@deep
def test_gradients_of_models(kind):
    model = stir(kind.build(dtype=np.float64, drop_path=0.5, dropout=0.2))
    batch = kind.batch(4, dtype=np.float64)
    check_module(LossOf(model, batch), settings=CheckSettings(elementwise=0), key=KEY)


@deep
def test_any_split_of_a_batch_gives_its_gradient(kind):
    model, whole = stir(kind.build(dtype=np.float64, drop_path=0.5)), kind.batch(6, dtype=np.float64)
    parts = [rows(whole, a, b) for a, b in pairwise([0, 1, 4, 6])]
    together = gradients_of(model, [whole], key=KEY)
    assert_close(gradients_of(model, parts, key=KEY), together, 1e-10)
    without = gradients_of(stir(kind.build(dtype=np.float64)), [whole], key=KEY)
    assert any((together[path] != without[path]).any() for path in without)


@deep
def test_the_rate_grows_with_the_depth(kind):
    model = kind.build(drop_path=0.3, n_layer=3)
    blocks = [module for module in model.modules() if isinstance(module, TransformerBlock | DecoderBlock)]
    rates = [block.drop_path for block in blocks]
    assert rates == pytest.approx([0.1, 0.2, 0.3] * (len(blocks) // 3))


def test_one_block_has_the_whole_rate():
    assert drop_path_rates(0.2, 1) == [0.2]
    assert drop_path_rates(0.0, 2) == [0.0, 0.0]


def test_impossible_rates_are_named():
    with pytest.raises(ConfigError, match=r"drop_path = 1.0 must be at least 0 and less than 1"):
        ViTConfig(image_size=4, patch=2, n_classes=2, drop_path=1.0)
    with pytest.raises(ConfigError, match=r"TransformerBlock: drop_path = 1.5 must be at least 0 and less than 1"):
        block(1.5)
    with pytest.raises(ConfigError, match=r"DecoderBlock: drop_path = '0.1' must be at least 0 and less than 1"):
        DecoderBlock(C, 2, generator(0), drop_path="0.1")
