"""The choice of a GPU by name, and what is said where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import device_of, info, to_device, to_numpy
from minitrain.backend.arrays import library_for
from minitrain.backend.cuda.device import describe_gpus, gpu_number, use_gpu
from minitrain.backend.devices import gpu_status
from minitrain.errors import DeviceError
from minitrain.models import GPT, GPTConfig
from minitrain.testing.cuda.fake import emulated_device


def test_a_name_is_cuda_with_a_number_or_without() -> None:
    assert [gpu_number(name) for name in ("cuda", "cuda:0", "cuda:12")] == [None, 0, 12]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "", "cpu:0", "CUDA"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"unknown device '{name}': use 'cpu', 'cuda' or 'cuda:N'"):
        to_device(np.ones(2), name)


@pytest.mark.skipif(gpu_status()[0] is not None, reason="there is a GPU")
def test_without_a_gpu_the_reason_is_told() -> None:
    for name in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(DeviceError, match=r"no GPU can be used: .* Use device=cpu"):
            library_for(name)


def test_a_number_becomes_the_current_gpu() -> None:
    with emulated_device(devices=3) as device:
        assert device_of(to_device(np.ones(2), "cuda:2")) == "cuda:2"
        assert device_of(to_device(np.ones(2), "cuda")) == "cuda:2"  # the current one
        use_gpu("cuda:0")
        assert device_of(device.cupy.ones(2)) == "cuda:0"


def test_a_number_that_is_not_there() -> None:
    with emulated_device(), pytest.raises(DeviceError, match="device 'cuda:1' is not there: the only GPU is cuda:0"):
        to_device(np.ones(2), "cuda:1")
    with emulated_device(devices=4), pytest.raises(DeviceError, match="the 4 GPUs are cuda:0 to cuda:3"):
        to_device(np.ones(2), "cuda:4")


def test_a_model_computes_on_the_second_gpu() -> None:
    config, tokens = GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4), np.array([[1, 2, 3]])
    expected, _ = GPT(config, seed=0).forward(tokens)
    with emulated_device(devices=2):
        model = GPT(config, seed=0).to("cuda:1")
        found, _ = model.forward(to_device(tokens, "cuda:1"))
        assert device_of(found) == device_of(model.parameters()[0].data) == "cuda:1"
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-6)


def test_the_table_of_a_machine_names_the_gpus_and_says_what_has_met_none() -> None:
    with emulated_device(devices=2, capability="120") as device:
        lines = describe_gpus(device.cupy).splitlines()
        assert len(lines) == 2
        assert lines[1] == "cuda:1: an emulated device (no GPU), compute capability 12.0, 80 GiB"
        facts = info.collect()
        assert facts["GPU"].splitlines() == lines
    assert (
        facts["GPU code"]
        == info.collect()["GPU code"]
        == "has met no GPU so far, only an emulated one; if you have a card, run `make gpu-report` on it"
    )
