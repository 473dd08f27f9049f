"""The exponential moving average of weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import ExponentialAverage


class Weights(Module):
    def __init__(self, seed=0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        self.matrix = Parameter(rng.standard_normal((5, 7)).astype(dtype))
        self.vector = Parameter(rng.standard_normal(3).astype(dtype))
        self.frozen = Parameter(rng.standard_normal(2).astype(dtype), trainable=False)


def train(model, average, rng, steps):
    """Random walks of the weights; returns every place, the first included."""
    places = [model.matrix.data.copy()]
    for _ in range(steps):
        for parameter in model.parameters():
            if parameter.trainable:
                parameter.data += rng.standard_normal(parameter.data.shape).astype(parameter.data.dtype)
        average.update()
        places.append(model.matrix.data.copy())
    return places


@given(decay=st.floats(0, 0.999), steps=st.integers(0, 20), packed=st.booleans(), dtype=st.sampled_from(["f4", "f8"]))
def test_it_is_the_weighted_sum_of_all_places(decay, steps, packed, dtype):
    model = Weights(dtype=dtype)
    if packed:
        pack(model)
    average = ExponentialAverage(model, decay=decay)
    places = train(model, average, np.random.default_rng(1), steps)
    shares = [decay**steps, *[(1 - decay) * decay ** (steps - i) for i in range(1, steps + 1)]]
    expected = sum(share * place.astype("f8") for share, place in zip(shares, places, strict=True))
    tolerance = 1e-12 if dtype == "f8" else 1e-4
    state = average.state_dict()
    np.testing.assert_allclose(state["matrix"], expected, rtol=tolerance, atol=tolerance)
    assert state["matrix"].dtype == dtype
    assert state.keys() == {"matrix", "vector"}


def test_it_is_lent_to_the_model_and_taken_back():
    model = Weights()
    average = ExponentialAverage(model, decay=0.9)
    train(model, average, np.random.default_rng(1), 3)
    before, state = model.matrix.data.copy(), average.state_dict()
    with average.applied():
        assert np.array_equal(model.matrix.data, state["matrix"])
    assert np.array_equal(model.matrix.data, before)
    with pytest.raises(RuntimeError, match="evaluation failed"), average.applied():
        raise RuntimeError("evaluation failed")
    assert np.array_equal(model.matrix.data, before)


@pytest.mark.parametrize("packed", [False, True])
def test_the_state_goes_on(packed):
    one, two = Weights(), Weights(seed=1)
    first = ExponentialAverage(one, decay=0.9)
    train(one, first, np.random.default_rng(1), 3)
    two.load_state_dict(one.state_dict())
    if packed:
        pack(two)
    second = ExponentialAverage(two, decay=0.9)
    second.load_state_dict(first.state_dict())
    for model, average in ((one, first), (two, second)):
        train(model, average, np.random.default_rng(2), 3)
    for path, array in first.state_dict().items():
        assert np.array_equal(array, second.state_dict()[path])


def test_averages_of_another_model_and_bad_decays_are_refused():
    average = ExponentialAverage(Weights())
    with pytest.raises(CheckpointError, match="averaged weights are of another model: only one of the two has vector"):
        average.load_state_dict({"matrix": np.zeros((5, 7))})
    with pytest.raises(CheckpointError, match=r"vector has shape \(4,\) in it but \(3,\) here"):
        average.load_state_dict({"matrix": np.zeros((5, 7)), "vector": np.zeros(4)})
    with pytest.raises(ConfigError, match=r"decay = 1\.0 must be at least 0 and below 1"):
        ExponentialAverage(Weights(), decay=1.0)
