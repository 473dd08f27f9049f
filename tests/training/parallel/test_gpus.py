"""Ranks with a GPU each, emulated: the bytes of one process, and exchanges beside the backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_numpy, use_kernels
from minitrain.backend.cuda.device import use_gpu
from minitrain.backend.cuda.streams import exchange_stream
from minitrain.distributed import Alone, Group, halving, run_ranks
from minitrain.distributed.background import OnStream
from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import buckets
from minitrain.testing.cuda import nccl
from minitrain.testing.cuda.fake import EmulatedDevice, StreamOrderError, emulated_device
from minitrain.training import Trainer
from tests.distributed.small_trainings import history, small_trainer
from tests.training.parallel import test_private as private
from tests.training.parallel import test_whole_batch as whole_batch


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """When one rank has failed, the other gives up soon."""
    monkeypatch.setattr(nccl, "PATIENCE", 2.0)
    yield
    nccl.reset()


@pytest.fixture(autouse=True)
def many_buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(buckets, "SMALLEST", 100)
    with use_kernels("reference"):
        yield


def language_model(group: Group, device: str, **options: Any) -> Trainer:
    """Micro-batches of unequal size, dropout, clipping, validation."""
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1)
    values = {"max_steps": 3, "save_every": 0} | options
    return small_trainer(group, model=model.to(device), device=device, **values)


def result(make: Callable[..., Trainer], group: Group, device: str = "cpu", **options: Any) -> Any:
    """Weights and metrics of a training."""
    one = make(group, device=device, **options)
    found = one.train()
    return [to_numpy(x).tobytes() for x in one.model.state_dict().values()], repr(history(one)), found.privacy


def on_gpus(size: int, work: Callable[..., Any]) -> list[Any]:
    """What each rank finds on a GPU of its own."""
    with emulated_device(size):
        return run_ranks(size, lambda carrier: work(carrier, device=f"cuda:{carrier.rank}"), patience=60)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("reduce_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("zero", "many"), [(0, 16), (1, 16), (0, 2), (1, 2)])
def test_two_gpus_end_with_the_bytes_of_one_process(monkeypatch, zero, many, reduce_dtype, overlap):
    """With whole and shared moments, adding by owners and by pairs, all of a number and 16 bits of it."""
    monkeypatch.setattr(halving, "MANY", many)
    work = partial(result, language_model, reduce_dtype=reduce_dtype)
    assert on_gpus(2, partial(work, zero=zero, overlap=overlap)) == [work(Alone())] * 2


@pytest.mark.parametrize("options", [{"packed": False}, {"precision": "bfloat16"}, {"gradient_accumulation_steps": 8}])
def test_so_do_four(options):
    work = partial(result, language_model, **options)
    assert on_gpus(4, work) == [work(Alone())] * 4


@pytest.mark.parametrize("grouped", [False, True])
def test_the_samples_of_a_batch_are_compared_over_all_gpus(grouped):
    def make(group: Group, device: str, **options: Any) -> Trainer:
        model = whole_batch.dual_encoder().to(device)
        return whole_batch.trainer(group, model=model, device=device, grouped=grouped, **options)

    work = partial(result, make, max_steps=3, save_every=0)
    alone = work(Alone())
    assert on_gpus(2, work) == [alone] * 2
    assert on_gpus(4, work) == [alone] * 4


def test_private_training_adds_its_noise_once():
    pytest.importorskip("dp_accounting")
    work = partial(result, private.trainer, max_steps=3, save_every=0)
    alone = work(Alone())
    assert alone[2] is not None
    assert on_gpus(2, work) == [alone] * 2


def test_what_a_gpu_cannot_is_refused():
    with pytest.raises(ConfigError, match=r"zero=2 gives the memory of gradients back .* set zero=1"):
        on_gpus(2, partial(result, language_model, zero=2))


# Beside the backward.


def test_gradients_travel_while_the_backward_is_running(monkeypatch):
    """From the second step on: the first one shows in which order they are ready."""
    sent: dict[int, list[int]] = {}  # of each rank: how much it had enqueued for computing, at each exchange
    submit = OnStream.submit

    def noted(self: OnStream, work: Any) -> None:
        sent[self.xp.cuda.runtime.getDevice()].append(self.xp.cuda.get_current_stream().done)
        submit(self, work)

    monkeypatch.setattr(OnStream, "submit", noted)

    def spread(group: Group, device: str, overlap: bool) -> list[int]:
        """What is enqueued between the first and the last exchange of each of two steps."""
        sent[group.rank] = []
        with use_gpu(device).cuda.Stream():  # a stream of this rank alone
            language_model(group, device, overlap=overlap, max_steps=2, validation_frequency=0).train()
        return [int(np.ptp(step)) for step in np.split(np.array(sent[group.rank]), 2)]

    for first, second in on_gpus(2, partial(spread, overlap=True)):
        assert second > 5 * first
    assert on_gpus(2, partial(spread, overlap=False)) == [[first, first]] * 2


def test_the_host_waits_for_no_exchange():
    """It waits as often as without overlap: for the losses and the norms."""

    def waits(group: Group, device: str, counted: EmulatedDevice, **options: Any) -> int:
        one = language_model(group, device, max_steps=2, validation_frequency=0, log_every=2, **options)
        group.barrier()  # the count is of all ranks
        with counted.counting() as counts:
            one.train()
            group.barrier()
        return counts.synchronisations

    found = []
    for options in ({"overlap": False}, {}, {"zero": 1}, {"reduce_dtype": "bfloat16"}):
        with emulated_device(2) as device:
            found += run_ranks(2, lambda c, o=options, d=device: waits(c, f"cuda:{c.rank}", d, **o), patience=60)
    assert found == [found[0]] * len(found)


# Each order, taken away.


def test_without_the_wait_before_an_exchange(impatient, monkeypatch):
    def hurry(self: OnStream, work: Any) -> None:
        with exchange_stream(self.xp):
            work()

    monkeypatch.setattr(OnStream, "submit", hurry)
    with pytest.raises(StreamOrderError, match=r"stream \d+ (reads|writes) memory that the default stream may"):
        on_gpus(2, partial(result, language_model))


def test_without_the_wait_after_an_exchange(impatient, monkeypatch):
    monkeypatch.setattr(OnStream, "wait", lambda self: None)
    with pytest.raises(StreamOrderError, match=r"the default stream (reads|writes) memory that stream \d+ may"):
        on_gpus(2, partial(result, language_model))
