"""Gradients travel while the backward is running, for all ranks or for their owner alone: the bytes stay the same."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

from minitrain.distributed import Group, halving, run_ranks
from minitrain.errors import ConfigError, MinitrainError
from minitrain.losses import MeanSquaredError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.nn import Linear, pack
from minitrain.nn.core.ready import grads_ready
from minitrain.optim import AdamW, buckets
from minitrain.training import EMA, Callback, GradientStatistics, NaNGuard, SpikeGuard, Trainer, TrainingConfig
from minitrain.training.parallel.gradient_sum import GradientSum
from tests.distributed.small_trainings import history, on_ranks, small_trainer
from tests.training.parallel.test_decisions import poisoned

SHAPE = {"vocab_size": 11, "block_size": 8, "n_layer": 3, "n_head": 2, "n_embd": 8, "dropout": 0.1}


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small model has several."""
    monkeypatch.setattr(buckets, "SMALLEST", 300)


def weights(trainer: Trainer) -> str:
    return b"".join(array.tobytes() for array in trainer.model.state_dict().values()).hex()


def result(group: Group, **options: Any) -> Any:
    ema = EMA(0.9)
    model = options.pop("make", GPT)(options.pop("shape", GPTConfig)(**SHAPE), seed=1)
    trainer = small_trainer(group, None, ema, SpikeGuard(warmup=2), model=model, max_steps=3, **options)
    trainer.train()
    averages = {name: array.tobytes().hex() for name, array in ema.state_dict().items()}
    return weights(trainer), history(trainer), averages


@pytest.mark.parametrize("parts", [4, 6])
def test_every_stage_with_and_without_overlap_has_the_same_bytes(parts):
    """With dropout, clipping, an average, and accumulation; 6 micro-batches are 2 for each of 3 ranks."""
    alone = on_ranks(1, partial(result, gradient_accumulation_steps=parts))
    for ranks in (2, 4) if parts == 4 else (3,):
        for zero, overlap in ((0, True), (0, False), (1, True), (1, False), (2, True), (2, False)):
            work = partial(result, gradient_accumulation_steps=parts, zero=zero, overlap=overlap)
            assert on_ranks(ranks, work) == alone, (ranks, zero, overlap)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ranks_that_add_by_pairs_have_the_same_bytes(monkeypatch, dtype):
    """As many ranks do; see `minitrain.distributed.halving`."""
    alone = on_ranks(1, partial(result, reduce_dtype=dtype))
    monkeypatch.setattr(halving, "MANY", 2)
    for ranks, zero in ((2, 0), (4, 0), (4, 1), (4, 2)):
        assert on_ranks(ranks, partial(result, reduce_dtype=dtype, zero=zero)) == alone, (ranks, zero)


def test_bfloat16_between_ranks_has_the_same_bytes_for_all_of_them():
    alone = on_ranks(1, partial(result, reduce_dtype="bfloat16"))
    for ranks, zero in ((2, 0), (4, 0), (2, 1), (2, 2), (4, 2)):
        assert on_ranks(ranks, partial(result, reduce_dtype="bfloat16", zero=zero)) == alone, (ranks, zero)
    exact = on_ranks(1, result)
    assert exact[0] != alone[0]
    assert alone[1]["train_loss"] == pytest.approx(exact[1]["train_loss"], rel=1e-3)


