"""A whole GPT against the same model in PyTorch: logits, gradients, and fifty steps of training.

In float64 the reference code runs; in float32 the kernels, compared with PyTorch in float64, so that the difference
is theirs alone.
"""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from minitrain.benchmark.tokens import Batch, BatchStream, markov_tokens
from minitrain.benchmark.torch_gpt import adamw, load_from_minitrain
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, WarmupCosine, clip_by_global_norm

from .torch_positions import PlacedGPT

SMALL = {"vocab_size": 29, "block_size": 20, "n_layer": 3, "n_head": 4, "n_embd": 24}
CONFIGS = {
    "as nanoGPT": {},
    "biases": {"bias": True},
    "grouped queries": {"n_kv_head": 2},
    "one key head": {"n_kv_head": 1, "bias": True},
    "untied": {"tie_weights": False},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary", "n_kv_head": 2},
    "ALiBi": {"positions": "alibi"},
}
configs = pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS.keys())
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])

# Largest differences allowed, relative to the largest element of what is compared.
LOGITS = {np.float64: 1e-13, np.float32: 5e-6}
GRADIENTS = {np.float64: 1e-12, np.float32: 1e-5}
# Absolute, in nats, over all fifty steps.
LOSS_CURVE = {np.float64: 1e-11, np.float32: 5e-6}


def twins(settings, dtype):
    """minitrain's GPT and PyTorch's with the same random weights, none of them at its initial 0 or 1."""
    config = GPTConfig(**SMALL, **settings)
    ours = GPT(config, seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    for parameter in ours.parameters():
        parameter.data += (0.05 * rng.standard_normal(parameter.data.shape)).astype(dtype)
    shape = asdict(config)
    assert shape.pop("gelu") == "exact"  # the exact form, as in the peer
    assert shape.pop("eps") == 1e-5  # PyTorch's
    assert shape.pop("loss_chunk") is None  # a way to compute, not a shape
    assert shape.pop("label_smoothing") == 0  # of the loss, which the peer does not smooth
    theirs = PlacedGPT(**shape).double()
    load_from_minitrain(theirs, ours.state_dict())
    return ours, theirs


def batches(seed=3):
    """A stream of batches with text-like structure."""
    tokens = markov_tokens(SMALL["vocab_size"], 20_000)
    return BatchStream(tokens, batch_size=6, block_size=SMALL["block_size"], seed=seed)


def tensors(batch):
    """The batch for PyTorch."""
    return [torch.from_numpy(x.astype(np.int64)) for x in batch]


def assert_close(ours, theirs, tolerance, name):
    """Equal up to ``tolerance`` times the largest element."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=name)


@configs
@dtypes
@pytest.mark.parametrize("length", [1, 13, 20])
def test_logits(settings, dtype, length):
    ours, theirs = twins(settings, dtype)
    tokens = batches().next(np.int32).inputs[:, :length]
    logits, _ = ours.forward(tokens)
    assert_close(logits, theirs(torch.from_numpy(tokens.astype(np.int64))), LOGITS[dtype], "logits")


@configs
@dtypes
@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
def test_gradients(settings, dtype, packed):
    """Of the mean loss, for every parameter; some targets do not count."""
    ours, theirs = twins(settings, dtype)
    if packed:
        pack(ours)
    batch = batches().next(np.int32)
    targets = batch.targets.copy()
    targets[1, 5:] = -100
    batch = Batch(batch.inputs, targets)
    loss, cache = ours.loss(batch)
    ours.loss_backward(cache)
    expected = theirs.loss(*tensors(batch))
    expected.backward()
    assert float(loss.count) == (targets != -100).sum()
    assert loss.mean == pytest.approx(expected.item(), rel=LOGITS[dtype])
    wanted = dict(theirs.named_parameters())
    seen = set()
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad / loss.count, wanted[name].grad, GRADIENTS[dtype], name)
        seen.add(name)
    assert seen == wanted.keys()


@dtypes
@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_curve(dtype, accumulation):
    """Fifty steps of AdamW with decay groups, clipping, warm-up and cosine give the same losses and weights."""
    ours, theirs = twins({"bias": True}, dtype)
    pack(ours)
    settings = {"lr": 1.0, "betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizer, peer = AdamW(ours, **settings), adamw(theirs, **settings, fused=False)
    schedule = WarmupCosine(max_lr=3e-3, min_lr=3e-4, warmup_steps=10, total_steps=45)
    stream, clipped, curve = batches(), 0, []
    for step in range(50):
        batch = stream.next(np.int32)
        optimizer.set_lr(schedule(step))
        optimizer.zero_grad()
        total = count = 0.0
        for rows in np.array_split(np.arange(len(batch.inputs)), accumulation):
            loss, cache = ours.loss(Batch(batch.inputs[rows], batch.targets[rows]))
            ours.loss_backward(cache)
            total, count = total + float(loss.total), count + float(loss.count)
        clip = clip_by_global_norm(ours, 1.0, count=count)
        optimizer.step(clip.scale)

        for group in peer.param_groups:
            group["lr"] = schedule(step)
        peer.zero_grad()
        expected = theirs.loss(*tensors(batch))
        expected.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0).item()
        peer.step()

        assert clip.norm == pytest.approx(norm, rel=GRADIENTS[dtype] * 100)
        clipped += norm > 1
        curve.append((total / count, expected.item()))
    ours_curve, theirs_curve = np.transpose(curve)
    np.testing.assert_allclose(ours_curve, theirs_curve, rtol=0, atol=LOSS_CURVE[dtype])
    assert 0 < clipped < 50, "clipping must act in some steps and not in others"
    assert theirs_curve[-1] < 0.9 * theirs_curve[0], "the models must have learned something"
    if dtype is np.float64:
        wanted = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            assert_close(parameter.data, wanted[name], 1e-9, name)
