"""The arithmetic behind the figures of the benchmarks."""

import random

import pytest

from minitrain.benchmark.ratios import lower_bound, pairwise_ratio, spread
from minitrain.benchmark.sizes import SIZES, Size, step_flops
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig


@pytest.mark.parametrize("name", ["char", "baby", "llama"])
def test_useful_products_are_six_for_each_weight_of_a_matrix_and_token(name):
    size = SIZES[name]
    settings = size.model()
    model = GPT(GPTConfig(**settings)) if size.family == "gpt" else Llama(LlamaConfig(**settings))
    # Norms and look-ups are no products; the token embedding counts once, as the head it is tied to.
    looked_up = {"pos_emb.weight"} | ({"tok_emb.weight"} if size.family == "llama" else set())
    matrices = [p.data for path, p in model.named_parameters() if p.data.ndim == 2 and path not in looked_up]
    assert step_flops(size).products == 6 * sum(matrix.size for matrix in matrices) * size.tokens


def test_useful_attention_by_counting_pairs():
    size = Size(2, 1, 8, 5, 3, 11, steps=1, rounds=1)
    pairs = sum(1 for query in range(5) for key in range(5) if key <= query)
    forward = 2 * 2 * size.n_embd * pairs  # a multiplication and an addition, for scores and for values
    assert step_flops(size).attention == size.n_layer * size.batch_size * (forward + 2 * forward)


def test_ratios_are_of_the_same_round():
    ratio = pairwise_ratio([2.0, 40.0, 600.0], [1.0, 10.0, 100.0])  # a machine that slows down changes no ratio much
    assert ratio.median == 4.0
    assert spread([5.0]).median == 5.0
    with pytest.raises(ValueError, match="shorter"):
        pairwise_ratio([1.0, 2.0], [1.0])


def test_a_lower_bound_lies_below_the_median_and_widens_with_differences_between_groups():
    rng = random.Random(0)
    alike = [[rng.gauss(1.0, 0.01) for _ in range(40)] for _ in range(6)]
    apart = [
        [value + shift for value in group] for group, shift in zip(alike, (-0.1, 0.1, -0.05, 0.05, 0, 0), strict=True)
    ]
    assert 0.99 < lower_bound(alike) < spread(value for group in alike for value in group).median
    assert lower_bound(apart) < lower_bound(alike) - 0.01
    assert lower_bound([[0.9, 0.9], [0.9]]) == 0.9
