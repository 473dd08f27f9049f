"""What is compiled for the first step of a training: helpers are asked for all of it, and for hardly anything else."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.backend.cpu import jit
from minitrain.backend.cpu.jit import Kernel, missing
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.optim import AdamW, clip_by_global_norm
from tests.helpers.own_product import only_with_own_product

SIZES = {"vocab_size": 17, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 16}
BOTH = {
    "adam._update", "attention._backward", "attention._forward", "clip._partial_sums", "cross_entropy._backward",
    "cross_entropy._forward", "embedding._backward", "embedding._forward", "linear._backward", "linear._forward",
    "residual._add",
}  # fmt: skip
GPT_ALONE = {"gelu_linear._backward", "gelu_linear._forward", "layer_norm._backward", "layer_norm._forward"}
LLAMA_ALONE = {"rms_norm._backward", "rms_norm._forward", "rope._rotate", "swiglu._backward", "swiglu._forward"}


def name(kernel: Kernel) -> str:
    return f"{kernel.__module__.rpartition('.')[2]}.{kernel._function.__name__}"


@only_with_own_product
@pytest.mark.parametrize(
    ("model", "norm", "needed"),
    [
        (GPT(GPTConfig(**SIZES, bias=False)), "layer_norm", BOTH | GPT_ALONE),
        (Llama(LlamaConfig(**SIZES)), "rms_norm", BOTH | LLAMA_ALONE),
    ],
    ids=["GPT", "Llama"],
)
def test_helpers_are_asked_for_what_a_first_step_needs(monkeypatch, model, norm, needed):
    run, called = Kernel.__call__, set()
    monkeypatch.setattr(Kernel, "__call__", lambda kernel, *args: called.add(name(kernel)) or run(kernel, *args))
    tokens = np.random.default_rng(0).integers(0, 17, (2, 8))
    with use_kernels("auto"):
        optimizer = AdamW(model, lr=1e-3)
        loss, cache = model.loss((tokens, tokens))
        model.loss_backward(cache)
        optimizer.step(clip_by_global_norm(model, 1.0, count=float(loss.count)).scale)
    assert called == needed
    monkeypatch.setattr(Kernel, "on_disk", lambda kernel: False)
    monkeypatch.setattr(jit, "_to_link", {})
    files = [f"minitrain.kernels.cpu.{file}" for file in ("linear.embedding", f"norms.{norm}")]
    asked = [kernel for file in files for kernel in missing(file, [], "float32")]
    assert {name(kernel) for kernel in asked if isinstance(kernel, Kernel)} == needed


def test_the_largest_kernels_come_first(monkeypatch):
    """Attention's backward takes longest: begun last, it would be waited for."""
    monkeypatch.setattr(Kernel, "on_disk", lambda kernel: False)
    monkeypatch.setattr(jit, "_to_link", {})
    first, second, *_ = missing("minitrain.kernels.cpu.linear.embedding", [], "bfloat16")
    assert isinstance(first, Kernel) and isinstance(second, Kernel)
    assert [name(first), first.form] == ["attention._backward", "bfloat16"]
    assert [name(second), second.form] == ["attention._forward", "bfloat16"]
