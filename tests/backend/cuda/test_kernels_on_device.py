"""Training with CUDA kernels, run by the emulator: near the CPU's numbers, the same bytes twice, and nothing waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_device, to_numpy
from minitrain.errors import TokenError
from minitrain.nn import pack
from minitrain.ops import low_rank_backward, low_rank_forward
from minitrain.optim import AdamW, Lion, Muon
from minitrain.random import Key
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training.loop import train_step
from tests.backend.cuda.on_device import placed
from tests.backend.cuda.step_calls import GOLDEN, text
from tests.helpers.cuda import needs_compiler
from tests.helpers.model_zoo import KINDS

pytestmark = needs_compiler
OPTIMIZERS = {"adamw": AdamW, "lion": Lion, "muon": Muon}


def two_steps(name: str, device: str, optimizer: Any = AdamW) -> list[Any]:
    """Losses, norms and weights of two updates."""
    kind = KINDS[name]
    model = kind.build(seed=1, dropout=0.1).to(device)
    pack(model)
    rule, found = optimizer(model, lr=1e-2), []
    for step in range(2):
        parts = [(0, placed(kind.batch(2, seed=step), device)), (2, placed(kind.batch(2, seed=9 + step), device))]
        update = train_step(
            model, rule, parts, lr=1e-2, key=Key.from_seed(step), max_grad_norm=1.0, wait=device == "cpu"
        )
        found += [update.loss, update.tokens, update.grad_norm]
    return found + [parameter.data for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("gpt", "adamw"), ("gpt", "lion"), ("gpt", "muon"), ("llama, all options", "adamw"), ("seq2seq", "adamw")],
)
def test_two_steps(name: str, optimizer: str) -> None:
    expected = two_steps(name, "cpu", OPTIMIZERS[optimizer])
    with emulated_device() as device:
        with device.counting() as counts:
            found = two_steps(name, "cuda", OPTIMIZERS[optimizer])
        assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where
        assert counts.unordered == 0  # nothing is added up by atomics
        assert sum(call.startswith("kernel ") for call in counts.calls) > 30
        again = two_steps(name, "cuda", OPTIMIZERS[optimizer])
        assert [to_numpy(a).tobytes() for a in found] == [to_numpy(b).tobytes() for b in again]
        near = found[:3] if optimizer == "lion" else found  # a gradient of zero has the sign of its rounding error
        for a, b in zip(near, expected, strict=False):
            np.testing.assert_allclose(to_numpy(a), b, rtol=3e-4, atol=3e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_factor_that_is_not_finite_leaves_the_weights(optimizer: str) -> None:
    with emulated_device() as device:
        model = KINDS["gpt"].build(seed=1).to("cuda")
        pack(model)
        rule = OPTIMIZERS[optimizer](model, lr=1e-2)
        _, cache = model.loss(placed(KINDS["gpt"].batch(2), "cuda"))
        model.loss_backward(cache)
        arrays = [*(p.data for p in model.parameters()), *rule.state_dict()["moments"].values()]
        before = [to_numpy(x) for x in arrays]
        for factor in (np.nan, np.inf):
            rule.step(to_device(np.asarray(factor), "cuda"))
        for x, kept in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(to_numpy(x), kept)
        rule.step(device.cupy.ones((), "float64"))
        assert any(not np.array_equal(to_numpy(x), kept) for x, kept in zip(arrays, before, strict=True))


@pytest.mark.parametrize("bad", [11, -1, 2**31 - 1])
@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_ids_out_of_range_are_told_later(field: int, bad: int, dtype: Any) -> None:
    names = ("embedding_forward: tokens", "cross_entropy_forward: targets")
    batch = [np.array(x, dtype) for x in KINDS["gpt"].batch(2)]
    batch[field][1, 2] = bad
    with emulated_device():
        model = KINDS["gpt"].build(seed=1).to("cuda")
        (total, _), _ = model.loss(tuple(to_device(x, "cuda") for x in batch))
        with pytest.raises(TokenError, match=rf"{names[field]} has {bad}, which is outside \[0, 11\)"):
            to_numpy(total)


def test_what_a_step_enqueues() -> None:
    assert text() == GOLDEN.read_text(), "python -m tests.backend.cuda.step_calls --write renews the file"


def test_a_single_row_is_multiplied_as_numpy_does() -> None:
    """(K,), as an operation with one index less gives it: cuBLASLt knows matrices alone."""
    rng = np.random.default_rng(0)
    x, a, b = rng.standard_normal(5), rng.standard_normal((2, 5)), rng.standard_normal((3, 2))
    x, a, b = (array.astype(np.float32) for array in (x, a, b))
    with emulated_device():
        out, cache = low_rank_forward(*(to_device(array, "cuda") for array in (x, a, b)))
        gradients = low_rank_backward(out, cache)
        found = [to_numpy(array) for array in (out, *gradients)]
    expected, kept = low_rank_forward.reference(x, a, b)
    for got, wanted in zip(found, (expected, *low_rank_backward.reference(expected, kept)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
