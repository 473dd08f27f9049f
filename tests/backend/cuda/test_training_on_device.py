"""Training on an emulated GPU: the bytes of the CPU, a wait for a record and none for a step, resumed on either."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend import device_of, to_device, to_numpy
from minitrain.errors import DataError, NonFiniteError, TokenError
from minitrain.losses import MeanSquaredError
from minitrain.models import GPT, GPTConfig
from minitrain.nn import Linear, pack
from minitrain.optim import AdamW
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.testing.cuda.fake import EmulatedDevice
from minitrain.training import (
    EMA,
    Callback,
    GradientStatistics,
    Histograms,
    NaNGuard,
    SpikeGuard,
    Throughput,
    Trainer,
    TrainingConfig,
    WeightStatistics,
)
from minitrain.training.evaluator import Evaluator
from minitrain.training.steps.choice import IN_A_ROW
from tests.backend.cuda.on_device import assert_same_bits

STEPS, LOG = 8, 4


def tokens(seed: int, count: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 11, (2, 4, 6)).astype(np.int32)) for _ in range(count)]


def trainer(
    device: str, folder: Path | None = None, *, val: bool = False, data: Any = None, **settings: Any
) -> Trainer:
    model = GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=0).to(device)
    pack(model)
    callbacks = settings.pop("callbacks", ())
    usual = {"max_steps": STEPS, "log_every": LOG, "gradient_accumulation_steps": 2, "save_every": 3}
    return Trainer(
        model=model,
        train_data=tokens(0, 5) if data is None else data,
        val_data=tokens(1, 2) if val else None,
        optimizer=AdamW(model, lr=1e-2),
        device=device,
        run_dir=folder,
        callbacks=callbacks,
        config=TrainingConfig(**(usual | settings)),
        progress=False,
        warn=lambda message: None,  # of 16 bits on a processor without units for them
    )


def weights(one: Trainer) -> list[Any]:
    moments = one.optimizer.state_dict()["moments"]
    return [[p.data for p in one.model.parameters()], list(moments.values())]


def records(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in TIMING}
        for row in read_metrics(folder / "metrics.jsonl")
    ]


def test_it_learns_the_bytes_of_the_cpu(gpu: EmulatedDevice, tmp_path: Path) -> None:
    runs = {device: trainer(device, tmp_path / device, val=True, validation_frequency=3) for device in ("cpu", "cuda")}
    for one in runs.values():
        one.train()
    assert device_of(runs["cuda"].model.parameters()[0].data) == "cuda:0"
    assert_same_bits(weights(runs["cuda"]), weights(runs["cpu"]))
    assert records(tmp_path / "cuda") == records(tmp_path / "cpu")


def test_it_waits_for_records_alone(gpu: EmulatedDevice) -> None:
    one = trainer("cuda")
    with gpu.counting() as counts:
        one.train()
    places = {place.partition(":")[0] for place in counts.where}
    assert places <= {"training/state.py", "training/between.py", "backend/deferred.py"}
    logged = 1 + STEPS // LOG  # the first step, too
    assert counts.to_host == 5 * logged  # loss, tokens of the window and in all, norm, deferred errors
    assert counts.synchronisations == counts.to_host
    graphed = STEPS - (IN_A_ROW - 1)  # whose numbers are sent, and once the paths of their random keys
    assert counts.to_device == 2 * 2 * STEPS + graphed + 1  # inputs and targets of each micro-batch
    assert counts.bytes_to_host <= logged * (4 * 8 + 256 * 8)


def test_no_step_between_two_records_waits(gpu: EmulatedDevice) -> None:
    one, steps = trainer("cuda", log_every=1000), []
    for update in one.loop.steps(STEPS):
        steps.append(update)
        if len(steps) == 2:
            counting = gpu.counting()
            counts = counting.__enter__()
    assert (counts.synchronisations, counts.to_host) == (0, 0)
    counting.__exit__(None, None, None)
    assert all(device_of(update.loss) == device_of(update.grad_norm) == "cuda:0" for update in steps)
    expected = trainer("cpu")
    for there, here in zip(steps, expected.loop.steps(STEPS), strict=True):
        assert (to_numpy(there.loss), to_numpy(there.grad_norm)) == (here.loss, here.grad_norm)


@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_run_goes_on_on_the_other_device(gpu: EmulatedDevice, tmp_path: Path, first: str) -> None:
    whole = trainer("cpu", tmp_path / "whole")
    whole.train()
    begun = trainer(first, tmp_path / "parts")
    begun.total_steps = 6
    begun.train()
    other = trainer("cuda" if first == "cpu" else "cpu", tmp_path / "parts")
    assert other.resume() == 6
    other.train()
    back = trainer(first, tmp_path / "parts", max_steps=STEPS + 3)
    back.resume()
    for a, b in zip(*(list(one.model.state_dict().values()) for one in (back, whole)), strict=True):
        np.testing.assert_array_equal(to_numpy(a), b)
    last = [records(tmp_path / name)[-1]["grad_norm"] for name in ("parts", "whole")]
    assert last[0] == last[1]
    assert (tmp_path / "whole/checkpoints/step-00000003/model.safetensors").read_bytes() == (
        tmp_path / "parts/checkpoints/step-00000003/model.safetensors"
    ).read_bytes()


QUIET = {
    "averages": lambda: EMA(decay=0.9),
    "histograms": lambda: Histograms(every=1000, parameters="none"),
    "statistics": lambda: GradientStatistics("blocks.0.*"),
    "weights": lambda: WeightStatistics("blocks.0.*"),
}


@pytest.mark.parametrize("name", QUIET)
def test_callbacks_that_let_it_run_ahead(gpu: EmulatedDevice, name: str) -> None:
    one = trainer("cuda", callbacks=[QUIET[name]()], log_every=1000)
    assert not one.loop.must_wait()
    one.callbacks.fire("on_train_begin", one.view, one.setup, one.run)
    waits = []
    for update in one.loop.steps(STEPS - 1):
        with gpu.counting() as counts:
            one.callbacks.fire("on_step_end", one.view, update)
        waits.append(counts.synchronisations)
    assert waits == [0] * (STEPS - 1)


class Looks(Callback):
    """Reads each loss as a number."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step_end(self, view: Any, update: Any) -> None:
        self.losses.append(float(update.loss / update.tokens) * math.isfinite(update.grad_norm))


