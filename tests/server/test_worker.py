"""The thread of an engine: events arrive, calls are answered, and whatever ends it ends everything."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from minitrain.generation import SamplingParams, UncachedSession, batch_generate
from minitrain.server.worker import BusyError, ClosedError, Generation, Turns, Worker
from tests.helpers.serving.servers import small_model

PARAMS = SamplingParams(max_new_tokens=6, seed=4)
ENDLESS = SamplingParams(max_new_tokens=100_000)


@pytest.fixture
def worker() -> Any:
    one = Worker(UncachedSession(small_model().model, slots=2), requests=3)
    yield one
    one.close()
    assert not one._thread.is_alive()


def prompts(*texts: str) -> list[Any]:
    return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]


def test_events_are_those_of_a_batch(worker: Worker) -> None:
    async def generate() -> list[list[int]]:
        found: list[list[int]] = [[], []]
        generation = Generation(worker, prompts("ab", "c"), PARAMS)
        async for index, event in generation:
            assert event.token is not None
            found[index].append(event.token)
        generation.close()
        return found

    expected = batch_generate(small_model().model, prompts("ab", "c"), PARAMS)
    assert asyncio.run(generate()) == [result.tokens.tolist() for result in expected]
    assert worker.unfinished == 0
    assert worker.tokens == 12


def test_closing_a_generation_frees_what_it_has_taken(worker: Worker) -> None:
    async def generate() -> None:
        generation = Generation(worker, prompts("a", "b", "c"), ENDLESS)
        with pytest.raises(BusyError, match="3 requests"):
            Generation(worker, prompts("d"), PARAMS)
        async for _ in generation:
            break
        generation.close()
        while worker.unfinished:
            await asyncio.sleep(0.01)
        with pytest.raises(BusyError):  # two of these four fit, and are given back
            Generation(worker, prompts("a", "b", "c", "d"), ENDLESS)
        while worker.unfinished:
            await asyncio.sleep(0.01)
        assert worker.running == 0

    asyncio.run(generate())


def test_calls_run_in_the_thread_of_the_engine(worker: Worker) -> None:
    assert worker.call(lambda: threading.current_thread().name).result(60) == "minitrain-engine"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0).result(60)
    future = worker.call(lambda: 3)
    assert future.result(60) == 3


def test_close_ends_requests_and_calls() -> None:
    worker = Worker(UncachedSession(small_model().model, slots=1))
    told: list[Any] = []
    for _ in range(3):
        worker.submit([1], ENDLESS, told.append)
    begun, hold = threading.Event(), threading.Event()
    waiting = worker.call(lambda: begun.set() or hold.wait())  # type: ignore[func-returns-value]
    assert begun.wait(60)
    late = worker.call(lambda: 1)
    closing = threading.Thread(target=worker.close)
    closing.start()
    hold.set()
    closing.join(60)
    assert waiting.result(60) is True
    assert late.done()
    assert isinstance(late.exception(), ClosedError | None)
    assert [type(event.error) for event in told if event.finish_reason] == [ClosedError] * 3
    for use in (lambda: worker.submit([1], PARAMS, told.append), lambda: worker.call(lambda: 1)):
        with pytest.raises(ClosedError):
            use()
    worker.close()


def test_a_request_that_fails_raises_for_its_own_client(worker: Worker) -> None:
    def fails(tokens: Any, logits: Any) -> Any:
        raise KeyError("planted")

    async def both() -> list[Any]:
        async def tokens(params: SamplingParams) -> list[Any]:
            return [event.token async for _, event in Generation(worker, prompts("a"), params)]

        bad = SamplingParams(max_new_tokens=3, processor=fails)
        return await asyncio.gather(tokens(PARAMS), tokens(bad), return_exceptions=True)

    good, bad = asyncio.run(both())
    assert len(good) == 6
    assert isinstance(bad, KeyError)


def test_two_engines_take_turns() -> None:
    turns, inside, steps = Turns(), 0, [0, 0]
    workers = [Worker(UncachedSession(small_model().model, slots=1), turns=turns) for _ in range(2)]
    for number, worker in enumerate(workers):
        step = worker._engine.step

        def watched(step: Any = step, number: int = number) -> Any:
            nonlocal inside
            inside += 1
            assert inside == 1
            steps[number] += 1
            events = step()
            inside -= 1
            return events

        worker._engine.step = watched  # type: ignore[method-assign]
        worker.submit([1], ENDLESS, lambda event: None)
    while min(steps) < 1:
        pass
    before = list(steps)
    while max(steps) < max(before) + 40:
        pass
    assert min(now - then for now, then in zip(steps, before, strict=True)) >= 5  # with a plain lock, often 0
    for worker in workers:
        worker.close()
