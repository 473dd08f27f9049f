"""Moments that ranks share: pieces that together are the whole, and weights that reach all."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.distributed import Alone, Group, run_ranks
from minitrain.distributed.pieces import Piece
from minitrain.errors import CheckpointError, ConfigError, MinitrainError
from minitrain.models import MLP, MLPConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, buckets
from minitrain.optim.shared_moments import kinds_of, load_moments


def optimizer(shared: Group | None, features: int = 3, packed: bool = True) -> AdamW:
    model = MLP(MLPConfig((features, 2, 3)), seed=0)  # two matrices and two biases: two spans of several parameters
    if packed:
        pack(model)
    made = AdamW(model, lr=0.1)
    if shared is not None:
        made.share(shared)
    return made


def step(made: AdamW, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _, parameter in made.model.named_parameters():
        parameter.grad[...] = draw.standard_normal(parameter.data.shape)
    made.step()


@pytest.mark.parametrize("smallest", [1, 4, 1 << 20])
@settings(max_examples=15, deadline=None)
@given(ranks=st.integers(1, 5), features=st.integers(1, 5))
def test_pieces_cover_each_moment_once_and_updates_reach_all(smallest, ranks, features):
    """In a bucket for each parameter, in a few, and in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "SMALLEST", smallest)
        check_pieces_and_updates(ranks, features)


def check_pieces_and_updates(ranks, features):
    alone = optimizer(None, features)
    for seed in range(3):
        step(alone, seed)
    whole = alone.state_dict()["moments"]

    def work(group: Group) -> Any:
        made = optimizer(group, features)
        for seed in range(3):
            step(made, seed)
        return made.state_dict()["moments"], {path: one.data for path, one in made.model.named_parameters()}

    results = run_ranks(ranks, work, patience=20)
    for pieces, weights in results:
        assert pieces.keys() == whole.keys()
        for path, one in alone.model.named_parameters():
            assert weights[path].tobytes() == one.data.tobytes()
    for name, array in whole.items():
        pieces = [one[name] for one, _ in results]
        assert all(piece.shape == array.shape for piece in pieces)
        there = 0
        for piece in pieces:  # in the order of the ranks
            if piece.data.size:
                assert piece.start == there
            assert piece.nbytes == piece.data.nbytes
            np.testing.assert_array_equal(piece.of(array), piece.data)
            there += piece.data.size
        assert there == array.size
        np.testing.assert_array_equal(np.concatenate([piece.data for piece in pieces]), array.reshape(-1))


def test_whole_arrays_are_loaded_into_the_pieces():
    alone = optimizer(None)
    step(alone, 0)
    state = alone.state_dict()
    state = {**state, "moments": {name: array.copy() for name, array in state["moments"].items()}}
    step(alone, 1)

    def work(group: Group) -> bytes:
        made = optimizer(group)
        step(made, 0)
        for pieces in made.state_dict()["moments"].values():
            pieces.data[...] = np.nan
        made.load_state_dict(state)
        step(made, 1)
        return b"".join(one.data.tobytes() for one in made.model.parameters())

    expected = b"".join(one.data.tobytes() for one in alone.model.parameters())
    assert run_ranks(3, work, patience=20) == [expected] * 3


def test_a_state_of_another_model_is_refused():
    own = {"mean.w": Piece(np.zeros(2), (2, 3), 1), "plain": np.zeros(2)}
    load_moments(own, {"mean.w": np.arange(6.0).reshape(2, 3), "plain": np.array([7.0, 8.0])}, "it")
    assert own["mean.w"].data.tolist() == [1, 2]
    assert own["plain"].tolist() == [7, 8]  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"it: only one of the two has mean\.w"):
        load_moments(own, {"plain": np.zeros(2)}, "it")
    with pytest.raises(CheckpointError, match="it: plain has shape"):
        load_moments(own, {"mean.w": np.zeros((2, 3)), "plain": np.zeros(3)}, "it")


def test_a_saved_state_has_whole_arrays():
    kind = kinds_of({"mean.w": Piece(np.zeros(2, np.float32), (2, 3), 1), "plain": np.zeros(2)})
    assert kind.problem({"mean.w": np.ones((2, 3)), "plain": np.ones(2)}) is None
    for wrong in (np.ones(2), np.ones((3, 2)), np.ones((2, 3), int)):
        assert "mean.w" in str(kind.problem({"mean.w": wrong, "plain": np.ones(2)}))


def test_what_cannot_be_shared_is_told():
    def unpacked(group: Group) -> None:
        optimizer(group, packed=False)

    with pytest.raises(ConfigError, match=r"AdamW cannot share its moments.*call pack\(model\)"):
        run_ranks(2, unpacked, patience=20)

    def frozen(group: Group) -> None:
        made = optimizer(group)
        # The last one comes first in memory, as its gradient does.
        biases = [path for path, _ in made.model.named_parameters() if path.endswith("bias")]
        for path, parameter in made.model.named_parameters():
            parameter.trainable = path not in biases
        with pytest.raises(MinitrainError, match=f"^{biases[-1]} was frozen while ranks share the moments"):
            step(made, 0)

    run_ranks(2, frozen, patience=20)


def test_moments_are_shared_once_whoever_goes_on_with_the_optimizer():
    """A second training with the same optimizer shares nothing anew: pieces of pieces would be too short."""

    def work(group: Group) -> None:
        made = optimizer(group)
        step(made, 0)
        before = made.state_dict()["moments"]
        made.share(group)
        after = made.state_dict()["moments"]
        for name, piece in before.items():
            assert after[name].data.size == piece.data.size
            np.testing.assert_array_equal(after[name].data, piece.data)
        with pytest.raises(ConfigError, match=r"as rank [01] of 2, and cannot go on as rank 0 of 1: save a checkpoint"):
            made.share(Alone())
        other = copy.copy(group)
        made.share(other)
        assert made._shared.group is other

    run_ranks(2, work, patience=20)


def test_moments_that_are_there_already_are_shared_as_they_are():
    alone = optimizer(None)
    step(alone, 0)
    whole = alone.state_dict()["moments"]

    def work(group: Group) -> None:
        made = optimizer(None)
        step(made, 0)
        made.share(group)
        for name, piece in made.state_dict()["moments"].items():
            np.testing.assert_array_equal(piece.of(whole[name]), piece.data)

    run_ranks(2, work, patience=20)


@pytest.mark.parametrize("ranks", [1, 2])
def test_shared_moments_cannot_be_copied(ranks):
    def work(group: Group) -> None:
        made = optimizer(group)
        with pytest.raises(MinitrainError, match=r"shares its moments .* cannot be copied or pickled"):
            copy.deepcopy((made.model, made))

    run_ranks(ranks, work, patience=20)


def test_a_parameter_frozen_later_is_refused_before_anything_changes():
    def work(group: Group) -> None:
        made = optimizer(group)
        step(made, 0)
        before = [parameter.data.copy() for parameter in made.model.parameters()]
        for parameter in made.model.parameters():
            parameter.grad[...] = 1
        next(iter(made._spans[-1].parts.values()))[0].trainable = False
        with pytest.raises(MinitrainError, match="was frozen while ranks share the moments"):
            made.step()
        for old, parameter in zip(before, made.model.parameters(), strict=True):
            np.testing.assert_array_equal(old, parameter.data)
        assert made.steps == 1

    run_ranks(2, work, patience=20)