@pytest.mark.parametrize("make", [Looks, SpikeGuard, NaNGuard, Throughput])
def test_callbacks_that_need_the_numbers_get_them(gpu: EmulatedDevice, make: Any) -> None:
    runs = {device: trainer(device, callbacks=[make()]) for device in ("cpu", "cuda")}
    for one in runs.values():
        one.train()
    assert runs["cuda"].loop.must_wait()
    assert_same_bits(weights(runs["cuda"]), weights(runs["cpu"]))
    if make is Looks:
        there, here = (next(iter(one.callbacks)).losses for one in (runs["cuda"], runs["cpu"]))
        assert there == here


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_precisions_that_run_ahead(gpu: EmulatedDevice, precision: str) -> None:
    there, here = trainer("cuda", precision=precision), trainer("cpu", precision=precision)
    assert not there.loop.must_wait()
    there.train()
    here.train()
    assert_same_bits(weights(there), weights(here))


def test_float16_looks_at_each_step(gpu: EmulatedDevice) -> None:
    runs = {device: trainer(device, precision="float16") for device in ("cpu", "cuda")}
    assert runs["cuda"].loop.must_wait()
    for one in runs.values():
        one.train()
    assert_same_bits(weights(runs["cuda"]), weights(runs["cpu"]))


def test_a_loss_that_is_not_finite_is_told_with_the_next_record(gpu: EmulatedDevice, tmp_path: Path) -> None:
    one = trainer("cuda", tmp_path, save_every=2)
    weight = one.model.parameters()[0].data
    taken = 0
    with pytest.raises(NonFiniteError, match=r"step 4 or shortly before: the (loss|gradient's norm) was NaN") as caught:
        original = one.setup.batch

        def batch(number: int) -> Any:
            nonlocal taken
            taken = number
            if number == 2:
                weight[...] = math.nan
            return original(number)

        one.setup.batch = batch  # type: ignore[method-assign]
        one.train()
    assert taken == 3
    assert "step-00000002" in str(caught.value)  # the last checkpoint is intact
    assert not (tmp_path / "checkpoints/step-00000004").exists()


def test_nothing_is_saved_of_a_step_that_was_wrong(gpu: EmulatedDevice, tmp_path: Path) -> None:
    one = trainer("cuda", tmp_path, save_every=3, log_every=1000)
    weight, original = one.model.parameters()[0].data, one.setup.batch

    def batch(number: int) -> Any:
        if number == 2:
            weight[0] = math.inf
        return original(number)

    one.setup.batch = batch  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError):
        one.train()
    assert not list(tmp_path.glob("checkpoints/step-*"))


def test_a_bad_token_is_named(gpu: EmulatedDevice) -> None:
    data = tokens(0, 3)
    data[1][0][2, 3] = 11
    with pytest.raises(TokenError, match=r"embedding_forward: tokens has 11, which is outside \[0, 11\)"):
        trainer("cuda", data=data).train()


def test_a_batch_without_targets(gpu: EmulatedDevice) -> None:
    data = [(x, np.full_like(y, -100)) for x, y in tokens(0, 2)]
    with pytest.raises(DataError, match="no target of this batch counts"):
        trainer("cuda", data=data).train()


def test_a_step_by_hand_gives_a_number(gpu: EmulatedDevice) -> None:
    there, here = trainer("cuda"), trainer("cpu")
    for batch in tokens(0, 3):
        found = there.train_step(batch)
        assert type(found) is float
        assert found == here.train_step(batch)


def test_a_model_with_a_loss_of_means(gpu: EmulatedDevice) -> None:
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((4, 3)).astype("f4"), rng.standard_normal((4, 2)).astype("f4")) for _ in range(3)]

    def run(device: str) -> Any:
        linear = Linear(3, 2, np.random.default_rng(0)).to(device)
        Trainer(
            model=linear,
            train_data=data,
            loss_fn=MeanSquaredError("mean"),
            device=device,
            progress=False,
            config=TrainingConfig(max_steps=4, log_every=2),
        ).train()
        return [p.data for p in linear.parameters()]

    assert_same_bits(run("cuda"), run("cpu"))


def test_an_evaluation(gpu: EmulatedDevice) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model = GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8), seed=0).to(device)
        found[device] = Evaluator(model, tokens(1, 3), device=device).run()
    assert found["cuda"] == found["cpu"]


def test_weights_move_there_and_back(gpu: EmulatedDevice) -> None:
    model = GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8), seed=0)
    before = {path: value.copy() for path, value in model.state_dict().items()}
    model.to("cuda").to("cpu")
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    model.to("cuda").load_state_dict({path: to_device(value, "cuda") for path, value in before.items()})
