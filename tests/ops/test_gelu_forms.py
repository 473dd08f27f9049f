"""GELU's exact form is called "exact"; PyTorch's name for it, "none", means the same and not the absence of GELU."""

import math

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.data import Batch
from minitrain.errors import ConfigError
from minitrain.models import GPT, EncoderConfig, GPTConfig, ViTConfig
from minitrain.ops import gelu_backward, gelu_forward, registry

INPUTS = {
    "gelu": [(5, 6)],
    "geglu": [(5, 6), (5, 6)],
    "gelu_linear": [(5, 6), (4, 6), (4,)],
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_none_is_another_name_of_exact(name, mode):
    pair, rng = registry()[name], np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in INPUTS[name]]
    results = {}
    with use_kernels(mode):
        for form in ("exact", "none", "tanh"):
            out, cache = pair.forward(*arrays, approximate=form)
            grads = pair.backward(np.ones_like(out), cache)
            results[form] = [out, *(grads if isinstance(grads, tuple) else (grads,))]
    for exact, none, tanh in zip(*results.values(), strict=True):
        np.testing.assert_array_equal(exact, none)
        if exact.shape != (4,):  # the bias of a layer after GELU has the same gradient either way
            assert not np.array_equal(exact, tanh)


def test_the_tail_keeps_its_digits():
    """Far below 0, where ``1 + erf`` and ``1 + tanh`` cancel; all of it in float64."""
    x = np.linspace(-10, -5, 21)
    cdf = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])
    out, cache = gelu_forward(x, approximate="exact")
    np.testing.assert_allclose(out, x * cdf, rtol=1e-12)
    pdf = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(gelu_backward(np.ones_like(x), cache), cdf + x * pdf, rtol=1e-10)
    double_u = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    cdf = np.exp(double_u) / (1 + np.exp(double_u))
    out, cache = gelu_forward(x, approximate="tanh")
    np.testing.assert_allclose(out, x * cdf, rtol=1e-12)
    slope = cdf / (1 + np.exp(double_u)) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    np.testing.assert_allclose(gelu_backward(np.ones_like(x), cache), cdf + x * slope, rtol=1e-10)


def test_models_are_exact_unless_asked_otherwise():
    assert GPTConfig(vocab_size=5).gelu == EncoderConfig.gelu == ViTConfig.gelu == "exact"
    tokens = np.random.default_rng(0).integers(0, 5, (2, 8)).astype(np.int32)
    losses = []
    for form in ("exact", "none", "tanh"):
        model = GPT(GPTConfig(vocab_size=5, block_size=8, n_layer=1, n_head=1, n_embd=8, gelu=form))
        for parameter in model.parameters():
            parameter.data *= 20  # the forms differ where the input is not small
        losses.append(float(model.loss(Batch(tokens, tokens))[0].total))
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(ConfigError, match=r"gelu = 'erf': .*'tanh', 'exact', 'none'"):
        GPTConfig(vocab_size=5, gelu="erf")
