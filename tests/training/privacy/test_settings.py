"""Private training's settings alone: who joins, which keys are used for what, and what is told of the budget."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from minitrain.data import ArrayDataset, PoissonLoader
from minitrain.distributed import Alone
from minitrain.errors import CheckpointError, ConfigError, DataError
from minitrain.random import Key
from minitrain.training import DPSGD, create_privacy, epsilon_of, quick_epsilon_of

pytest.importorskip("dp_accounting")


def dataset(count: int = 40) -> ArrayDataset:
    return ArrayDataset(inputs=np.arange(count, dtype=np.float32)[:, None], targets=np.arange(count))


@pytest.mark.parametrize("wrong", [{"clip": 0}, {"clip": -1}, {"clip": math.inf}, {"clip": math.nan}])
@pytest.mark.parametrize("others", [{}, {"noise_multiplier": 0}])
def test_clips_are_positive_numbers(wrong, others):
    with pytest.raises(ConfigError, match="privacy dp: clip="):
        DPSGD(**wrong, **others)


@pytest.mark.parametrize("wrong", [{"noise_multiplier": x} for x in (-0.1, math.inf, math.nan)])
def test_noise_is_a_number_that_is_not_negative(wrong):
    with pytest.raises(ConfigError, match="noise_multiplier="):
        DPSGD(**wrong)


@pytest.mark.parametrize("delta", [0, 1, -1e-9, 2])
def test_delta_is_a_probability_that_is_neither_0_nor_1(delta):
    with pytest.raises(ConfigError, match="delta="):
        DPSGD(delta=delta)


def test_settings_are_kept():
    made = DPSGD(0.25, 0.0, delta=0.5, seed=3)
    assert (made.clip, made.noise_multiplier, made.delta, made.secret, made.loader) == (0.25, 0.0, 0.5, 3, None)
    assert DPSGD(seed=0).secret == 0
    with pytest.raises(ConfigError):
        DPSGD(seed=-1)


def test_a_secret_that_nobody_gave_is_new_each_time_and_has_63_bits():
    secrets = {DPSGD().secret for _ in range(50)}
    assert len(secrets) == 50
    assert all(0 <= secret < 2**63 for secret in secrets)
    assert max(secrets) > 2**56  # by chance one time in 2**350


@pytest.mark.parametrize("given", ["data set", "arrays", "loader"])
def test_batches_are_drawn_with_the_key_of_the_secret(given):
    data = dataset()
    what = {
        "data set": data,
        "arrays": (np.arange(40, dtype=np.float32)[:, None], np.arange(40)),
        "loader": PoissonLoader(data, 5, Key.from_seed(99)),
    }[given]
    made = DPSGD(seed=3)
    loader = made.load(what, 5)
    assert made.loader is loader
    assert (loader.batch_size, loader.rate, len(loader.dataset)) == (5, 5 / 40, 40)
    expected = PoissonLoader(data, 5, Key.from_seed(3).fold("sampling"))
    for step in (0, 1, 30):
        assert loader.members(step).tolist() == expected.members(step).tolist()
        for (place, mine), (other_place, other) in zip(
            loader.micro_batches(step, 2), expected.micro_batches(step, 2), strict=True
        ):
            assert place == other_place
            np.testing.assert_array_equal(mine.inputs, other.inputs)
            np.testing.assert_array_equal(mine.targets, other.targets)


@pytest.mark.parametrize("data", [[1], (np.zeros(3), 4), (np.zeros(3),), "text", np.zeros((3, 2))])
def test_batches_that_others_drew_are_refused(data):
    with pytest.raises(ConfigError, match=f"the training data is a {type(data).__name__}"):
        DPSGD(seed=0).load(data, 1)


def test_a_step_has_what_it_needs_and_noise_of_its_own():
    made = DPSGD(0.25, 2.0, seed=3)
    made.load(dataset(), 5)
    noise = Key.from_seed(3).fold("noise")
    steps = [made.step(number) for number in range(4)]
    assert [(one.clip, one.noise_multiplier, one.batch_size) for one in steps] == [(0.25, 2.0, 5)] * 4
    assert [one.key for one in steps] == [noise.fold(number) for number in range(4)]
    assert len({repr(one.key) for one in steps}) == 4


def test_the_budget_is_that_of_the_rate_the_noise_and_the_steps():
    made = DPSGD(0.25, 2.0, delta=1e-4, seed=3)
    made.load(dataset(), 5)
    assert made.epsilon(9) == epsilon_of(5 / 40, 2.0, 9, 1e-4)
    assert made.epsilon(9, quick=True) == quick_epsilon_of(5 / 40, 2.0, 9, 1e-4)
    assert made.epsilon(9) < made.epsilon(9, quick=True)
    said = made.describe(9)
    assert said == (
        f"differentially private: epsilon {made.epsilon(9):.3g} at delta 0.0001 for one of 40 training samples "
        "(clip 0.25, noise multiplier 2, Poisson sampling at rate 0.125, 9 steps)"
    )


def test_a_state_brings_the_secret_and_the_key_of_the_batches():
    first, second = DPSGD(seed=3), DPSGD(seed=4)
    first.load(dataset(), 5), second.load(dataset(), 5)
    second.load_state_dict(first.state_dict())
    assert second.secret == 3
    assert second.step(2).key == first.step(2).key
    assert second.loader is not None
    assert first.loader is not None
    assert second.loader.members(7).tolist() == first.loader.members(7).tolist()
    fresh = DPSGD(seed=5)
    fresh.load_state_dict({"secret": 2**64 - 1})
    assert fresh.secret == 2**64 - 1
    for wrong in ({"secret": 2**64}, {"secret": -1}, {"secret": 1.5}, {}, {"secret": 1, "more": 2}):
        with pytest.raises(CheckpointError, match="privacy"):
            fresh.load_state_dict(wrong)


def test_a_configuration_names_it():
    assert create_privacy(None) is None
    plain, full = create_privacy("dp"), create_privacy({"name": "dp", "clip": 0.5, "seed": 8})
    assert isinstance(plain, DPSGD)
    assert isinstance(full, DPSGD)
    assert (plain.clip, full.clip, full.secret) == (1.0, 0.5, 8)


def test_an_unknown_name_or_setting_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"privacy = 'dpp': did you mean 'dp'\?.* use one of dp, or null for none"):
        create_privacy("dpp")
    with pytest.raises(ConfigError, match=r"privacy dp.*clip"):
        create_privacy({"name": "dp", "clipp": 1.0})


def test_without_the_package_no_batch_is_drawn(monkeypatch):
    """Nobody would know what the training spends."""
    for name in list(sys.modules):
        if name.split(".")[0] == "dp_accounting":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[privacy\]'"):
        DPSGD(seed=3).load(dataset(), 5)


class Second(Alone):
    """A rank that hears what rank 0 has."""

    def from_main(self, value=None):
        assert value == {"secret": 4}
        return {"secret": 3}


def test_ranks_share_the_secret_of_the_first():
    first, second = DPSGD(seed=3), DPSGD(seed=4)
    first.load(dataset(), 5), second.load(dataset(), 5)
    second.share(Second())
    assert second.secret == 3
    assert second.step(2).key == first.step(2).key
    assert second.load(dataset(), 5).members(7).tolist() == first.load(dataset(), 5).members(7).tolist()
    first.share(Alone())
    assert first.secret == 3


@pytest.mark.parametrize(("count", "size"), [(40, 40), (40, 1), (40, 7), (1, 1)])
def test_a_poisson_batch_is_who_joined_in_order(count, size):
    loader = PoissonLoader(dataset(count), size, Key.from_seed(1))
    assert loader.steps_per_epoch == math.ceil(count / size)
    empty = 0
    for step in range(30):
        members = loader.members(step).tolist()
        assert members == sorted(set(members))
        if size == count:
            assert members == list(range(count))  # the probability is 1
        parts = loader.micro_batches(step, 3)
        assert [place for place, _ in parts] == list(range(len(members)))
        assert [int(part.targets[0]) for _, part in parts] == members
        assert all(len(part.targets) == 1 for _, part in parts)
        for number in (1, 2, 3, 5):
            borders = [len(members) * part // number for part in range(number + 1)]
            for wanted in (range(number), range(number // 2, number)):
                some = loader.some_micro_batches(step, number, wanted)
                assert [first for first, _ in some] == [borders[part] for part in wanted]
                for part, (_, samples) in zip(wanted, some, strict=True):
                    mine = members[borders[part] : borders[part + 1]]
                    assert [sample.targets.tolist() for sample in samples] == [[index] for index in mine]
                    assert [sample.inputs.shape for sample in samples] == [(1, 1)] * len(mine)
        if members:
            assert loader.batch(step).targets.tolist() == members
        else:
            empty += 1
            with pytest.raises(DataError, match=f"no sample joined batch {step}"):
                loader.batch(step)
    assert (empty > 0) is (size == 1 and count > 1)


def test_a_sample_joins_below_its_probability_and_not_at_it(monkeypatch):
    """Of the 2**32 numbers that there are, so many are below the rate as it says."""
    numbers = np.array([[0.5, 0.5 - 2.0**-32, 0.0, 1 - 2.0**-32]])
    monkeypatch.setattr("minitrain.data.loading.poisson.uniform", lambda key, shape: numbers)
    assert PoissonLoader(dataset(4), 2, Key.from_seed(0)).members(0).tolist() == [1, 2]


def test_impossible_batches_are_refused():
    for size, words in ((0, "batch_size"), (41, "batch_size=41 must be at most the number of samples, 40")):
        with pytest.raises(ConfigError, match=words):
            PoissonLoader(dataset(), size, Key.from_seed(0))
    with pytest.raises(DataError, match="the data set is empty"):
        PoissonLoader(dataset(0), 1, Key.from_seed(0))
    with pytest.raises(ConfigError):
        PoissonLoader(dataset(), 1, Key.from_seed(0)).members(-1)
