"""Every operation and layer on an emulated GPU: the bits of the CPU's readable code, and nothing moves to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import to_device, to_numpy, use_kernels
from minitrain.errors import DeviceError, TokenError
from minitrain.nn import LearnedPositions
from minitrain.ops import cross_entropy_forward, embedding_forward, hinge_forward, layer_norm_forward
from minitrain.random import Key, normal, random_bits, uniform
from minitrain.testing.cases import CASES, EMPTY, LAYERS, SMALL, Case, LayerCase
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from tests.backend.cuda.on_device import assert_same_bits, run_layer
from tests.helpers.op_runs import as_list, cotangents, every_op, few

WAITS = {"mixture of experts": 2, "mixture of gated experts, one each": 2}
"""Layers that wait: how many tokens go to an expert is the shape of what follows. Deferred errors take another one."""


@every_op
@few(4)
@given(st.data(), st.sampled_from([SMALL, SMALL, SMALL, EMPTY]))
def test_operations(case: Case, data: Any, extent: Any) -> None:
    call = data.draw(case.calls(extent)).astype(np.float32)
    with use_kernels("reference"), emulated_device() as device:
        here = case.pair.forward(*call.inputs, **call.options)
        given = cotangents(case, case.outputs(here))
        expected = as_list(case.pair.backward(*given, here[-1]))
        on_gpu, given_there = call.to("cuda"), [to_device(x, "cuda") for x in given]
        frequencies = call.options.get("frequencies") is not None
        with device.counting() as counts:
            there = case.pair.forward(*on_gpu.inputs, **on_gpu.options)
            gradients = as_list(case.pair.backward(*given_there, there[-1]))
        assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where
        assert counts.to_device <= frequencies  # once for all calls
        assert_same_bits([case.outputs(there), gradients], [case.outputs(here), expected])


@pytest.mark.parametrize("name", LAYERS)
def test_layers(gpu: EmulatedDevice, name: str) -> None:
    layer: LayerCase = LAYERS[name]
    expected = run_layer(layer, "cpu")
    with gpu.counting() as counts:
        found = run_layer(layer, "cuda")
    assert counts.synchronisations == counts.to_host == WAITS.get(name, 0)
    assert_same_bits(found, expected)


@given(st.integers(0, 2**64 - 1), st.sampled_from([(3,), (2, 5), (4, 1, 7), (1, 0)]), st.sampled_from([0, 5, 2**33]))
def test_random_numbers(seed: int, shape: tuple[int, ...], sample: int) -> None:
    key = Key.from_seed(seed).at_sample(sample)
    with emulated_device() as device:
        for draw in (random_bits, uniform, normal):
            assert_same_bits(draw(key, shape, device.cupy), draw(key, shape))


def test_arrays_of_two_kinds_name_the_argument(gpu: EmulatedDevice) -> None:
    x, weight = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    message = (
        r"layer_norm_forward: weight is on cpu but x is on cuda:0; move it with minitrain.backend.to_device\(weight"
    )
    with pytest.raises(DeviceError, match=message):
        layer_norm_forward(to_device(x, "cuda"), weight, weight)


class TestErrorsThatComeLater:
    """What a CPU refuses at once, a GPU tells with the next transfer."""

    def test_a_token_out_of_range(self, gpu: EmulatedDevice) -> None:
        weight = to_device(np.ones((5, 2), np.float32), "cuda")
        for bad in (5, -1):
            out, _ = embedding_forward(to_device(np.array([[1, bad]]), "cuda"), weight)
            with pytest.raises(TokenError, match=rf"embedding_forward: tokens has {bad}, which is outside \[0, 5\)"):
                to_numpy(out)
            to_numpy(out)  # it was told

    def test_a_class_out_of_range(self, gpu: EmulatedDevice) -> None:
        logits = to_device(np.zeros((2, 3), np.float32), "cuda")
        (total, _), _ = cross_entropy_forward(logits, to_device(np.array([-100, 3]), "cuda"))
        with pytest.raises(TokenError, match=r"cross_entropy_forward: targets has 3"):
            to_numpy(total)

    def test_a_side_that_is_none(self, gpu: EmulatedDevice) -> None:
        outputs = to_device(np.zeros(2, np.float32), "cuda")
        hinge_forward(outputs, to_device(np.array([1, 0]), "cuda"))
        with pytest.raises(TokenError, match="each must be -1 or"):
            to_numpy(outputs)

    def test_one_that_is_fine_hides_none(self, gpu: EmulatedDevice) -> None:
        weight = to_device(np.ones((5, 2), np.float32), "cuda")
        for tokens in ([7], [0], [1]):
            out, _ = embedding_forward(to_device(np.array(tokens), "cuda"), weight)
        with pytest.raises(TokenError, match="tokens has 7"):
            to_numpy(out)

    def test_several_are_told_one_after_the_other(self, gpu: EmulatedDevice) -> None:
        weights = [to_device(np.ones((size, 2), np.float32), "cuda") for size in (5, 6)]
        for weight in weights:
            embedding_forward(to_device(np.array([6]), "cuda"), weight)
        for size in (5, 6):
            with pytest.raises(TokenError, match=rf"outside \[0, {size}\)"):
                to_numpy(weights[0])
        to_numpy(weights[0])

    def test_positions_beyond_the_table(self, gpu: EmulatedDevice) -> None:
        layer = LearnedPositions(3, 2, np.random.default_rng(0)).to("cuda")
        x = to_device(np.zeros((1, 4, 2), np.float32), "cuda")
        out, _ = layer.forward(x)
        with pytest.raises(TokenError, match=r"has 3, which is outside \[0, 3\)"):
            to_numpy(out)

    def test_it_waits_for_nothing(self, gpu: EmulatedDevice) -> None:
        weight, tokens = to_device(np.ones((5, 2), np.float32), "cuda"), to_device(np.array([6]), "cuda")
        with gpu.counting() as counts:
            for _ in range(3):
                embedding_forward(tokens, weight)
        assert (counts.synchronisations, counts.to_host) == (0, 0)

    def test_more_kinds_of_checks_than_are_kept(self, gpu: EmulatedDevice) -> None:
        tokens = to_device(np.array([1]), "cuda")
        for size in range(2, 300):
            embedding_forward(tokens, gpu.cupy.zeros((size, 1), "float32"))
        to_numpy(tokens)
        embedding_forward(to_device(np.array([9]), "cuda"), gpu.cupy.zeros((3, 1), "float32"))
        with pytest.raises(TokenError, match="tokens has 9"):
            to_numpy(tokens)


def test_all_cases_are_tried() -> None:
    assert len(CASES) >= 50
    assert len(LAYERS) >= 56
