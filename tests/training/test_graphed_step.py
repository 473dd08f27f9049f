"""A training step as one graph: the same bytes as the plain step, few launches, and clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minitrain.backend import to_device, use_kernels
from minitrain.backend.precision import use_precision
from minitrain.data.loading.batches import Batch, split_batch
from minitrain.errors import ConfigError, DeviceError, ShapeError
from minitrain.models import ClipConfig, GPTConfig, ImageTextBatch, build_model
from minitrain.nn import checkpoint_activations, pack
from minitrain.optim import SGD, Adam, AdamW, Lion, Muon, NAdam
from minitrain.random import Key
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training import train_step
from minitrain.training.steps.graphed import GraphedTrainStep

SHAPE = {"vocab_size": 11, "block_size": 5, "n_layer": 1, "n_head": 2, "n_embd": 8}
KEY = Key.from_seed(5)
DECAYING = {"weight_decay": 0.1}
RULES = {
    "adamw": lambda model: AdamW(model, **DECAYING),
    "adam": lambda model: Adam(model, **DECAYING),
    "nadam": lambda model: NAdam(model, **DECAYING),
    "lion": lambda model: Lion(model, **DECAYING),
    "muon": lambda model: Muon(model, adjust_lr_fn="match_rms_adamw", **DECAYING),
    "sgd": lambda model: SGD(model, momentum=0.9),  # its rule has no numbers on the GPU: launched after the graph
}
MODES = ["reference", pytest.param("auto", marks=pytest.mark.cuda)]


def made(rule="adamw", packed=True, **options):
    model = build_model(GPTConfig(**SHAPE | options), seed=1)
    model.to("cuda")
    if packed:
        pack(model)
    return model, RULES[rule](model)


def batches(count, length=5):
    rng = np.random.default_rng(0)
    for _ in range(count):
        tokens = rng.integers(0, 11, (3, length + 1)).astype(np.int32)
        yield Batch(to_device(tokens[:, :-1].copy(), "cuda"), to_device(tokens[:, 1:].copy(), "cuda"))


def everything(model, optimizer):
    """The bytes of all weights and moments."""
    arrays = [*(parameter.data for parameter in model.parameters()), *optimizer.state_dict()["moments"].values()]
    return b"".join(array.get().tobytes() for array in arrays)


def pairs(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        images, texts = rng.standard_normal((4, 3, 4, 4)).astype(np.float32), rng.integers(0, 11, (4, 5))
        yield ImageTextBatch(to_device(images, "cuda"), to_device(texts.astype(np.int32), "cuda"))


def race(device, plain, graphed, *, feed=batches, steps=5, parts=1, precision="float32", key=KEY, limit=0.5, **options):
    """Both kinds of step on the same batches must leave the same bytes; the counts of the last, replayed one."""
    (model, optimizer), (other, its) = plain, graphed
    step = GraphedTrainStep(other, its, max_grad_norm=limit, precision=precision, **options)
    for number, batch in enumerate(feed(steps)):
        lr, own = 0.01 / (1 + number), None if key is None else key.fold(number)
        pieces = split_batch(batch, parts)
        with use_precision(precision):
            expected = train_step(model, optimizer, pieces, lr=lr, key=own, max_grad_norm=limit, wait=False)
        with device.counting() as counts:
            update = step.step(pieces, lr=lr, key=own)
        assert counts.synchronisations == 0
        for name in ("loss", "tokens", "grad_norm"):
            wanted = getattr(expected, name)  # the count of pairs is known to the host
            wanted = np.float64(wanted) if isinstance(wanted, float) else wanted.get()
            assert getattr(update, name).get().tobytes() == wanted.tobytes(), (number, name)
        assert everything(other, its) == everything(model, optimizer), number
        assert its.steps == optimizer.steps == number + 1
    assert step.captured
    return counts


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_the_bytes_are_those_of_the_plain_step(mode, precision):
    """Loss, norm, weights and moments over five steps with dropout, three of them replayed."""
    with use_kernels(mode), emulated_device() as device:
        counts = race(device, made(dropout=0.3), made(dropout=0.3), precision=precision)
        assert counts.allocations < 9  # inputs' copies and results: none of the update


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "adamw"])
def test_each_rule_has_the_bytes_of_its_own_update(rule):
    with use_kernels("reference"), emulated_device() as device:
        race(device, made(rule), made(rule), steps=5)


@pytest.mark.cuda
@pytest.mark.parametrize("rule", ["lion", "muon"])
def test_so_have_its_kernels(rule):
    with use_kernels("auto"), emulated_device() as device:
        race(device, made(rule), made(rule), steps=4)


@pytest.mark.parametrize("parts", [2, 3])
def test_micro_batches_are_in_one_graph(parts):
    with use_kernels("reference"), emulated_device() as device:
        race(device, made(dropout=0.2), made(dropout=0.2), parts=parts, steps=4)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_whose_samples_are_compared_is_whole_in_a_graph_too(parts):
    """With dropout, whose masks the second pass over the encoders draws again."""
    shape = ClipConfig(vocab_size=11, image_size=4, n_features=4, n_layer=1, n_head=2, n_embd=8, dropout=0.2)
    shape = replace(shape, text_layer=1, text_head=2, text_embd=8)

    def contrastive():
        model = build_model(shape, seed=1)
        model.to("cuda")
        pack(model)
        return model, AdamW(model)

    with use_kernels("reference"), emulated_device() as device:
        race(device, contrastive(), contrastive(), feed=pairs, parts=parts)


def test_other_forms_of_a_step():
    """Without a key and a limit, unpacked, and with the update behind the graph."""
    with use_kernels("reference"), emulated_device() as device:
        race(device, made(dropout=0.2), made(dropout=0.2), key=None, limit=None, steps=4)
        race(device, made(packed=False), made(packed=False), steps=4)
        race(device, made(), made(), update=False, steps=4)
        kept, again = made(dropout=0.2), made(dropout=0.2)
        checkpoint_activations(again[0])  # its forward runs again in the backward, with the same keys
        race(device, kept, again, steps=4)


def test_dropout_differs_from_step_to_step():
    """What a frozen key would give: the same batch twice, and the same losses."""
    with use_kernels("reference"), emulated_device():
        model, optimizer = made(dropout=0.5)
        step = GraphedTrainStep(model, optimizer)
        batch = next(batches(1))
        losses = [float(step(batch, lr=0.0, key=KEY.fold(number)).loss.get()) for number in range(6)]
        assert len(set(losses)) == 6
        assert float(step(batch, lr=0.0, key=KEY.fold(4)).loss.get()) == losses[4]


def test_a_key_of_the_host_is_refused():
    class OwnKey:
        """An objective that draws from a key that no step handed on."""

        def __init__(self, model):
            self.model = model

        def loss(self, batch, *, key):
            return self.model.loss(batch, key=KEY)

        def loss_backward(self, cache):
            self.model.loss_backward(cache)

    with use_kernels("reference"), emulated_device():
        model, optimizer = made(dropout=0.1)
        step = GraphedTrainStep(model, optimizer, objective=OwnKey(model))
        first, second, third = batches(3)
        step(first, lr=0.1, key=KEY)
        step(second, lr=0.1, key=KEY)
        with pytest.raises(DeviceError, match="would be the same in each launch"):
            step(third, lr=0.1, key=KEY)
        assert optimizer.steps == 2


def test_keys_that_the_first_run_did_not_draw_from_are_refused():
    class Sometimes:
        def __init__(self, model):
            self.model, self.calls = model, 0

        def loss(self, batch, *, key):
            self.calls += 1
            return self.model.loss(batch, key=key.fold("now") if self.calls > 1 else key)

        def loss_backward(self, cache):
            self.model.loss_backward(cache)

    with use_kernels("reference"), emulated_device():
        model, optimizer = made(dropout=0.1)
        step = GraphedTrainStep(model, optimizer, objective=Sometimes(model))
        first, second = batches(2)
        step(first, lr=0.1, key=KEY)
        with pytest.raises(
            DeviceError, match=r"draws random numbers for now\.embedding, where its first run drew none"
        ):
            step(second, lr=0.1, key=KEY)


def test_other_shapes_and_places_are_refused():
    with use_kernels("reference"), emulated_device():
        model, optimizer = made()
        step = GraphedTrainStep(model, optimizer)
        step(next(batches(1)), lr=0.1)
        with pytest.raises(ShapeError, match=r"int32 \(3, 4\), int32 \(3, 4\), and int32 \(3, 5\).* in the first call"):
            step(next(batches(1, length=4)), lr=0.1)
        with pytest.raises(ConfigError, match="a key in each call or in none"):
            step(next(batches(1)), lr=0.1, key=KEY)
        with pytest.raises(ConfigError, match="must be on the GPU"):
            step(Batch(np.zeros((3, 5), np.int32), np.zeros((3, 5), np.int32)), lr=0.1)
    with pytest.raises(ConfigError, match="use bfloat16"):
        GraphedTrainStep(model, optimizer, precision="float16")
