"""Whole models against the same models made of PyTorch's modules: logits, loss and the gradient of every parameter.

In float64 the reference code runs; in float32 the kernels, compared with PyTorch in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minitrain.models import Encoder, Llama, MaskedEncoder, Seq2Seq, ViT
from minitrain.nn import pack
from minitrain.random import Key
from tests.helpers.model_zoo import KINDS

from .torch_models import TorchEncoder, TorchLlama, TorchMaskedEncoder, TorchSeq2Seq, TorchViT, load

PEERS = {
    Llama: TorchLlama,
    Encoder: TorchEncoder,
    MaskedEncoder: TorchMaskedEncoder,
    Seq2Seq: TorchSeq2Seq,
    ViT: TorchViT,
}
# The peers have biases, as PyTorch's layers have.
COMPARED = {
    name: (kind, {"bias": True, "n_embd": 16, "n_hidden": 24, "n_layer": 3, "gelu": "exact"})
    for name, kind in KINDS.items()
    if kind.model in PEERS
}
compared = pytest.mark.parametrize(("kind", "changes"), COMPARED.values(), ids=COMPARED)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])

# Largest differences allowed, relative to the largest element of what is compared.
LOGITS = {np.float64: 1e-12, np.float32: 1e-5}
GRADIENTS = {np.float64: 1e-11, np.float32: 1e-4}


def twins(kind: Any, changes: dict[str, Any], dtype: Any) -> tuple[Any, Any]:
    """Our model and its peer with the same random weights, none of them at its initial 0 or 1."""
    ours = kind.build(seed=1, dtype=dtype, **changes)
    rng = np.random.default_rng(2)
    for parameter in ours.parameters():
        parameter.data += (0.1 * rng.standard_normal(parameter.data.shape)).astype(dtype)
    theirs = PEERS[kind.model](ours.config).double()
    load(theirs.places(), ours.state_dict())
    return ours, theirs


def arguments(kind: Any, batch: Any) -> tuple[list[Any], dict[str, Any]]:
    """What the forward of our model takes of a batch."""
    if kind.model is Seq2Seq:
        return [batch.source, batch.target[:, :-1]], {}
    lengths = getattr(batch, "lengths", None)
    return [batch.inputs], {} if lengths is None else {"lengths": lengths}


def tensor(x: Any) -> torch.Tensor:
    """For PyTorch: floats in double precision, integers in 64 bits."""
    return torch.from_numpy(x.astype(np.float64 if x.dtype.kind == "f" else np.int64))


def logits_of_peer(kind: Any, theirs: Any, batch: Any) -> torch.Tensor:
    positional, named = arguments(kind, batch)
    return theirs(*map(tensor, [*positional, *named.values()]))


def assert_close(ours: Any, theirs: torch.Tensor, tolerance: float, name: str) -> None:
    """Equal up to ``tolerance`` times the largest element."""
    expected = theirs.detach().numpy().reshape(ours.shape)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)


@compared
@dtypes
def test_logits(kind, changes, dtype):
    ours, theirs = twins(kind, changes, dtype)
    batch = kind.batch(4, dtype=dtype)
    positional, named = arguments(kind, batch)
    assert_close(ours.forward(*positional, **named)[0], logits_of_peer(kind, theirs, batch), LOGITS[dtype], "logits")


@compared
@dtypes
@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
def test_gradients(kind, changes, dtype, packed):
    """Of the summed loss, for every parameter; a key means training, in which labels are smoothed."""
    ours, theirs = twins(kind, changes | {"label_smoothing": 0.1}, dtype)
    if packed:
        pack(ours)
    batch = kind.batch(4, dtype=dtype)
    loss, cache = ours.loss(batch, key=Key.from_seed(0))
    ours.loss_backward(cache)

    logits = logits_of_peer(kind, theirs, batch)
    targets = tensor(batch.target[:, 1:] if kind.model is Seq2Seq else batch.targets)
    ignored = ours.config.pad_idx if kind.model is Seq2Seq else -100
    expected = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), reduction="sum", ignore_index=ignored, label_smoothing=0.1
    )
    expected.backward()

    assert float(loss.total) == pytest.approx(expected.item(), rel=LOGITS[dtype])
    places = theirs.places()
    for path, parameter in ours.named_parameters():
        peer, rows = places[path]
        assert_close(parameter.grad, peer.grad[rows], GRADIENTS[dtype], path)
