"""Counter-based random numbers: known answers, independence of the split, uniformity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ArrayDataset, BucketLoader, ByteTokenizer, Dataset, Mixture, PairDataset, TokenLoader
from minitrain.errors import ConfigError
from minitrain.models import MLP, MLPConfig, build_model
from minitrain.nn import add_lora
from minitrain.nn.core.init import generator
from minitrain.random import Key, normal, random_bits, uniform
from minitrain.testing import CheckSettings

PAIRS = PairDataset([[1, 2], [3], [4, 5], [6]], [[3], [4], [5], [6]])


@given(st.integers(0, 2**64 - 1), st.integers(1, 7), st.integers(1, 33), st.integers(0, 2**40))
def test_any_split_of_a_batch_gives_the_same_numbers(seed, samples, size, first):
    key = Key.from_seed(seed).fold("layer", 3).at_sample(first)
    whole = random_bits(key, (samples, size))
    one_by_one = [random_bits(key.at_sample(first + i), (1, size)) for i in range(samples)]
    assert np.array_equal(whole, np.concatenate(one_by_one))


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 20))
def test_numbers_of_a_sample_do_not_depend_on_its_size_or_shape(short, rows, more):
    key = Key.from_seed(1)
    longer = random_bits(key, (2, short * rows + more))
    assert np.array_equal(random_bits(key, (2, rows, short)).reshape(2, -1), longer[:, : short * rows])


def test_keys_differ_by_path_step_and_seed():
    root = Key.from_seed(7)
    keys = [root, root.fold(0), root.fold(1), root.fold("0"), root.fold(0, 1), root.fold(1, 0), Key.from_seed(8)]
    assert len({key[:2] for key in keys}) == len(keys)
    assert root.fold("a", 1) == root.fold("a").fold(1)
    assert root.fold(-1) != root.fold(1)


def test_uniform_numbers_fill_the_unit_interval_evenly():
    numbers = uniform(Key.from_seed(3), (4, 50_000))
    assert numbers.min() >= 0 and numbers.max() < 1
    histogram = np.histogram(numbers, bins=50, range=(0, 1))[0]
    expected = numbers.size / 50
    chi_square = ((histogram - expected) ** 2 / expected).sum()
    assert chi_square < 49 + 5 * np.sqrt(2 * 49)  # five standard deviations
    neighbours = np.corrcoef(numbers[0, :-1], numbers[0, 1:])[0, 1]
    assert abs(neighbours) < 0.02


SEEDS = [
    Key.from_seed,
    generator,
    lambda seed: TokenLoader(np.arange(50), 4, 2, seed),
    lambda seed: ArrayDataset(inputs=np.arange(9)).loader(2, seed=seed),
    lambda seed: next(ArrayDataset(inputs=np.arange(9)).batches(2, seed=seed)),
    lambda seed: Dataset.from_tokens(np.arange(50), ByteTokenizer(), block_size=4).loader(2, seed=seed),
    lambda seed: BucketLoader(PAIRS, PAIRS.lengths, max_tokens=9, seed=seed),
    lambda seed: Mixture({"a": PAIRS}, {"a": 1.0}, seed),
    lambda seed: MLP(MLPConfig((3, 2)), seed=seed),
    lambda seed: build_model("gpt-char", seed=seed),
    lambda seed: add_lora(build_model("gpt-char"), 1, 1.0, seed=seed),
    lambda seed: CheckSettings(seed=seed),
]


@pytest.mark.parametrize("use", SEEDS)
@pytest.mark.parametrize(
    "bad", [-1, 2**64, 10**99, 1.0, "7", None, True, np.bool_(True), np.float32(1), [1], np.int8(-1)]
)
def test_a_seed_is_an_integer_of_64_bits(use, bad):
    if bad is None and use is SEEDS[4]:
        return  # batches(seed=None) keeps the order of the data set
    with pytest.raises(ConfigError, match=r"seed .*from 0 to 2\*\*64 - 1"):
        use(bad)


@given(st.integers(0, 2**31 - 1), st.sampled_from([np.int32, np.uint32, np.int64, np.uint64, np.array]))
def test_equal_integers_of_any_type_give_equal_streams(seed, kind):
    assert Key.from_seed(kind(seed)) == Key.from_seed(seed)
    assert Key.from_seed(seed).fold(kind(seed)) == Key.from_seed(seed).fold(seed)
    assert generator(kind(seed)).integers(2**63) == generator(seed).integers(2**63)
    loaders = [TokenLoader(np.arange(50), 4, 2, one) for one in (seed, kind(seed))]
    assert loaders[0].seed == loaders[1].seed and type(loaders[1].seed) is int
    assert np.array_equal(loaders[0].batch(0).inputs, loaders[1].batch(0).inputs)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_different_seeds_give_different_keys(one, two):
    assert (Key.from_seed(one) == Key.from_seed(two)) is (one == two)


def test_keys_are_folded_with_texts_and_integers_alone():
    root = Key.from_seed(0)
    assert root.fold(-1) != root.fold(2**64 - 1)  # the same 64 bits
    for bad in (1.5, True, None, 2**64, -(2**63) - 1):
        with pytest.raises(ConfigError, match=r"texts and with integers from -2\*\*63 to 2\*\*64 - 1"):
            root.fold(bad)

    with pytest.raises(ConfigError, match="an integer of 16610 bits"):
        root.fold(10**5000)  # Python does not print it


@given(st.integers(0, 2**64 - 1), st.integers(1, 6), st.integers(0, 9), st.integers(0, 2**40))
def test_normal_numbers_are_those_of_their_sample_in_any_split(seed, samples, size, first):
    key = Key.from_seed(seed).at_sample(first)
    whole = normal(key, (samples, size))
    parts = [normal(key.at_sample(first + row), (1, size)) for row in range(samples)]
    assert whole.shape == (samples, size) and np.isfinite(whole).all()
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-14)


def test_normal_numbers_have_the_moments_and_the_tails_of_the_distribution():
    numbers = normal(Key.from_seed(1), (1000, 1000)).reshape(-1)
    assert abs(numbers.mean()) < 4e-3 and abs(numbers.var() - 1) < 4 * np.sqrt(2e-6)
    assert abs((numbers**4).mean() - 3) < 4 * np.sqrt(96e-6)
    assert abs((np.abs(numbers) > 3).mean() - 0.0026998) < 4 * np.sqrt(0.0027e-6)
    assert abs(np.corrcoef(numbers[0::2], numbers[1::2])[0, 1]) < 4 / np.sqrt(5e5)  # the two of a pair
