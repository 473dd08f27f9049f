"""Layers of attention and embeddings with PyTorch's weights: outputs and all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.nn import CrossAttention, Embedding, MultiHeadAttention, SinusoidalPositions
from minitrain.testing.strategies import distinct_sizes, seeds

from .oracles import assert_close

DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}  # PyTorch computes in float64


def given_weights(ours: Any, theirs: dict[str, torch.Tensor]) -> None:
    """Copy PyTorch's weights, by our paths."""
    ours.load_state_dict({path: tensor.detach().numpy() for path, tensor in theirs.items()})


def assert_same(ours: Any, theirs: dict[str, torch.Tensor], forward: Any, inputs: dict[str, Any], out: Any) -> None:
    """Outputs, and the gradients of inputs and parameters for a random cotangent.

    Args:
        ours: the layer.
        theirs: PyTorch's tensors by our parameter paths.
        forward: calls our layer on the inputs.
        inputs: our inputs, each with PyTorch's tensor.
        out: PyTorch's output.
    """
    dtype = ours.parameters()[0].data.dtype.type
    result, cache = forward(*(x for x, _ in inputs.values()))
    assert_close(result, out, TOLERANCE[dtype], "output")
    cotangent = np.random.default_rng(0).standard_normal(result.shape).astype(dtype)
    gradients = ours.backward(cotangent, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    tensors = [tensor for _, tensor in inputs.values()] + list(theirs.values())
    wanted = torch.autograd.grad(out, tensors, torch.from_numpy(cotangent.astype(np.float64)))
    found = [*gradients, *(dict(ours.named_parameters())[path].grad for path in theirs)]
    for name, gradient, tensor in zip([*inputs, *theirs], found, wanted, strict=True):
        assert_close(gradient, tensor, TOLERANCE[dtype], name)


def pair(x: Any, dtype: Any) -> tuple[Any, torch.Tensor]:
    x = x.astype(dtype)
    return x, torch.from_numpy(x.astype(np.float64)).requires_grad_()


def stirred(module: torch.nn.Module, seed: int) -> Any:
    """Weights of ordinary size that float32 holds exactly, biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() / 2)
    return module


@DTYPES
@settings(max_examples=15)
@given(data=st.data(), causal=st.booleans(), bias=st.booleans(), padded=st.booleans(), seed=seeds())
def test_self_attention(dtype, data, causal, bias, padded, seed):
    B, T, heads = data.draw(distinct_sizes((1, 3), (1, 70), (1, 4)))
    width = 4 * heads
    torch_layer = stirred(torch.nn.MultiheadAttention(width, heads, bias=bias, batch_first=True).double(), seed)
    ours = MultiHeadAttention(width, heads, np.random.default_rng(0), causal=causal, bias=bias, dtype=dtype)
    theirs = {"qkv.weight": torch_layer.in_proj_weight, "out.weight": torch_layer.out_proj.weight}
    if bias:
        theirs |= {"qkv.bias": torch_layer.in_proj_bias, "out.bias": torch_layer.out_proj.bias}
    given_weights(ours, theirs)
    rng = np.random.default_rng(seed)
    x, tensor = pair(rng.standard_normal((B, T, width)), dtype)
    lengths = rng.integers(1, T + 1, B) if padded else np.full(B, T)  # PyTorch gives NaN for a row without keys
    padding = torch.from_numpy(np.arange(T) >= lengths[:, None])  # True = may not attend
    future = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
    out, _ = torch_layer(tensor, tensor, tensor, attn_mask=future, key_padding_mask=padding, need_weights=False)
    options = {"key_lengths": lengths} if padded else {}
    assert_same(ours, theirs, lambda x: ours.forward(x, **options), {"x": (x, tensor)}, out)


@DTYPES
@settings(max_examples=15)
@given(data=st.data(), bias=st.booleans(), masked=st.booleans(), seed=seeds())
def test_cross_attention(dtype, data, bias, masked, seed):
    """PyTorch keeps keys and values apart when the memory has a width of its own; here they are packed."""
    B, T, S, heads, M = data.draw(distinct_sizes((1, 3), (1, 66), (1, 70), (1, 4), (5, 7)))  # width is no M
    width = 4 * heads
    built = torch.nn.MultiheadAttention(width, heads, bias=bias, kdim=M, vdim=M, batch_first=True)
    torch_layer = stirred(built.double(), seed)
    packed = torch.cat([torch_layer.k_proj_weight, torch_layer.v_proj_weight]).detach().requires_grad_()
    theirs = {"q.weight": torch_layer.q_proj_weight, "kv.weight": packed, "out.weight": torch_layer.out_proj.weight}
    in_bias = None
    if bias:
        q_bias, kv_bias = (b.detach().requires_grad_() for b in torch_layer.in_proj_bias.split([width, 2 * width]))
        theirs |= {"q.bias": q_bias, "kv.bias": kv_bias, "out.bias": torch_layer.out_proj.bias}
        in_bias = torch.cat([q_bias, kv_bias])
    ours = CrossAttention(width, heads, np.random.default_rng(0), memory_width=M, bias=bias, dtype=dtype)
    given_weights(ours, theirs)
    rng = np.random.default_rng(seed)
    x, memory = pair(rng.standard_normal((B, T, width)), dtype), pair(rng.standard_normal((B, S, M)), dtype)
    mask = (rng.random((T, S)) < 0.7) | (np.arange(S) == 0) if masked else np.ones((T, S), bool)
    k_weight, v_weight = packed.split(width)
    out, _ = torch.nn.functional.multi_head_attention_forward(
        *(z.transpose(0, 1) for z in (x[1], memory[1], memory[1])),
        width, heads, None, in_bias, None, None, False, 0.0, torch_layer.out_proj.weight, torch_layer.out_proj.bias,
        attn_mask=torch.from_numpy(~mask), need_weights=False, use_separate_proj_weight=True,
        q_proj_weight=torch_layer.q_proj_weight, k_proj_weight=k_weight, v_proj_weight=v_weight,
    )  # fmt: skip
    options = {"mask": mask} if masked else {}
    inputs = {"x": x, "memory": memory}
    assert_same(ours, theirs, lambda *given: ours.forward(*given, **options), inputs, out.transpose(0, 1))


@DTYPES
@given(padding_idx=st.sampled_from([None, 0, 3]), seed=seeds())
@settings(max_examples=20)
def test_embedding(dtype, padding_idx, seed):
    table = stirred(torch.nn.Embedding(5, 4, padding_idx=padding_idx).double(), seed)
    ours = Embedding(5, 4, np.random.default_rng(0), padding_idx=padding_idx, dtype=dtype)
    if padding_idx is not None:
        assert not ours.weight.data[padding_idx].any()
    given_weights(ours, {"weight": table.weight})
    tokens = np.random.default_rng(seed).integers(0, 5, (3, 7))
    out, cache = ours.forward(tokens)
    theirs = table(torch.from_numpy(tokens))
    cotangent = np.random.default_rng(seed).standard_normal(out.shape).astype(dtype)
    (wanted,) = torch.autograd.grad(theirs, table.weight, torch.from_numpy(cotangent.astype(np.float64)))
    ours.backward(cotangent, cache)
    assert_close(out, theirs, TOLERANCE[dtype], "output")
    assert_close(ours.weight.grad, wanted, TOLERANCE[dtype], "weight")


def test_sinusoidal_positions_as_in_the_tutorial():
    """PyTorch's transformer tutorial builds the table this way."""
    T, C = 50, 12
    position = torch.arange(T).double()[:, None]
    rate = torch.exp(torch.arange(0, C, 2).double() * (-np.log(10000.0) / C))
    table = torch.zeros(T, C).double()
    table[:, 0::2], table[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
    out, _ = SinusoidalPositions(C).forward(np.zeros((1, T, C)))
    assert_close(out[0], table, 1e-12, "table")
