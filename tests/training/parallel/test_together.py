"""What ranks do as one, each part of it alone: sums of gradients and losses, requests, and refusals of what differs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitrain.training.parallel.together as together
from minitrain.data import TokenLoader
from minitrain.distributed import Group, run_ranks, valid_ranks
from minitrain.distributed.tree import tree_sum
from minitrain.errors import BadSampleError, CheckpointError, ConfigError, NonFiniteError
from minitrain.nn import Linear, pack
from minitrain.ops import Loss
from minitrain.training.parallel.together import Together
from minitrain.training.state import Control

REQUESTS = ("log", "evaluate", "save", "skip", "rollback")


def small_model() -> Linear:
    model = Linear(3, 2, np.random.default_rng(0))
    pack(model)
    return model


def terms_of(count: int, seed: int = 0) -> list[Any]:
    """Gradients of very different sizes, by micro-batch: their sum depends on the order. One element is minus zero."""
    draw = np.random.default_rng((count, seed))
    terms = [(draw.standard_normal(8) * 10.0 ** draw.integers(-4, 5, 8)).astype(np.float32) for _ in range(count)]
    for term in terms:
        term[3] = -0.0
    return terms


def losses_of(count: int) -> list[Loss]:
    draw = np.random.default_rng(count)
    return [Loss(float(total), float(n)) for total, n in zip(draw.exponential(3, count), range(1, 40), strict=False)]


def backwards(model: Linear, numbers: Any, terms: list[Any], losses: list[Loss], bad: Any = None) -> Any:
    """The loss of each micro-batch, after its backward has added to the gradients."""
    for number in numbers:
        if bad is not None and number in bad:
            raise bad[number]
        for parameter, values in ((model.weight, terms[number][:6]), (model.bias, terms[number][6:])):
            fresh, gradient = parameter.fresh, parameter.grad  # what no backward has written is overwritten
            gradient[...] = values.reshape(parameter.data.shape) + (-0.0 if fresh else gradient)
        yield losses[number]


def gradient_of(model: Linear) -> Any:
    return np.concatenate([model.weight.read_grad().reshape(-1), model.bias.read_grad()])


@settings(max_examples=25, deadline=None)
@given(micro_batches=st.integers(1, 8), missing=st.integers(0, 7), data=st.data())
def test_the_sum_has_the_bytes_of_the_tree_for_any_number_of_ranks(micro_batches, missing, data):
    """Also where the batch has fewer micro-batches, and in a second step, whose sum holds nothing of the first."""
    ranks = data.draw(st.sampled_from(valid_ranks(micro_batches)))
    there = max(1, micro_batches - missing)
    steps = [(terms_of(there, seed), losses_of(there + seed)[:there]) for seed in range(2)]

    def work(group: Group) -> list[Any]:
        model, ranks_as_one, found = small_model(), Together(group, micro_batches), []
        mine = [number for number in ranks_as_one.mine if number < there]
        for terms, losses in steps:
            model.zero_grad()
            loss = ranks_as_one.add_up(model, backwards(model, mine, terms, losses), len(mine))
            found.append((gradient_of(model).tobytes(), loss))
        return found

    for result in run_ranks(ranks, work, patience=20):
        for (gradient, loss), (terms, losses) in zip(result, steps, strict=True):
            assert gradient == tree_sum([term.copy() for term in terms]).tobytes()
            total = count = 0.0
            for one in losses:  # in the order of the micro-batches
                total, count = total + one.total, count + one.count
            assert loss == Loss(total, count)


def test_a_model_that_moves_to_other_memory_is_added_up_there():
    """It is packed between two steps; the sum must not end in the gradients of before."""

    def work(group: Group) -> list[bytes]:
        model, ranks_as_one, found = Linear(3, 2, np.random.default_rng(0)), Together(group, 4), []
        for _ in range(2):
            model.zero_grad()
            ranks_as_one.add_up(model, backwards(model, ranks_as_one.mine, terms_of(4), losses_of(4)), 4 // group.size)
            found.append(gradient_of(model).tobytes())
            pack(model)
        return found

    expected = tree_sum(terms_of(4)).tobytes()
    assert run_ranks(2, work, patience=20) == [[expected] * 2] * 2


def test_a_frozen_parameter_has_no_part_in_it():
    def work(group: Group) -> Any:
        model = Linear(3, 2, np.random.default_rng(0))
        model.bias.trainable = False
        pack(model)
        ranks_as_one = Together(group, 2)
        terms, (number,) = terms_of(2), ranks_as_one.mine
        model.weight.grad[...] = terms[number][:6].reshape(2, 3)
        ranks_as_one.add_up(model, iter([Loss(1.0, 1)]), 1)
        return model.weight.read_grad().tobytes(), model.bias.fresh

    expected = tree_sum([term[:6].copy() for term in terms_of(2)]).tobytes()
    assert run_ranks(2, work, patience=20) == [(expected, True)] * 2


@pytest.mark.parametrize("kind", [NonFiniteError, BadSampleError])
@pytest.mark.parametrize("bad", [{1}, {2, 3}, {0, 2}, {3}])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_first_loss_that_is_not_finite_is_the_error_of_all(ranks, bad, kind):
    """And the next step is well: nothing is left of the one that ended."""
    terms, losses = terms_of(4), losses_of(4)

    def work(group: Group) -> Any:
        model, ranks_as_one = small_model(), Together(group, 4)
        errors = {number: kind(f"micro-batch {number}") for number in bad}
        with pytest.raises(NonFiniteError) as caught:
            ranks_as_one.add_up(model, backwards(model, ranks_as_one.mine, terms, losses, errors), 4 // ranks)
        model.zero_grad()
        ranks_as_one.add_up(model, backwards(model, ranks_as_one.mine, terms, losses), 4 // ranks)
        assert (caught.value is errors.get(min(bad))) is (min(bad) in ranks_as_one.mine)
        return type(caught.value), str(caught.value), gradient_of(model).tobytes()

    expected = (kind, f"micro-batch {min(bad)}", tree_sum([term.copy() for term in terms]).tobytes())
    assert run_ranks(ranks, work, patience=20) == [expected] * ranks


@settings(max_examples=40, deadline=None)
@given(
    wishes=st.lists(st.tuples(*[st.booleans()] * 5, st.sampled_from(["", "enough", "ä"])), min_size=1, max_size=4),
    signals=st.lists(st.sampled_from([0, 0, 2, 15]), min_size=4, max_size=4),
)
def test_all_follow_rank_0_and_hear_of_any_signal(wishes, signals):
    def work(group: Group) -> Any:
        *asked, stop = wishes[group.rank]
        control = Control(**dict(zip(REQUESTS, asked, strict=True)), stop=stop)
        heard = Together(group, len(wishes)).agree(control, signals[group.rank])
        return tuple(getattr(control, name) for name in (*REQUESTS, "stop")), heard

    expected = (tuple(wishes[0]), max(signals[: len(wishes)]))
    assert run_ranks(len(wishes), work, patience=20) == [expected] * len(wishes)


@pytest.mark.parametrize("other", [0, 1, 2])
def test_a_rank_with_other_weights_is_named(other):
    """One bit of one weight is enough."""

    def work(group: Group) -> str:
        model, ranks_as_one = small_model(), Together(group, 3)
        ranks_as_one.refuse_other_weights(model, 6)
        if group.rank == other:
            model.bias.data[-1] = np.nextafter(model.bias.data[-1], np.float32(9))
        with pytest.raises(CheckpointError) as caught:
            ranks_as_one.refuse_other_weights(model, 7)
        return str(caught.value)

    expected = f"step 7: the weights of rank {other or 1} are not those of rank 0, and nothing is saved"
    assert all(said.startswith(expected) for said in run_ranks(3, work, patience=20))


def test_weights_that_changed_places_are_others():
    def work(group: Group) -> None:
        model = small_model()
        model.weight.data[...] = np.arange(6).reshape(2, 3)[:: 1 - 2 * group.rank]
        with pytest.raises(CheckpointError, match="rank 1"):
            Together(group, 2).refuse_other_weights(model, 0)

    run_ranks(2, work, patience=20)


@pytest.mark.parametrize("what", ["versions", "saved_products"])
def test_machines_of_other_kinds_are_refused(monkeypatch, what):
    """Rank 1 has another version of a library, or multiplies with another product."""
    real, setup = (
        getattr(together, what),
        SimpleNamespace(device="cpu", arithmetic=SimpleNamespace(precision="float32")),
    )
    asked: list[Any] = []

    def differing(*arguments: Any) -> Any:
        asked.append(arguments)
        found = dict(real(*arguments))
        if threading.current_thread().name == "rank-1":
            name = next(iter(found))
            found[name] = {**found[name], "version": "0"} if what == "saved_products" else "0"
        return found

    run_ranks(2, lambda group: Together(group, 2).begin(setup), patience=20)
    monkeypatch.setattr(together, what, differing)
    with pytest.raises(ConfigError, match=r"rank 1 has .*=0 and rank 0 has .*: sums would differ in their last bits"):
        run_ranks(2, lambda group: Together(group, 2).begin(setup), patience=20)
    assert set(asked) == {("cpu", "float32") if what == "saved_products" else ()}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_each_rank_reads_its_share_of_a_batch(ranks):
    loader = TokenLoader(np.arange(200) % 11, 8, 9, seed=0)
    setup = SimpleNamespace(data=loader, device="cpu")

    def work(group: Group) -> Any:
        return Together(group, 4).batch(setup, 3)

    found = [part for share in run_ranks(ranks, work, patience=20) for part in share]
    expected = loader.micro_batches(3, 4)
    assert [first for first, _ in found] == [first for first, _ in expected]
    for (_, mine), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.inputs, other.inputs)
        np.testing.assert_array_equal(mine.targets, other.targets)


def test_ranks_that_cannot_share_are_refused():
    with pytest.raises(ConfigError, match="use 1, 3 or 6 ranks"):
        run_ranks(2, lambda group: Together(group, 6), patience=20)
