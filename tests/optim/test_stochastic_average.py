"""SWA: the plain mean of weights from some update on, every so many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import ExponentialAverage, StochasticWeightAverage


class Weights(Module):
    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.matrix = Parameter(rng.standard_normal((4, 3)))
        self.vector = Parameter(rng.standard_normal(3))


def walk(model, average, steps, seed=1):
    rng, places = np.random.default_rng(seed), []
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.data += rng.standard_normal(parameter.data.shape)
        average.update()
        places.append(model.matrix.data.copy())
    return places


@given(start=st.integers(1, 6), every=st.integers(1, 4), steps=st.integers(0, 15), packed=st.booleans())
@settings(max_examples=40)
def test_it_is_the_mean_of_the_places_that_count(start, every, steps, packed):
    model = Weights()
    if packed:
        pack(model)
    first = model.matrix.data.copy()
    average = StochasticWeightAverage(model, start=start, every=every)
    places = walk(model, average, steps)
    taken = [place for i, place in enumerate(places, start=1) if i >= start and (i - start) % every == 0]
    expected = np.mean(taken, axis=0) if taken else [first, *places][-1]
    np.testing.assert_allclose(average.state_dict()["matrix"], expected, rtol=1e-12, atol=1e-12)
    assert average.averaged == len(taken)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_the_state_goes_on(packed, steps):
    one, two = Weights(), Weights(seed=1)
    first = StochasticWeightAverage(one, start=3, every=2)
    walk(one, first, steps)
    two.load_state_dict(one.state_dict())
    if packed:
        pack(two)
    second = StochasticWeightAverage(two, start=3, every=2)
    second.load_state_dict({name: np.array(array) for name, array in first.state_dict().items()})
    for model, average in ((one, first), (two, second)):
        walk(model, average, 5, seed=2)
    assert first.averaged == second.averaged
    for path, array in first.state_dict().items():
        assert np.array_equal(array, second.state_dict()[path])


def test_it_is_lent_to_the_model():
    model = Weights()
    average = StochasticWeightAverage(model)
    places = walk(model, average, 2)
    with average.applied():
        np.testing.assert_allclose(model.matrix.data, (places[0] + places[1]) / 2)
    assert np.array_equal(model.matrix.data, places[1])


def test_mistakes_are_explained():
    with pytest.raises(ConfigError, match="StochasticWeightAverage: every = 0 must be more than 0"):
        StochasticWeightAverage(Weights(), every=0)
    with pytest.raises(ConfigError, match="StochasticWeightAverage: start = 0 must be more than 0"):
        StochasticWeightAverage(Weights(), start=0)
    with pytest.raises(CheckpointError, match="only one of the two has updates, averaged"):
        StochasticWeightAverage(Weights()).load_state_dict(ExponentialAverage(Weights()).state_dict())
