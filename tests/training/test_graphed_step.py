"""A training step as one graph: the same bytes as the plain step, few launches, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import to_device, use_kernels
from minitrain.backend.precision import use_precision
from minitrain.data.loading.batches import Batch
from minitrain.errors import ConfigError, DeviceError, ShapeError
from minitrain.models import GPTConfig, build_model
from minitrain.nn import pack
from minitrain.optim import AdamW
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training.loop import train_step
from minitrain.training.steps.graphed import FROZEN, GraphedTrainStep

SHAPE = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}


def made(**options):
    model = build_model(GPTConfig(**SHAPE | options), seed=1)
    model.to("cuda")
    pack(model)
    return model, AdamW(model, lr=0.01)


def batches(count, length=8):
    rng = np.random.default_rng(0)
    for _ in range(count):
        tokens = rng.integers(0, 11, (3, length + 1)).astype(np.int32)
        yield Batch(to_device(tokens[:, :-1].copy(), "cuda"), to_device(tokens[:, 1:].copy(), "cuda"))


def weights(model):
    return b"".join(parameter.data.get().tobytes() for parameter in model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["reference", pytest.param("auto", marks=pytest.mark.cuda)])
def test_the_bytes_are_those_of_the_plain_step(mode, precision):
    """Loss, norm and weights over six steps, four of them replayed; with kernels and without."""
    with use_kernels(mode), emulated_device() as device:
        (plain, optimizer), (model, other) = made(), made()
        step = GraphedTrainStep(model, other, max_grad_norm=0.5, precision=precision)
        for number, batch in enumerate(batches(6)):
            lr = 0.01 / (1 + number)
            with use_precision(precision):
                expected = train_step(plain, optimizer, [(0, batch)], lr=lr, key=FROZEN, max_grad_norm=0.5, wait=False)
            with device.counting() as counts:
                update = step(batch, lr=lr)
            assert counts.synchronisations == 0
            for name in ("loss", "tokens", "grad_norm"):
                assert getattr(update, name).get().tobytes() == getattr(expected, name).get().tobytes(), name
            assert weights(model) == weights(plain)
        assert step.captured
        assert counts.allocations < (4 if mode == "auto" else 30)  # of the update: AdamW in array code makes arrays


def test_dropout_is_refused():
    with use_kernels("reference"), emulated_device():
        model, optimizer = made(dropout=0.1)
        step = GraphedTrainStep(model, optimizer)
        first, second, third = batches(3)
        step(first, lr=0.1)
        step(second, lr=0.1)
        with pytest.raises(DeviceError, match=r"would be the same in each launch.*train without dropout"):
            step(third, lr=0.1)


def test_other_shapes_and_places_are_refused():
    with use_kernels("reference"), emulated_device():
        model, optimizer = made()
        step = GraphedTrainStep(model, optimizer)
        step(next(batches(1)), lr=0.1)
        with pytest.raises(ShapeError, match="in the first call"):
            step(next(batches(1, length=5)), lr=0.1)
        with pytest.raises(ConfigError, match="must be on the GPU"):
            step(Batch(np.zeros((3, 8), np.int32), np.zeros((3, 8), np.int32)), lr=0.1)
    with pytest.raises(ConfigError, match="use bfloat16"):
        GraphedTrainStep(model, optimizer, precision="float16")
