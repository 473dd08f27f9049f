"""What holds for models of every kind: right gradients, the same for any split, the loss of guessing, memory."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ShapeError
from minitrain.nn import pack
from minitrain.optim import AdamW
from minitrain.testing import CheckSettings, check_module
from minitrain.training import train_step
from tests.helpers.model_checks import KEY, LossOf, assert_close, gradients_of, stir
from tests.helpers.model_zoo import KINDS, TRANSFORMERS, rows

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
# The layers are checked element by element in a test of their own.
ALONG_DIRECTIONS = CheckSettings(elementwise=0)
transformers = pytest.mark.parametrize("kind", TRANSFORMERS.values(), ids=TRANSFORMERS)


@kinds
def test_gradients_of_the_loss(kind):
    """Of every parameter, in float64, against finite differences."""
    model = stir(kind.build(dtype=np.float64))
    report = check_module(LossOf(model, kind.batch(dtype=np.float64)), settings=ALONG_DIRECTIONS)
    assert {argument.name for argument in report.arguments} == {f"model.{path}" for path, _ in model.named_parameters()}


@transformers
def test_gradients_with_dropout(kind):
    model = stir(kind.build(dtype=np.float64, dropout=0.3, n_layer=1))
    check_module(LossOf(model, kind.batch(2, dtype=np.float64)), settings=ALONG_DIRECTIONS, key=KEY)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-3)], ids=["float64", "float32"])
@transformers
@settings(max_examples=3)
@given(cuts=st.sets(st.integers(1, 5), min_size=1))
def test_any_split_of_a_batch_gives_its_gradient(kind, dtype, tolerance, cuts):
    """With dropout on: the mask of a sample depends on its place in the whole batch alone.

    Float64 is the reference, float32 the kernels. Gradients here are of size 100, and so are the sums that round.
    """
    whole, edges = kind.batch(6, dtype=dtype), [0, *sorted(cuts), 6]
    parts = [rows(whole, a, b) for a, b in pairwise(edges)]
    model = stir(kind.build(dtype=dtype, dropout=0.3))
    assert_close(gradients_of(model, parts, key=KEY), gradients_of(model, [whole], key=KEY), tolerance)


@transformers
def test_dropout_drops_with_a_key_alone(kind):
    changes: dict[str, Any] = {"label_smoothing": 0.0}  # which needs a key too
    model, plain = stir(kind.build(dropout=0.5, **changes)), stir(kind.build(**changes))
    batch = kind.batch()

    def total(model: Any, key: Any = None) -> float:
        return float(model.loss(batch, key=key)[0].total)

    assert total(model) == total(plain) == total(plain, KEY)
    assert total(model, KEY) == total(model, KEY)
    assert len({total(model), total(model, KEY), total(model, KEY.fold(1))}) == 3


@transformers
def test_every_dropout_has_a_mask_of_its_own(kind):
    """No two layers of a model may fold the same path into the key: their masks would be the same."""
    model, masks = kind.build(dropout=0.5), []

    def collect(cache: Any) -> None:
        if "key" in getattr(cache, "_fields", ()):
            masks.append(cache.key)
        elif isinstance(cache, tuple | list):
            for part in cache:
                collect(part)

    collect(model.loss(kind.batch(), key=KEY)[1])
    assert len(masks) == len(set(masks)) > 6


@kinds
def test_kernels_give_the_gradients_of_the_reference(kind):
    model, batch, results = stir(kind.build()), kind.batch(4), {}
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            loss, _ = model.loss(batch)
            results[mode] = gradients_of(model, [batch]) | {"loss": np.asarray(loss.total)}
    assert_close(results["auto"], results["reference"], 1e-4)


@kinds
def test_a_packed_model_computes_the_same(kind):
    plain = stir(kind.build())
    packed = copy.deepcopy(plain)
    pack(packed)
    expected, actual = gradients_of(plain, [kind.batch()]), gradients_of(packed, [kind.batch()])
    for path in expected:
        np.testing.assert_array_equal(actual[path], expected[path], err_msg=path)


@kinds
def test_frozen_parameters_get_no_gradient(kind):
    model, full = stir(kind.build()), gradients_of(stir(kind.build()), [kind.batch()])
    for i, parameter in enumerate(model.parameters()):
        parameter.trainable = i % 2 == 1
    for (path, gradient), parameter in zip(
        gradients_of(model, [kind.batch()]).items(), model.parameters(), strict=True
    ):
        np.testing.assert_array_equal(gradient, full[path] if parameter.trainable else 0 * gradient, err_msg=path)


@kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_keeps_its_dtype(kind, dtype):
    model = kind.build(dtype=dtype)
    loss, cache = model.loss(kind.batch(dtype=dtype))
    model.loss_backward(cache)
    assert loss.total.dtype == dtype
    assert {parameter.grad.dtype for parameter in model.parameters()} == {np.dtype(dtype)}


@pytest.mark.parametrize("kind", [kind for name, kind in KINDS.items() if name != "mlp"])
def test_a_cache_serves_one_backward(kind):
    model = kind.build()
    _, cache = model.loss(kind.batch())
    model.loss_backward(cache)
    with pytest.raises(ShapeError, match="backward: this cache was used before; call forward again"):
        model.loss_backward(cache)


@kinds
def test_the_seed_decides_the_weights(kind):
    a, b, c = (kind.build(seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(np.array_equal(a[path], b[path]) for path in a)
    assert any(not np.array_equal(a[path], c[path]) for path in a)


@kinds
def test_the_first_loss_is_that_of_guessing(kind):
    """In a wide model of many classes: in a small one, a token's own vector in a tied head would show."""
    sizes = {"vocab_size": 100, "n_classes": 100, "widths": (3, 64, 100)}
    if "target_vocab_size" in kind.shape:
        sizes["target_vocab_size"] = 100
    model = kind.build(seed=1, n_embd=64, n_layer=4, **sizes)
    if getattr(model, "pointer", None):
        model.pointer.gate.bias.data[...] = 40  # copies of a random source are no guess
    loss, _ = model.loss(kind.batch(64, **sizes))
    assert loss.mean == pytest.approx(math.log(100), abs=0.05)


@kinds
def test_memorises_a_batch(kind):
    """Random targets: only by heart can they be known."""
    model = kind.build(seed=1, n_embd=32, label_smoothing=0.0, widths=(3, 64, 5))
    pack(model)
    optimizer, batch, steps = AdamW(model, weight_decay=0.0), kind.batch(4), 120
    for step in range(steps):
        lr = 1e-2 * min(1.0, 2 * (1 - step / steps))
        update = train_step(model, optimizer, [(0, batch)], lr=lr, max_grad_norm=1.0)
    assert update.loss / update.tokens < 0.05
