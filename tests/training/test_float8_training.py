"""Training in 8 bits on an emulated card: it learns, resumes with the same bytes, fits in a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.backend.precision import use_precision
from minitrain.data import Batch
from minitrain.errors import ConfigError, DeviceError
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.nn import add_lora, pack
from minitrain.ops.contract.op import observe
from minitrain.optim import AdamW
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from minitrain.training import Trainer, TrainingConfig, train_step

MODES = ["reference", pytest.param("auto", marks=pytest.mark.cuda)]
GPT_SHAPE = {"vocab_size": 11, "block_size": 6, "n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1}


def data(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 11, (2, 4, 6)).astype(np.int32)) for _ in range(count)]


def gpt() -> GPT:
    return GPT(GPTConfig(**GPT_SHAPE), seed=0)


def llama() -> Llama:
    return Llama(LlamaConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=16, n_hidden=32), seed=0)


def trainer(folder: Path | None = None, *, device: str = "cuda", make: Any = gpt, **settings: Any) -> Trainer:
    model = make().to(device)
    pack(model)
    usual = {"max_steps": 5, "log_every": 2, "save_every": 3, "gradient_accumulation_steps": 1, "precision": "float8"}
    return Trainer(
        model=model, train_data=data(4), optimizer=AdamW(model, lr=1e-2), device=device, run_dir=folder,
        config=TrainingConfig(**(usual | settings)), progress=False, warn=lambda message: None,
    )  # fmt: skip


def state(one: Trainer) -> list[bytes]:
    moments = one.optimizer.state_dict()["moments"]
    return [x.get().tobytes() for x in (*(p.data for p in one.model.parameters()), *moments.values())]


def calls(one: Trainer) -> list[tuple[str, bool]]:
    """The linear maps of a step, and whether each had 8 bits."""
    seen: list[tuple[str, bool]] = []

    def watch(function: Any, args: Any, options: Any) -> Any:
        observe(None)
        try:
            result = function(*args, **options)
        finally:
            observe(watch)
        if "linear" in function.__name__ and function.__name__.endswith("_forward"):
            seen.append((function.__name__, getattr(result[-1], "x_scale", None) is not None))
        return result

    observe(watch)
    try:
        one.train()
    finally:
        observe(None)
    return seen


@pytest.fixture(params=MODES)
def card(request: Any) -> Any:
    with use_kernels(request.param), emulated_device() as device:
        yield device


@pytest.mark.parametrize(("make", "maps"), [(gpt, 2), (llama, 3)])
def test_feed_forward_layers_alone_have_8_bits(make: Any, maps: int) -> None:
    with use_kernels("reference"), emulated_device():
        seen = calls(trainer(make=make, max_steps=1, graphs="off"))
    assert seen.count(("float8_linear_forward", True)) == maps
    assert ("float8_linear_forward", False) not in seen
    assert ("linear_forward", False) in seen  # attention's


def test_adapters_keep_working() -> None:
    def adapted() -> GPT:
        model = gpt()
        add_lora(model, 2, 4.0, targets=("*.feed_forward.*",))
        return model

    with use_kernels("reference"), emulated_device():
        one = trainer(make=adapted, max_steps=2, graphs="off")
        assert ("float8_linear_forward", True) in calls(one)


def test_a_resumed_run_ends_with_the_same_bytes(card: EmulatedDevice, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    begun = trainer(tmp_path / "parts")
    begun.total_steps = 3
    begun.train()
    other = trainer(tmp_path / "parts")
    assert other.resume() == 3
    other.train()
    assert state(other) == state(whole)


def test_a_graph_has_the_bytes_of_plain_steps(card: EmulatedDevice) -> None:
    runs = [trainer(graphs=graphs) for graphs in ("on", "off")]
    for one in runs:
        one.train()
    assert state(runs[0]) == state(runs[1])


def test_recomputed_activations_have_the_same_bytes() -> None:
    with use_kernels("reference"), emulated_device():
        runs = [trainer(activation_checkpointing=on, graphs="off") for on in (False, True)]
        for one in runs:
            one.train()
        assert state(runs[0]) == state(runs[1])


def test_it_learns_almost_as_well_as_16_bits() -> None:
    """A text in which a coin decides between two tokens: the best loss is log 2. On arrays of the host."""
    rng = np.random.default_rng(0)
    following = rng.permuted(np.tile(np.arange(11), (11, 1)), axis=1)[:, :2]
    losses = {}
    for precision in ("bfloat16", "float8"):
        model = GPT(GPTConfig(vocab_size=11, block_size=16, n_layer=1, n_head=2, n_embd=32), seed=1)
        pack(model)
        optimizer, rng, last = AdamW(model, lr=1e-2), np.random.default_rng(3), []
        for _ in range(60):
            tokens = np.zeros((8, 17), np.int32)
            for t in range(1, 17):
                tokens[:, t] = following[tokens[:, t - 1], rng.integers(0, 2, 8)]
            with use_precision(precision):
                batch = Batch(tokens[:, :-1], tokens[:, 1:])
                update = train_step(model, optimizer, [(0, batch)], lr=1e-2, max_grad_norm=1.0)
            last.append(float(update.loss))
        losses[precision] = np.mean(last[-10:]) / 128
    assert losses["bfloat16"] < 0.95
    assert abs(losses["float8"] - losses["bfloat16"]) < 0.02
    assert losses["float8"] != losses["bfloat16"]


def test_a_cpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="no CPU has such units: use device=cuda, or precision=bfloat16"):
        trainer(device="cpu").train()


def test_an_old_card_is_refused() -> None:
    with emulated_device(capability="80"), pytest.raises(DeviceError, match=r"this card has 8\.0"):
        trainer().train()


def test_weights_of_other_types_are_refused() -> None:
    def wide() -> GPT:
        return GPT(GPTConfig(**GPT_SHAPE), seed=0, dtype="float64")

    with emulated_device(), pytest.raises(ConfigError, match="precision=float8 needs a model of dtype float32"):
        trainer(make=wide).train()
