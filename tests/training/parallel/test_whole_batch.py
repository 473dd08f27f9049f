"""Losses that compare the samples of a batch: the gradient of the whole, and the same bytes on 1, 2 and 4 ranks."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.loading.batches import split_batch
from minitrain.distributed import Group, run_ranks, valid_ranks
from minitrain.distributed.rows import gather_rows
from minitrain.errors import BadSampleError, NonFiniteError, ShapeError
from minitrain.losses import SupervisedContrastiveLoss
from minitrain.models.dual_encoder import DualEncoder, DualEncoderCache
from minitrain.nn import ClipLoss, Linear, Module, SiglipLoss, pack
from minitrain.ops.linear.dropout import dropout_backward, dropout_forward
from minitrain.optim import SGD, AdamW, Constant
from minitrain.random import Key
from minitrain.training import Trainer, TrainingConfig
from minitrain.training.steps.whole_batch import WholeBatch
from tests.distributed.small_trainings import digest, history, on_ranks

WIDTH, SPACE = 6, 4


class Pairs(NamedTuple):
    images: Any
    texts: Any
    groups: Any = None


class Tower(Module):
    """Linear, dropout, linear; a text encoder takes ``lengths``, which stay ``None``."""

    def __init__(self, seed: int, dtype: Any = np.float32) -> None:
        draw = np.random.default_rng(seed)
        self.up = Linear(WIDTH, 8, draw, std=0.5, dtype=dtype)
        self.down = Linear(8, SPACE, draw, std=0.5, dtype=dtype)

    def forward(self, x: Any, *, lengths: Any = None, key: Any = None) -> Any:
        x, up = self.up.forward(x)
        x, dropout = dropout_forward(x, p=0.3, key=key)
        x, down = self.down.forward(x)
        return x, (up, dropout, down)

    def backward(self, dout: Any, cache: Any) -> Any:
        up, dropout, down = cache
        return self.up.backward(dropout_backward(self.down.backward(dout, down), dropout), up)


def pairs(seed: int, count: int, *, grouped: bool = False, dtype: Any = np.float32) -> Pairs:
    draw = np.random.default_rng(seed)
    images, texts = draw.standard_normal((2, count, WIDTH)).astype(dtype)
    return Pairs(images, texts, draw.integers(0, count // 2, count) if grouped else None)


def dual_encoder(contrast: type[Any] = ClipLoss, dtype: Any = np.float32) -> DualEncoder:
    return DualEncoder(Tower(1, dtype), Tower(2, dtype), contrast=contrast(dtype=dtype))


def trainer(group: Group | None, run_dir: Any = None, **options: Any) -> Trainer:
    """Micro-batches of unequal size, dropout, clipping, and validation batches of unequal size."""
    contrast, batch, grouped = (
        options.pop("contrast", ClipLoss),
        options.pop("batch", 11),
        options.pop("grouped", False),
    )
    model = options.pop("model", None) or dual_encoder(contrast)
    pack(model)
    values = {"gradient_accumulation_steps": 4, "max_steps": 5, "validation_frequency": 2, "max_grad_norm": 0.3}
    data = [pairs(step, batch, grouped=grouped) for step in range(3)]
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        scheduler=Constant(0.01),
        train_data=options.pop("train_data", data),
        val_data=[pairs(9, 7), pairs(10, 5), pairs(11, 6)],
        device=options.pop("device", "cpu"),
        config=TrainingConfig(**(values | {"batch_size": batch, "log_every": 1, "save_every": 3} | options)),
        run_dir=run_dir,
        progress=False,
        warn=lambda message: None,
        group=group,
    )


def result(group: Group, **options: Any) -> Any:
    one = trainer(group, **options)
    one.train()
    weights = {name: array.tobytes().hex() for name, array in one.model.state_dict().items()}
    return history(one), weights, "" if options.get("zero") else digest(one)


@pytest.mark.parametrize("contrast", [ClipLoss, SiglipLoss])
@pytest.mark.parametrize("grouped", [False, True])
def test_any_number_of_ranks_ends_with_the_same_bytes(contrast, grouped):
    work = partial(result, contrast=contrast, grouped=grouped)
    alone = on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, work) == alone
    assert len(alone[0]["train_loss"]) == 5


@settings(max_examples=10, deadline=None)
@given(
    parts=st.sampled_from([2, 3, 4, 6, 8]),
    batch=st.integers(8, 13),
    precision=st.sampled_from(["float32", "bfloat16", "float16"]),
    zero=st.integers(0, 2),
)
def test_so_it_is_for_other_sizes(parts, batch, precision, zero):
    zero = min(zero, 1) if precision == "float16" else zero
    options = {"gradient_accumulation_steps": parts, "batch": batch, "precision": precision, "max_steps": 3}
    alone = on_ranks(1, partial(result, **options))
    for ranks in valid_ranks(parts)[1:]:
        assert on_ranks(ranks, partial(result, **options, zero=zero))[:2] == alone[:2], ranks


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    def part(group: Group, name: str, steps: int) -> str:
        one = trainer(group, tmp_path / name, max_steps=steps)
        one.resume()
        one.train()
        return digest(one)

    on_ranks(4, partial(part, name="changing", steps=2))
    on_ranks(1, partial(part, name="changing", steps=3))
    assert on_ranks(2, partial(part, name="changing", steps=5)) == on_ranks(1, partial(part, name="whole", steps=5))


@settings(max_examples=15, deadline=None)
@given(
    ranks=st.sampled_from([1, 2, 4]),
    each=st.sampled_from([1, 2]),
    count=st.integers(8, 15),
    grouped=st.booleans(),
    contrast=st.sampled_from([ClipLoss, SiglipLoss]),
)
def test_the_gradient_is_that_of_the_whole_batch(ranks, each, count, grouped, contrast):
    """In float64, against one forward and backward of the whole batch at once."""
    batch, key, lr = pairs(3, count, grouped=grouped, dtype=np.float64), Key.from_seed(5), 1e-3
    model = dual_encoder(contrast, np.float64)
    expected, cache = model.loss(batch, key=key.fold(0))
    model.loss_backward(cache)

    def work(group: Group) -> Any:
        mine = dual_encoder(contrast, np.float64)
        one = Trainer(
            model=mine,
            optimizer=SGD(mine, lr=lr),
            train_data=[batch],
            config=TrainingConfig(
                batch_size=count,
                gradient_accumulation_steps=ranks * each,
                max_steps=1,
                precision="float64",
                max_grad_norm=None,
            ),
            progress=False,
            key=key,
            group=group,
        )
        one.train()
        return mine.state_dict(), one.history.get_latest("train_loss")

    before = dual_encoder(contrast, np.float64).state_dict()
    for after, mean in run_ranks(ranks, work, patience=20):
        assert mean == pytest.approx(expected.mean, rel=1e-12)
        for path, parameter in model.named_parameters():
            assert parameter.grad.any()
            gradient = (before[path] - after[path]) * count / lr
            np.testing.assert_allclose(gradient, parameter.grad, rtol=1e-7, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(parts=st.sampled_from([1, 2, 4, 6]), count=st.integers(8, 13), reduction=st.sampled_from([None, "mean"]))
def test_a_loss_function_that_compares_samples_sees_the_whole_batch(parts, count, reduction):
    """Whoever is alone in a micro-batch has partners in others: the mean is over all with a partner in the batch."""
    draw = np.random.default_rng(count)
    batch = (draw.standard_normal((count, WIDTH)), draw.integers(0, 3, count))
    loss_fn = SupervisedContrastiveLoss(0.5, reduction=reduction)
    model, key, lr = Tower(3, np.float64), Key.from_seed(5), 1e-3
    before = {path: array.copy() for path, array in model.state_dict().items()}
    outputs, cache = model.forward(batch[0], key=key.fold(0))
    expected, compared = SupervisedContrastiveLoss(0.5).forward(outputs, batch[1])
    model.backward(SupervisedContrastiveLoss(0.5).backward(1.0, compared), cache)
    gradients = {path: one.grad / expected.count for path, one in model.named_parameters()}

    def work(group: Group) -> Any:
        mine = Tower(3, np.float64)
        one = Trainer(
            model=mine,
            loss_fn=loss_fn,
            optimizer=SGD(mine, lr=lr),
            train_data=[batch],
            config=TrainingConfig(
                batch_size=count,
                gradient_accumulation_steps=parts,
                max_steps=1,
                precision="float64",
                max_grad_norm=None,
            ),
            progress=False,
            key=key,
            group=group,
        )
        one.train()
        weights = {path: array.tobytes() for path, array in mine.state_dict().items()}
        for path, array in mine.state_dict().items():
            np.testing.assert_allclose((before[path] - array) / lr, gradients[path], rtol=1e-7, atol=1e-9)
        return weights, one.history.get_latest("train_loss")

    alone = on_ranks(1, work)
    assert alone[1] == pytest.approx(expected.mean, rel=1e-12)
    for ranks in valid_ranks(parts)[1:]:
        assert on_ranks(ranks, work) == alone


def test_each_rank_by_itself_would_have_another_gradient():
    """What would come out if each micro-batch were compared with itself alone."""

    class Blind(DualEncoder):
        inputs_and_groups: Any = property()  # as if it did not say how to compare a whole batch

        def _run(self, batch: Any, key: Any) -> Any:
            *features, cache = self.forward(batch.images, batch.texts, key=key)
            loss, compared = self.contrast.forward(*features)
            return loss, DualEncoderCache(cache, compared), (features[0], features[1])

    def work(group: Group, kind: type[DualEncoder]) -> Any:
        return result(group, model=kind(Tower(1), Tower(2)))[0]["train_loss"][0]

    right, wrong = (on_ranks(2, partial(work, kind=kind)) for kind in (DualEncoder, Blind))
    assert wrong < right - 0.3  # fewer wrong partners


def test_a_batch_with_fewer_samples_than_micro_batches():
    """Ranks without a part see the loss of the others and add nothing."""

    class Few:
        steps_per_epoch = 4

        def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
            count = step % 3 + 1
            return [(row, Pairs(*(x[row : row + 1] for x in pairs(step, count)[:2]))) for row in range(count)]

    work = partial(result, train_data=Few(), batch=4, max_steps=3)
    alone = on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, work) == alone


@settings(max_examples=10, deadline=None)
@given(parts=st.integers(1, 7), ranks=st.sampled_from([1, 2, 3]), seed=st.integers(0, 99), grouped=st.booleans())
def test_it_does_not_matter_which_parts_a_rank_has(parts, ranks, seed, grouped):
    """In turn, or in any other order: the features are compared in the order of the samples."""
    batch, key = pairs(seed, 9, grouped=grouped, dtype=np.float64), Key.from_seed(1)
    owners = np.random.default_rng(seed).integers(0, ranks, parts)
    owners[0] = 0  # what the loss itself learns counts with the first part, on rank 0
    cut = split_batch(batch if grouped else Pairs(batch.images, batch.texts), parts)
    model = dual_encoder(dtype=np.float64)
    expected, cache = model.loss(batch, key=key)
    model.loss_backward(cache)

    def work(group: Group) -> Any:
        mine = dual_encoder(dtype=np.float64)
        whole = WholeBatch(mine, [cut[i] for i in range(parts) if owners[i] == group.rank], key, group)
        loss, compared = whole.loss()
        assert list(whole.backward(compared)) == [first for first, _ in whole.parts]
        return loss, [one.grad.copy() for one in mine.parameters()]

    found = run_ranks(ranks, work, patience=20)
    for loss, _ in found:
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for number, parameter in enumerate(model.parameters()):
        total = sum(gradients[number] for _, gradients in found)
        np.testing.assert_allclose(total, parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("row", [0, 6, 10])
def test_a_bad_sample_is_named_on_every_rank(row):
    def work(group: Group) -> str:
        batch = pairs(0, 11)
        batch.texts[row] = np.nan
        with pytest.raises(BadSampleError) as caught:
            result(group, train_data=[batch])
        return str(caught.value)

    alone = on_ranks(1, work)
    assert "texts of the batch" in alone
    assert f"first in its sample {row}" in alone
    assert on_ranks(2, work) == on_ranks(4, work) == alone


def test_a_loss_that_overflows_is_one_error_for_all():
    def work(group: Group) -> str:
        model = dual_encoder()
        model.contrast.temperature.log_scale.data[...] = np.nan
        with pytest.raises(NonFiniteError, match="log_scale") as caught:
            result(group, model=model)
        return str(caught.value)

    assert on_ranks(2, work) == on_ranks(4, work) == on_ranks(1, work)


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=4), number=st.integers(1, 3))
def test_rows_of_all_ranks_are_joined_in_their_order(counts, number):
    def rows(rank: int) -> list[Any]:
        draw = np.random.default_rng(rank)
        kinds = [draw.standard_normal((counts[rank], 3)), draw.integers(0, 9, counts[rank])]
        return [*kinds, draw.standard_normal((counts[rank], 2, 2)).astype(np.float32)][:number]

    every = [rows(rank) for rank in range(len(counts))]
    expected = [np.concatenate(kind) for kind in zip(*every, strict=True)]

    def work(group: Group, *, none_if_empty: bool) -> Any:
        mine = every[group.rank]
        return gather_rows(group, [] if none_if_empty and not counts[group.rank] else mine)

    for none_if_empty in (False, True):
        for found in run_ranks(len(counts), partial(work, none_if_empty=none_if_empty)):
            if not none_if_empty or any(counts):
                for one, other in zip(found, expected, strict=True):
                    assert one.dtype == other.dtype
                    np.testing.assert_array_equal(one, other)


def test_rows_that_do_not_fit_are_refused_on_every_rank():
    def work(group: Group) -> None:
        with pytest.raises(ShapeError, match=r"do not fit together: .*float64.* and .*float32"):
            gather_rows(group, [np.zeros((2, 3), "float64" if group.is_main else "float32")])

    run_ranks(3, work)
