"""One sample changes the sum by at most C; the noise has its variance; a split of the batch changes nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minitrain.data import Batch
from minitrain.errors import DataError, NonFiniteError
from minitrain.losses import CrossEntropyLoss
from minitrain.models import GPT, MLP, GPTConfig, MLPConfig
from minitrain.nn import pack
from minitrain.optim import SGD
from minitrain.random import Key, normal
from minitrain.training import ModelWithLoss, PrivateGradients, PrivateStep, train_step
from minitrain.training.privacy.gradients import ROW, ROWS, add_noise, one_by_one

KEY = Key.from_seed(5)


def gpt(seed: int = 0, dtype: str = "float32") -> GPT:
    return GPT(
        GPTConfig(vocab_size=7, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=seed, dtype=dtype
    )


def sentences(count: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 7, (count, 7)).astype(np.int32)
    targets = np.where(rng.random((count, 6)) < 0.3, -100, rows[:, 1:]).astype(np.int32)  # some rows count little
    return Batch(rows[:, :-1], targets)


def summed(model: Any, batch: Batch, rows: list[int], clip: float) -> dict[str, Any]:
    """The sum of the cut gradients of some rows, each with its own dropout."""
    model.zero_grad()
    gradients = PrivateGradients(model, clip, 0.0)
    for row in rows:
        loss, cache = model.loss(Batch(*(field[row : row + 1] for field in batch)), key=KEY.at_sample(row))
        model.loss_backward(cache)
        gradients.add(float(loss.count))
    return gradients.sums


def norm_of(arrays: dict[str, Any]) -> float:
    return math.sqrt(sum(float((array**2).sum()) for array in arrays.values()))


@given(st.integers(0, 10**6), st.integers(1, 6), st.data(), st.sampled_from([1e-6, 0.01, 0.3, 2.0, 1e6]))
def test_one_sample_more_or_less_changes_the_sum_by_at_most_the_limit(seed, count, data, clip):
    model, batch = gpt(seed % 97), sentences(count, seed)
    for parameter in model.parameters():  # gradients of any size
        parameter.data *= 1 + seed % 5
    left_out = data.draw(st.integers(0, count - 1))
    everybody = summed(model, batch, list(range(count)), clip)
    without = summed(model, batch, [row for row in range(count) if row != left_out], clip)
    change = norm_of({path: everybody[path] - without[path] for path in everybody})
    assert change <= clip * (1 + 1e-9) + 1e-14 * norm_of(everybody)


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.05, 0.5, 100.0]))
def test_the_sum_is_that_of_the_gradients_of_means_cut_to_the_limit(seed, count, clip):
    model, batch = gpt(seed % 97, "float64"), sentences(count, seed)
    expected = {path: np.zeros(one.data.shape) for path, one in model.named_parameters()}
    for row in range(count):
        model.zero_grad()
        loss, cache = model.loss(Batch(*(field[row : row + 1] for field in batch)), key=KEY.at_sample(row))
        if not loss.count:
            continue
        model.loss_backward(cache)
        gradient = {path: one.grad / loss.count for path, one in model.named_parameters()}
        for path in expected:
            expected[path] += gradient[path] * min(1.0, clip / norm_of(gradient))
    found = summed(model, batch, list(range(count)), clip)
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=1e-5, atol=1e-12)


def updated(parts: int, *, packed: bool, count: int = 6, noise: float = 0.7) -> tuple[bytes, float]:
    model, batch = gpt(), sentences(count, 3)
    if packed:
        pack(model)
    bounds = [count * part // parts for part in range(parts + 1)]
    split = [(first, Batch(*(field[first:last] for field in batch))) for first, last in pairwise(bounds)]
    private = PrivateStep(0.5, noise, 4, KEY.fold("noise"))
    update = train_step(model, SGD(model, lr=0.1), split, lr=0.1, key=KEY, private=private)
    return b"".join(one.data.tobytes() for _, one in sorted(model.named_parameters())), update.loss


def test_any_split_of_a_batch_ends_with_the_same_bytes_packed_or_not():
    outcomes = {updated(parts, packed=packed) for parts in (1, 2, 3, 6) for packed in (False, True)}
    assert len(outcomes) == 1


def test_the_noisy_sum_is_divided_by_the_mean_size_of_a_batch_not_by_its_own():
    model, batch = gpt(), sentences(3, 3)
    before = {path: one.data.copy() for path, one in model.named_parameters()}
    total = summed(model, batch, [0, 1, 2], 0.5)
    train_step(model, SGD(model, lr=0.1), [(0, batch)], lr=0.1, key=KEY, private=PrivateStep(0.5, 0.0, 10, KEY))
    for path, one in model.named_parameters():
        np.testing.assert_allclose(one.data - before[path], -0.1 * total[path] / 10, atol=1e-7)


def test_a_batch_that_nobody_joined_makes_an_update_of_noise_alone():
    model = gpt()
    before = np.concatenate([one.data.reshape(-1) for one in model.parameters()])
    update = train_step(model, SGD(model, lr=1.0), [], lr=1.0, key=KEY, private=PrivateStep(0.5, 2.0, 4, KEY))
    change = before - np.concatenate([one.data.reshape(-1) for one in model.parameters()])
    assert (update.loss, update.tokens, update.skipped) == (0.0, 0.0, False)
    assert abs(change.std() / (0.5 * 2.0 / 4) - 1) < 5 / math.sqrt(2 * change.size)


def test_the_noise_is_normal_with_the_variance_that_was_asked_for():
    model = MLP(MLPConfig((300, 400, 300)))
    gradients = PrivateGradients(model, 0.25, 3.0)
    gradients.finish(KEY)
    noise = {path: one.grad.reshape(-1).astype(np.float64) / 0.75 for path, one in model.named_parameters()}
    together = np.concatenate(list(noise.values()))
    n = together.size
    assert n > 2e5
    assert abs(together.mean()) < 4 / math.sqrt(n)
    assert abs(together.var() - 1) < 4 * math.sqrt(2 / n)  # four standard deviations of a sample's variance: 1.2 %
    assert stats.kstest(together, "norm").pvalue > 1e-3
    matrices = [part for part in noise.values() if part.size == 120_000]
    assert abs(np.corrcoef(*matrices)[0, 1]) < 4 / math.sqrt(120_000)  # parameters have noise of their own
    assert abs(np.corrcoef(together[:-1], together[1:])[0, 1]) < 4 / math.sqrt(n)


def test_each_step_has_noise_of_its_own():
    ends = []
    for step in range(2):
        model = gpt()
        PrivateGradients(model, 1.0, 1.0).finish(KEY.fold(step))
        ends.append(np.concatenate([one.grad.reshape(-1) for one in model.parameters()]))
    assert abs(np.corrcoef(*ends)[0, 1]) < 4 / math.sqrt(ends[0].size)


@pytest.mark.parametrize("size", [1, ROW - 1, ROW + 1, ROW * ROWS - 3, ROW * ROWS + 5])
def test_noise_depends_on_the_place_alone_however_many_there_are(size):
    longest, part = np.zeros(ROW * ROWS + 5), np.zeros(size)
    add_noise(longest, 2.0, KEY)
    add_noise(part, 2.0, KEY)
    assert (part == longest[:size]).all()
    assert np.unique(longest).size == longest.size


def test_noise_is_that_of_the_key_by_rows_times_its_scale():
    total = np.full(ROW * ROWS + 5, 10.0)
    add_noise(total, 2.0, KEY)
    expected = np.concatenate([normal(KEY.at_sample(row), (1, ROW))[0] for row in (0, 1, ROWS - 1, ROWS)])
    found = np.concatenate([total[: 2 * ROW], total[(ROWS - 1) * ROW :]])
    np.testing.assert_allclose(found, 10 + 2 * expected[: found.size], rtol=1e-13)
    model = MLP(MLPConfig((2, 3)))
    PrivateGradients(model, 0.5, 4.0).finish(KEY)
    for path, one in model.named_parameters():
        noise = np.zeros(one.data.size)
        add_noise(noise, 2.0, KEY.fold(path))
        np.testing.assert_allclose(one.grad.reshape(-1), noise, rtol=1e-6)


def filled(value: float, dtype: str = "float32") -> tuple[Any, PrivateGradients]:
    model = gpt(dtype=dtype)
    for one in model.parameters():
        one.grad[...] = value
    return model, PrivateGradients(model, 0.5, 0.0)


@pytest.mark.parametrize(("value", "count"), [(0.0, 3.0), (1.0, 0.0)])
def test_a_sample_without_a_gradient_or_without_targets_adds_nothing(value, count):
    model, gradients = filled(value)
    assert gradients.add(count) == 0
    assert norm_of(gradients.sums) == 0
    assert all(one.fresh for one in model.parameters())


def test_the_norm_before_the_cut_is_that_of_the_mean():
    model, gradients = filled(1.0)
    size = sum(one.data.size for one in model.parameters())
    assert gradients.add(4.0) == pytest.approx(math.sqrt(size) / 4)


def test_a_cut_leaves_the_rounding_of_a_norm_below_the_limit():
    _, gradients = filled(1.0, "float64")
    norm = gradients.add(1.0)
    for total in gradients.sums.values():
        np.testing.assert_allclose(total, 0.5 / (norm * (1 + 2.0**-20)), rtol=1e-14)


def test_a_model_that_is_frozen_has_no_gradients():
    model = gpt()
    for one in model.parameters():
        one.trainable = False
    gradients = PrivateGradients(model, 0.5, 1.0)
    assert gradients.flat.shape == (0,)
    assert gradients.sums == {}
    assert gradients.add(1.0) == 0
    gradients.finish(KEY)


def test_the_sums_are_parts_of_one_array_in_order():
    model, gradients = filled(1.0)
    gradients.add(1.0)
    assert gradients.flat.dtype == np.float64
    together = np.concatenate([gradients.sums[path].reshape(-1) for path, _ in model.named_parameters()])
    np.testing.assert_array_equal(gradients.flat, together)
    assert all(np.shares_memory(part, gradients.flat) for part in gradients.sums.values())


def test_squares_that_overflow_are_an_error_too():
    _, gradients = filled(1e200, "float64")
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match="its squares overflow"):
        gradients.add(1.0)


@given(st.integers(0, 10**6), st.sampled_from([1e-6, 0.01, 0.3]))
def test_a_single_sample_stays_within_the_limit_to_the_last_bit(seed, clip):
    assert norm_of(summed(gpt(seed % 97), sentences(1, seed), [0], clip)) <= clip


def test_a_batch_without_samples_in_arrays_is_refused():
    with pytest.raises(DataError, match="a batch of type str has none"):
        list(one_by_one([(0, "text")]))


def test_a_sample_whose_gradient_is_not_finite_is_an_error_that_names_the_array():
    model = MLP(MLPConfig((2, 3)))
    objective = ModelWithLoss(model, CrossEntropyLoss())
    _, cache = objective.loss(Batch(np.ones((1, 2), np.float32), np.zeros(1, np.int32)), key=KEY)
    objective.loss_backward(cache)
    next(iter(model.parameters())).grad[...] = np.inf
    with pytest.raises(NonFiniteError, match=r"a sample's gradient is inf: .*(weight|bias)"):
        PrivateGradients(model, 1.0, 1.0).add(1.0)


def test_frozen_parameters_get_neither_gradient_nor_noise():
    model = gpt()
    frozen = next(iter(model.parameters()))
    frozen.trainable = False
    before = frozen.data.copy()
    train_step(
        model, SGD(model, lr=1.0), [(0, sentences(2, 1))], lr=1.0, key=KEY, private=PrivateStep(1.0, 1.0, 2, KEY)
    )
    assert (frozen.data == before).all()
