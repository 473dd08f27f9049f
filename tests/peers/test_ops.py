"""Each operation against PyTorch's: outputs and gradients, in float64 and, where kernels take over, in float32."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.ops import cross_entropy_forward
from minitrain.testing.cases import CASES, SMALL, TILES, Call
from minitrain.testing.strategies import arrays, integer_arrays, seeds

from . import oracles

NO_ORACLE = {"dropout", "drop_path"}  # their masks are minitrain's own
RANDOM = {"dropout", "key"}

every_op = pytest.mark.parametrize("name", sorted(CASES.keys() - NO_ORACLE))
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])


def test_every_op_has_an_oracle():
    assert [name for name in sorted(CASES.keys() - NO_ORACLE) if oracles.find(name) is None] == []


@every_op
@dtypes
@given(data=st.data(), seed=seeds())
def test_small_calls(name, dtype, data, seed):
    oracles.assert_same(name, without_dropout(data.draw(CASES[name].calls(SMALL))).astype(dtype), seed=seed)


@every_op
@given(data=st.data(), seed=seeds())
@settings(max_examples=30)
def test_calls_around_the_size_of_tiles(name, data, seed):
    call = without_dropout(data.draw(CASES[name].calls(TILES))).astype(np.float32)
    if name == "attention":  # one bias for all pairs: its gradient cancels, and only rounding is left to compare
        call = Call((*call.inputs[:3], None), call.options)
    oracles.assert_same(name, call, seed=seed)


def without_dropout(call: Call) -> Call:
    """The call as in evaluation: PyTorch would drop other elements."""
    return Call(call.inputs, {name: value for name, value in call.options.items() if name not in RANDOM})


@given(data=st.data(), T=st.integers(1, 70), heads=st.sampled_from([(1, 1), (4, 2), (6, 1)]), seed=seeds())
@dtypes
def test_causal_attention_by_torch_own_flag(dtype, data, T, heads, seed):
    """``is_causal`` and ``enable_gqa``, as a PyTorch GPT calls it."""
    H, G = heads
    q, k, v = (data.draw(arrays((2, T, h, 8), dtype)) for h in (H, G, G))
    oracles.assert_same("attention", Call((q, k, v, None), {"causal": True}), seed=seed)


@given(data=st.data(), V=st.integers(2, 9))
def test_cross_entropy_mean(data, V):
    """``Loss.mean`` is PyTorch's mean, which divides by the weights of the targets that count."""
    logits, targets = data.draw(arrays((4, 5, V))), data.draw(integer_arrays((4, 5), V))
    targets[0, :2] = -100
    weight = np.abs(data.draw(arrays((V,)))) + 0.1
    loss, _ = cross_entropy_forward(logits, targets, weight)
    tensors = [torch.from_numpy(x) for x in (logits.reshape(-1, V), targets.reshape(-1), weight)]
    assert loss.mean == pytest.approx(torch.nn.functional.cross_entropy(*tensors).item(), rel=1e-12)