class Spy:
    """Notes in which order buckets are added, and how many before the backward is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.early: list[int] = []
        self.calls: dict[int, list[int]] = {}
        taken, added = GradientSum.take, GradientSum._add_up

        def take(sums: GradientSum, **options: Any) -> None:
            if sums.group.rank == 0:
                self.early.append(sums._sent)
            taken(sums, **options)

        def add_up(sums: GradientSum, number: int, **options: Any) -> None:
            self.calls.setdefault(sums.group.rank, []).append(number)
            added(sums, number, **options)

        monkeypatch.setattr(GradientSum, "take", take)
        monkeypatch.setattr(GradientSum, "_add_up", add_up)


@pytest.mark.parametrize(("make", "shape"), [(GPT, GPTConfig), (Llama, LlamaConfig)])
def test_buckets_leave_during_the_last_backward_alone(monkeypatch, make, shape):
    """4 micro-batches on 2 ranks: each step has a backward that sends nothing, and one that sends."""
    spy = Spy(monkeypatch)
    on_ranks(2, partial(result, make=make, shape=shape))
    assert spy.calls[0] == spy.calls[1]
    count = len(spy.calls[0]) // 3
    assert sorted(spy.calls[0]) == sorted([*range(count)] * 3)
    assert spy.early[0::2] == [0, 0, 0]
    assert spy.early[1] == 0  # the first backward is observed
    assert spy.early[3] == spy.early[5] >= 3
    assert spy.early[3] < count  # the embedding is complete at the end alone


def test_in_stage_2_each_micro_batch_travels_and_ranks_take_them_in_turn(monkeypatch):
    spy = Spy(monkeypatch)
    on_ranks(2, partial(result, zero=2))
    assert min(spy.early[2:]) >= 3
    sums = [GradientSum(_of(rank, 2), 8, zero=2) for rank in (0, 1)]
    assert [list(one.mine) for one in sums] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert list(GradientSum(_of(1, 3), 6, zero=2).mine) == [2, 3]


@pytest.mark.parametrize(
    ("zero", "gathered", "callbacks"),
    [(0, 1, ()), (1, 1, ()), (1, 2, (GradientStatistics,)), (2, 1, ())],
    ids=["0", "1", "1-read", "2"],
)
def test_what_travels_in_each_stage(monkeypatch, zero, gathered, callbacks):
    """In buffers of a gradient: in stage 1 gradients go to their owners alone, unless somebody reads the whole sum."""
    counts = {"reduce_scatter": 0, "all_gather": 0}

    def counting(name: str) -> None:
        method = getattr(Group, name)

        def call(group: Group, array: Any, **options: Any) -> Any:
            counts[name] += array.size * (array.dtype == np.float32 and group.rank == 0)
            return method(group, array, **options)

        monkeypatch.setattr(Group, name, call)

    for name in counts:
        counting(name)

    def work(group: Group) -> int:
        trainer = small_trainer(group, None, *(one() for one in callbacks), max_steps=3, zero=zero)
        trainer.train()
        return sum(bucket.grad.size for bucket in buckets.buckets_of(trainer.model))

    count = 3 * on_ranks(2, work)
    terms = 2 if zero == 2 else 1  # of a rank that travel
    assert counts == {"reduce_scatter": terms * count, "all_gather": gathered * count}


def _of(rank: int, size: int) -> Group:
    return run_ranks(size, lambda group: group)[rank]


class Repeating(GPT):
    """A model of which a block has its say twice."""

    def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
        super().loss_backward(cache, dtotal)
        for parameter in self.blocks[-1].parameters():
            parameter.grad[...] *= 2
        grads_ready(self.blocks[-1])


def test_a_block_that_is_used_twice_is_ready_after_the_second_time(monkeypatch):
    spy = Spy(monkeypatch)
    work = partial(result, make=Repeating)
    assert on_ranks(2, work) == on_ranks(1, work) != on_ranks(1, result)
    assert spy.early[3] > 0


class Late(GPT):
    """From the second step on, adds to a gradient that is said to be ready."""

    backwards = 0

    def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
        super().loss_backward(cache, dtotal)
        self.backwards += 1
        if self.backwards > 2:
            self.blocks[-1].feed_forward.down.weight.grad[...] += 1


def test_a_gradient_that_changes_after_it_was_sent_is_an_error_that_names_it():
    with pytest.raises(MinitrainError, match=r"gradient of blocks\.2.*trainer\.overlap=false"):
        on_ranks(2, partial(result, make=Late))
    assert on_ranks(2, partial(result, make=Late, overlap=False))


def test_a_step_that_is_skipped_leaves_nothing_behind_in_stage_2():
    def work(group: Group, **options: Any) -> Any:
        bad = poisoned((1, 3), (3, 0), (3, 2))
        trainer = small_trainer(group, None, NaNGuard("skip"), model=bad, max_steps=5, **options)
        trainer.train()
        return weights(trainer), history(trainer), trainer.state.skipped

    alone = on_ranks(1, work)
    assert alone[2] == 2
    assert on_ranks(2, partial(work, zero=2)) == on_ranks(4, partial(work, zero=2)) == alone


def test_an_infinite_gradient_is_named_on_all_ranks():
    class Infinite(GPT):
        def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
            super().loss_backward(cache, dtotal)
            self.pos_emb.weight.grad[-1] = np.inf

    def work(group: Group, **options: Any) -> str:
        model = Infinite(GPTConfig(**SHAPE), seed=1)
        with pytest.raises(MinitrainError, match=r"norm is inf: the gradient of .*pos_emb.* holds infinity") as caught:
            small_trainer(group, None, model=model, **options).train()
        return str(caught.value)

    assert on_ranks(1, work) == on_ranks(2, work)
    on_ranks(2, partial(work, zero=2))


def test_stage_2_refuses_who_reads_whole_gradients():
    class Own(Callback):
        def on_before_optimizer_step(self, view: Any, gradient: Any) -> None: ...

    class Blind(Own):
        reads_gradients = False

    for callback, options in ((Own(), {}), (GradientStatistics(), {}), (Blind(), {"log_gradients": True})):
        with pytest.raises(ConfigError, match=r"zero=2 does not go with (Own|GradientStatistics)"):
            on_ranks(2, lambda group, one=callback, more=options: small_trainer(group, None, one, zero=2, **more))
    with pytest.raises(ConfigError, match="float16"):
        on_ranks(2, lambda group: small_trainer(group, None, zero=2, precision="float16"))
    run_ranks(2, lambda group: small_trainer(group, None, Blind(), zero=2))


def test_16_bits_are_for_models_of_float32():
    def work(group: Group) -> None:
        model = GPT(GPTConfig(**SHAPE), seed=1, dtype=np.float64)
        small_trainer(group, None, model=model, precision="float64", reduce_dtype="bfloat16")

    with pytest.raises(ConfigError, match=r"reduce_dtype=bfloat16 .* is float64"):
        on_ranks(2, work)


def test_a_model_that_says_nothing_travels_afterwards():
    """And one that is not packed, parameter by parameter."""

    def work(group: Group) -> Any:
        model = Linear(3, 2, np.random.default_rng(0))
        trainer = Trainer(
            model=model,
            train_data=[(np.ones((8, 3), np.float32), np.ones((8, 2), np.float32))],
            loss_fn=MeanSquaredError(),
            config=TrainingConfig(batch_size=8, gradient_accumulation_steps=4, max_steps=3),
            progress=False,
            group=group,
        )
        trainer.train()
        return weights(trainer)

    assert on_ranks(2, work) == on_ranks(4, work) == on_ranks(1, work)


def test_a_run_of_stage_2_goes_on_with_other_ranks_and_stages(tmp_path):
    def work(group: Group, name: str, steps: int, **options: Any) -> Any:
        trainer = small_trainer(group, tmp_path / name, max_steps=steps, save_every=2, **options)
        if steps == 4 and name == "run":
            assert trainer.resume() == 2
        trainer.train()
        return weights(trainer)

    on_ranks(4, partial(work, name="run", steps=2, zero=2))
    resumed = on_ranks(2, partial(work, name="run", steps=4, zero=2))
    assert resumed == on_ranks(1, partial(work, name="whole", steps=4))


def test_buckets_cover_a_packed_model_with_whole_parameters():
    model = GPT(GPTConfig(**SHAPE), seed=1)
    flat = pack(model)
    found = buckets.buckets_of(model)
    assert sum(one.grad.size for one in found) == sum(group.grad.size for group in flat)
    assert sorted(path for one in found for path in one.parameters) == sorted(
        path for path, _ in model.named_parameters()
    )
    assert all(one.grad.size >= 300 for one in found[:-2])
    for bucket in found:
        for parameter in bucket.parameters.values():
            parameter.grad[...] = 1
            assert bucket.grad.sum() == pytest.approx(parameter.data.size)
            parameter.grad[...] = 0


def test_moments_are_shared_evenly():
    def work(group: Group) -> int:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        pack(model)
        optimizer = AdamW(model)
        optimizer.share(group)
        return sum(piece.data.size for piece in optimizer.state_dict()["moments"].values())

    kept, whole = run_ranks(4, work), run_ranks(1, work)[0]
    assert sum(kept) == whole
    assert max(kept) < 1.1 * whole / 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep the pages")
def test_gradients_of_others_are_given_back_and_the_own_ones_stay(monkeypatch):
    """With buckets of many pages; 4 micro-batches on 2 ranks, so that the memory is written twice in a step."""
    monkeypatch.setattr(buckets, "SMALLEST", 20_000)
    shape = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 64}

    def work(group: Group, **options: Any) -> Any:
        model = GPT(GPTConfig(**shape), seed=1)
        trainer = small_trainer(group, None, model=model, max_steps=2, **options)
        trainer.train()
        sums = trainer.loop.together.sums
        if group.size > 1:
            for bucket in sums.buckets[:3]:
                own = sums.own(bucket)
                others = np.concatenate([bucket.grad[: own.start], bucket.grad[own.stop :]])
                assert (others == 0).mean() > 0.75  # all but parts of pages
                assert (bucket.grad[own] != 0).mean() > 0.9
        return weights(trainer)

    assert on_ranks(2, partial(work, zero=2)) == on_ranks(1, work)
