"""Models, losses, optimizers and generation on an emulated GPU: the bits of the CPU; it waits for what is read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest

from minitrain import losses
from minitrain.backend import to_device, to_numpy, use_precision
from minitrain.generation import SamplingParams, generate
from minitrain.generation.search.beam import beam_search_generate
from minitrain.generation.search.contrastive import contrastive_generate
from minitrain.generation.search.targets import beam_search_targets
from minitrain.generation.speculative.decode import speculative_generate
from minitrain.nn import pack
from minitrain.optim import ExponentialAverage, clip_by_global_norm, clip_without_waiting
from minitrain.random import Key
from minitrain.testing.cuda.fake import EmulatedDevice
from tests.backend.cuda.on_device import assert_same_bits, placed
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS, RELATIVES
from tests.optim.test_optimizer_promises import CLIPS
from tests.optim.test_optimizer_promises import KINDS as OPTIMIZERS

MODELS = KINDS | RELATIVES
PRECISIONS = [
    (p, m) for p in ("bfloat16", "float16", "tf32") for m in ("gpt", "llama", "seq2seq, pointer", "vit, stem")
]


def two_steps(
    name: str,
    device: str,
    *,
    optimizer: str = "adamw",
    clip: Any = None,
    precision: str = "float32",
    packed: bool = True,
) -> list[Any]:
    """Losses of two updates, and the weights and averages after them."""
    kind = MODELS[name]
    model = kind.build(seed=1, dropout=0.1).to(device)
    if packed:
        pack(model)
    make, options = OPTIMIZERS[optimizer]
    rule = make(model, **{"lr": 0.01, "weight_decay": 0.1, **options})
    average, results = ExponentialAverage(model, decay=0.9), []
    for step in range(2):
        batch = placed(kind.batch(4, seed=step), device)
        rule.zero_grad()
        with use_precision(precision):
            loss, cache = model.loss(batch, key=Key.from_seed(step))
            model.loss_backward(cache)
        if clip is not None:
            found = clip(model)
            rule.step(getattr(found, "scale", found) if clip is not CLIPS["in place"] else 1.0)
        elif device == "cpu":
            rule.step(clip_by_global_norm(model, 1.0, count=float(loss.count)).scale)
        else:
            rule.step(clip_without_waiting(model, 1.0, count=loss.count).scale)
        average.update()
        results += [loss.total, loss.count]
    return [results, [p.data for p in model.parameters()], list(average.state_dict().values())]


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_the_same(gpu: EmulatedDevice, name: str) -> None:
    expected = two_steps(name, "cpu")
    with gpu.counting() as counts:
        found = two_steps(name, "cuda")
    assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where
    assert_same_bits(found, expected)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(gpu: EmulatedDevice, optimizer: str, packed: bool) -> None:
    expected = two_steps("gpt", "cpu", optimizer=optimizer, packed=packed)
    with gpu.counting() as counts:
        found = two_steps("gpt", "cuda", optimizer=optimizer, packed=packed)
    assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where
    assert_same_bits(found, expected)


@pytest.mark.parametrize("clip", [name for name in CLIPS if "some" not in name])
def test_clipping_that_looks_at_the_norm(gpu: EmulatedDevice, clip: str) -> None:
    assert_same_bits(two_steps("gpt", "cuda", clip=CLIPS[clip]), two_steps("gpt", "cpu", clip=CLIPS[clip]))


@pytest.mark.parametrize(("precision", "name"), PRECISIONS)
def test_precisions(gpu: EmulatedDevice, precision: str, name: str) -> None:
    expected = two_steps(name, "cpu", precision=precision)
    assert_same_bits(two_steps(name, "cuda", precision=precision), expected)


@pytest.mark.parametrize("name", KINDS)
def test_losses_of_an_evaluation(gpu: EmulatedDevice, name: str) -> None:
    def run(device: str) -> list[Any]:
        model = stir(KINDS[name].build(seed=1)).to(device)
        batch = placed(KINDS[name].batch(3), device)
        found = model.losses(batch, outputs=True)
        return [found.losses, found.counts, found.outputs, list(model.loss_and_outputs(batch))]

    assert_same_bits(run("cuda"), run("cpu"))


CLASSES = np.array([[0, 4, -100], [2, 2, 1]])
LOGITS = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
NUMBERS = np.random.default_rng(1).standard_normal((2, 3, 5)).astype(np.float32)
WEIGHT = [0.5, 2.0, 1.0, 0.1, 3.0]
LOSSES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "cross-entropy": (lambda r: losses.CrossEntropyLoss(reduction=r), CLASSES),
    "weighted": (lambda r: losses.CrossEntropyLoss(weight=WEIGHT, reduction=r), CLASSES),
    "smoothed": (lambda r: losses.CrossEntropyLoss(label_smoothing=0.1, reduction=r), CLASSES),
    "squared": (lambda r: losses.MeanSquaredError(reduction=r), NUMBERS),
    "absolute": (lambda r: losses.MeanAbsoluteError(reduction=r), NUMBERS),
    "huber": (lambda r: losses.HuberLoss(reduction=r), NUMBERS),
    "binary": (lambda r: losses.BinaryCrossEntropyLoss(pos_weight=WEIGHT, reduction=r), abs(NUMBERS) % 1),
    "focal": (lambda r: losses.FocalLoss(reduction=r), abs(CLASSES) % 5),
    "binary focal": (lambda r: losses.BinaryFocalLoss(reduction=r), (NUMBERS > 0).astype(np.int64)),
    "hinge": (lambda r: losses.HingeLoss(reduction=r), 2 * (NUMBERS > 0).astype(np.int64) - 1),
    "unlikelihood": (lambda r: losses.UnlikelihoodLoss(reduction=r), np.array([[0, -1004, 1], [2, 2, -1001]])),
}


@pytest.mark.parametrize("reduction", [None, "none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(gpu: EmulatedDevice, name: str, reduction: str | None) -> None:
    make, targets = LOSSES[name]

    def run(device: str) -> list[Any]:
        loss_fn = make(reduction)
        found, cache = loss_fn.forward(to_device(LOGITS, device), to_device(targets, device))
        shape = getattr(found, "shape", ())
        dloss = to_device(np.ones(shape, np.float32), device) if shape else 1.0
        return [found, loss_fn.backward(dloss, cache)]

    expected = run("cpu")
    with gpu.counting() as counts:
        found = run("cuda")
    assert counts.to_host == 0
    if name != "unlikelihood":  # it picks out rows, and their number is the shape of what follows
        assert counts.synchronisations == 0, counts.where
    assert_same_bits(found, expected)


def test_a_mean_of_nothing(gpu: EmulatedDevice) -> None:
    loss_fn = losses.CrossEntropyLoss(reduction="mean")
    nothing = to_device(np.full((2, 3), -100), "cuda")
    found, cache = loss_fn.forward(to_device(LOGITS, "cuda"), nothing)
    assert np.isnan(to_numpy(found))
    assert not to_numpy(loss_fn.backward(1.0, cache)).any()


PROMPTS = np.array([[3, 1, 4], [1, 5, 9]], np.int32)
WRITERS: dict[str, Callable[[Any, str], Any]] = {
    "sampled": lambda m, d: generate(m, to_device(PROMPTS, d), 3, temperature=0.9, top_k=4, key=Key.from_seed(3)),
    "greedy": lambda m, d: generate(m, to_device(PROMPTS, d), 3, temperature=0),
    "beams": lambda m, d: beam_search_generate(m, PROMPTS, num_beams=3, max_new_tokens=3, device=d),
    "contrastive": lambda m, d: contrastive_generate(m, PROMPTS, max_new_tokens=3, device=d),
    "speculative": lambda m, d: speculative_generate(m, PROMPTS, SamplingParams(max_new_tokens=3), draft=m, device=d),
}


@pytest.mark.parametrize("model", ["gpt", "llama, all options", "mistral", "gpt, alibi"])
@pytest.mark.parametrize("how", WRITERS)
def test_decoders_write_the_same(gpu: EmulatedDevice, how: str, model: str) -> None:
    def run(device: str) -> Any:
        return WRITERS[how](stir(MODELS[model].build(seed=1)).to(device), device)

    there, here = run("cuda"), run("cpu")
    if how in ("sampled", "greedy"):
        assert_same_bits(there, here)
    elif how == "beams":  # the graph multiplies matrices of other shapes, so sums are rounded otherwise
        for found, expected in zip(*map(chain.from_iterable, (there, here)), strict=True):
            np.testing.assert_array_equal(found.tokens, expected.tokens)
            assert found.score == pytest.approx(expected.score, rel=1e-6)
    else:
        assert str(there) == str(here)


@pytest.mark.parametrize("name", ["seq2seq", "seq2seq, pointer", "captioner"])
def test_others_write_the_same(gpu: EmulatedDevice, name: str) -> None:
    def run(device: str) -> Any:
        model, batch = stir(KINDS[name].build(seed=1)).to(device), KINDS[name].batch(3)
        return model.generate(to_device(batch[0], device), start=1, end=2, max_new_tokens=4)

    assert_same_bits(run("cuda"), run("cpu"))


@pytest.mark.parametrize("name", ["seq2seq", "seq2seq, pointer", "captioner"])
def test_others_search_the_same(gpu: EmulatedDevice, name: str) -> None:
    def run(device: str) -> Any:
        model, batch = stir(KINDS[name].build(seed=1)).to(device), KINDS[name].batch(3)
        return beam_search_targets(model, to_device(batch[0], device), start=1, end=2, num_beams=3, max_new_tokens=4)

    for found, expected in zip(*map(chain.from_iterable, (run("cuda"), run("cpu"))), strict=True):
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        assert found.score == pytest.approx(expected.score, rel=1e-6)
