"""The padding row of an embedding."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError, ShapeError
from minitrain.nn import Embedding
from minitrain.ops import Into, embedding_backward, embedding_forward


def table(padding_idx: int | None = 2) -> Embedding:
    return Embedding(5, 3, np.random.default_rng(0), padding_idx=padding_idx)


def test_the_padding_row_starts_at_zero_and_the_others_as_ever():
    weight, plain = table().weight.data, table(None).weight.data
    assert not weight[2].any()
    assert plain[2].all()
    np.testing.assert_array_equal(np.delete(weight, 2, axis=0), np.delete(plain, 2, axis=0))


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_the_padding_row_is_looked_up_and_gets_no_gradient(kernels):
    """A row that was set after all, as by weights from elsewhere, is a constant."""
    layer, tokens = table(), np.array([[2, 0, 2], [4, 4, 2]])
    layer.weight.data[2] = 7
    with use_kernels(kernels):
        out, cache = layer.forward(tokens)
        layer.backward(np.ones_like(out), cache)
        assert (out[tokens == 2] == 7).all()
        np.testing.assert_array_equal(layer.weight.grad[:, 0], [1, 0, 0, 0, 2])
        buffer = np.full((5, 3), 10, np.float32)
        embedding_backward(np.ones_like(out), cache, into=(None, Into(buffer, accumulate=True)))
        np.testing.assert_array_equal(buffer[:, 0], [11, 10, 10, 10, 12])


@pytest.mark.parametrize("bad", [5, -1])
def test_a_padding_row_outside_the_table_is_named(bad):
    with pytest.raises(ConfigError, match=rf"Embedding: padding_idx = {bad} must be in \[0, entries = 5\)"):
        table(bad)
    with pytest.raises(ShapeError, match=f"embedding_forward: padding_idx = {bad} must be one of the rows 0 to V - 1"):
        embedding_forward(np.array([0]), np.zeros((5, 3)), padding_idx=bad)
