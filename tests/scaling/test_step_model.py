"""The model of a step: what must hold for every plan, and the simulated training beside it."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.models import GPT, GPTConfig
from minitrain.profiling.gpu import Shape
from minitrain.scaling import CLUSTERS, LINKS, Plan, efficiency, simulated, smallest_stage, step_on
from minitrain.scaling.collectives import pipelined
from minitrain.scaling.sharding import bytes_of_states, traffic
from minitrain.scaling.step import gradient_bytes
from minitrain.scaling.stragglers import expected_maximum, slowest

GPT2 = Shape(layers=12, width=768, vocabulary=50257, length=1024)
SMALL = Shape(layers=2, width=64, vocabulary=100, length=32)
clusters = st.sampled_from(sorted(CLUSTERS))
plans = st.builds(
    Plan,
    ranks=st.sampled_from([1, 8, 16, 64, 512, 4096]),
    batch=st.sampled_from([1, 8, 64]),
    micro_batches=st.integers(1, 4),
    stage=st.sampled_from([0, 1, 2]),
    wire=st.sampled_from([2, 4]),
    overlap=st.booleans(),
    algorithm=st.sampled_from(["nccl", "same bytes", "ring", "direct", "halving"]),
    variation=st.sampled_from([0.0, 0.01, 0.05]),
)


@settings(max_examples=60, deadline=None)
@given(clusters, plans)
def test_every_step_is_possible(name, plan):
    step = step_on(CLUSTERS[name], GPT2, plan)
    assert min(step.compute, step.waiting, step.exposed, step.update, step.sent) >= -1e-12
    assert step.tokens == plan.ranks * plan.micro_batches * plan.batch * 1024
    if plan.stage == 0:  # sharing may gain: each rank then updates a part
        assert efficiency(CLUSTERS[name], GPT2, plan) <= 1 + 1e-9
    if plan.ranks == 1:
        assert step.waiting == step.exposed == step.sent == 0


@settings(max_examples=40, deadline=None)
@given(clusters, plans)
def test_what_helps_and_what_does_not(name, plan):
    cluster = CLUSTERS[name]
    seconds = step_on(cluster, GPT2, plan).seconds
    assert step_on(cluster, GPT2, plan._replace(overlap=True)).seconds <= seconds * (1 + 1e-9)
    assert step_on(cluster, GPT2, plan._replace(variation=0.0)).seconds <= seconds * (1 + 1e-9)
    assert step_on(cluster, GPT2, plan._replace(wire=2)).seconds <= seconds * (1 + 1e-9)
    slower = cluster._replace(between=LINKS["ethernet25"], ports=1)
    assert step_on(slower, GPT2, plan).seconds >= seconds * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 1.0), min_size=2, max_size=6), st.integers(1, 5), st.floats(0, 0.5))
def test_a_training_without_variation_is_the_pipeline(compute, ranks, send):
    sums = [send] * (len(compute) - 1)
    ready = np.cumsum(compute)[1:].tolist()
    found = simulated.training(compute, sums, ranks, steps=3).seconds
    assert math.isclose(found, 3 * pipelined(ready, sums), rel_tol=1e-9)


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_the_slowest_rank_sets_the_pace(ranks):
    """The mean of simulated steps is the expected maximum, within three standard errors and a little."""
    steps, variation = 400, 0.05
    found = simulated.training([1.0, 1.0], [0.0], ranks, steps=steps, variation=variation).seconds / steps
    assert found == pytest.approx(slowest(2.0, variation, ranks), abs=3 * 2.0 * variation / steps**0.5)
    assert found > 2.0


def test_the_expected_maximum():
    """Known values, and draws."""
    assert expected_maximum(1) == pytest.approx(0, abs=1e-9)
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi), abs=1e-6)
    draws = np.random.default_rng(0).standard_normal((4000, 100)).max(axis=1)
    assert expected_maximum(100) == pytest.approx(draws.mean(), abs=4 * statistics.stdev(draws.tolist()) / 4000**0.5)


def test_gradients_are_those_of_the_model():
    """Without the padding of the vocabulary, a GPT has as many weights as the shape says."""
    model = GPT(GPTConfig(vocab_size=100, block_size=32, n_layer=2, n_head=2, n_embd=64), seed=0)
    weights = sum(parameter.data.size for parameter in model.parameters())
    assert sum(gradient_bytes(SMALL)) == 4 * SMALL.parameters
    assert weights == pytest.approx(SMALL.parameters, rel=0.02)


@given(st.floats(1e6, 1e12), st.sampled_from([1, 2, 8, 4096]), st.integers(1, 8))
def test_memory_and_traffic_of_the_stages(weights, ranks, micro_batches):
    kept = [bytes_of_states(weights, ranks, stage) for stage in (0, 1, 2)]
    assert kept == pytest.approx([16 * weights, (8 + 8 / ranks) * weights, (4 + 12 / ranks) * weights])
    sent = [traffic(4 * weights, ranks, stage, micro_batches) for stage in (0, 1, 2)]
    assert sent[0] == sent[1] <= sent[2]
    assert (sent[1] == sent[2]) is (micro_batches == 1 or ranks == 1)


def test_when_to_share_what():
    """One rank shares nothing with nobody; larger models need higher stages, and in the end none is enough."""
    wide = [Shape(24, width, 50257, 1024) for width in (768, 2048, 3072, 5120, 6144, 8192)]
    stages = [smallest_stage(shape, 1, 64, 80e9) for shape in wide]
    known = [9 if stage is None else stage for stage in stages]
    assert known == sorted(known)
    assert known[0] == 0
    assert {1, 2, 9} <= set(known)
    assert smallest_stage(wide[-1], 1, 1, 80e9) is None
