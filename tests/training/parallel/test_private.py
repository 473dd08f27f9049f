"""Private training on several ranks: the same bytes, the same noise once, and the same budget as in one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import ArrayDataset, PoissonLoader, SeparateWindows
from minitrain.data.loading.parts import some_micro_batches
from minitrain.distributed import Group, run_ranks, valid_ranks
from minitrain.errors import ConfigError, NonFiniteError
from minitrain.losses import MeanSquaredError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Linear, pack
from minitrain.optim import AdamW
from minitrain.random import Key
from minitrain.training import DPSGD, Trainer, TrainingConfig
from tests.distributed.small_trainings import digest, history, on_ranks

pytest.importorskip("dp_accounting")


def trainer(
    group: Group | None, run_dir: Path | None = None, *, seed: int | None = 7, noise: float = 0.8, **options: Any
) -> Trainer:
    """Dropout, batches of random size, and some without a sample for each micro-batch."""
    device = options.pop("device", "cpu")
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1).to(device)
    pack(model)
    values = {"max_steps": 5, "save_every": 3, "log_every": 1, "batch_size": 4, "gradient_accumulation_steps": 4}
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        train_data=SeparateWindows(np.random.default_rng(0).integers(0, 11, 300), 8),
        device=device,
        config=TrainingConfig(**(values | options)),
        run_dir=run_dir,
        progress=False,
        privacy=DPSGD(0.5, noise, seed=seed),
        warn=lambda message: None,
        group=group,
    )


def result(group: Group | None, **options: Any) -> Any:
    one = trainer(group, **options)
    found = one.train()
    return digest(one), history(one), found.privacy


def test_any_number_of_ranks_ends_with_the_same_bytes_and_budget():
    alone = on_ranks(1, result)
    assert on_ranks(2, result) == on_ranks(4, result) == alone
    assert len(alone[1]["epsilon"]) == 5
    sizes = [len(trainer(None).setup.data.members(step)) for step in range(5)]
    assert min(sizes) < 4 < max(sizes)  # a micro-batch without a sample, and some with two


@settings(max_examples=6, deadline=None)
@given(parts=st.sampled_from([2, 3, 8]), batch=st.integers(8, 11), noise=st.sampled_from([0.0, 1.3]))
def test_so_it_is_for_other_sizes(parts, batch, noise):
    work = partial(result, gradient_accumulation_steps=parts, batch_size=batch, noise=noise, max_steps=3)
    alone = on_ranks(1, work)
    for ranks in valid_ranks(parts)[1:]:
        assert on_ranks(ranks, work) == alone, ranks


def test_it_is_the_training_of_one_process_but_for_the_order_of_sums():
    """So each sample counts once, and so does the noise: a second helping would be as large as the gradient."""
    several, alone = on_ranks(2, result), result(None)
    for name, values in alone[1].items():
        assert several[1][name] == pytest.approx(values, rel=1e-4, nan_ok=True), name
    assert several[1]["epsilon"] == alone[1]["epsilon"]
    assert several[2] == alone[2]


def test_a_secret_that_nobody_gave_is_that_of_rank_0():
    def work(group: Group) -> Any:
        one = trainer(group, seed=None)
        one.train()
        return digest(one), one.run.privacy.state_dict()

    (first, secret), *others = run_ranks(4, work, patience=20)
    assert others == [(first, secret)] * 3
    assert run_ranks(4, work, patience=20)[0][1] != secret


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    def part(group: Group, steps: int) -> Any:
        one = trainer(group, tmp_path / "run", seed=None, max_steps=steps)
        one.resume()
        one.train()
        return digest(one), one.run.privacy.state_dict()["secret"]

    on_ranks(2, partial(part, steps=2))
    on_ranks(1, partial(part, steps=3))
    changing, secret = on_ranks(4, partial(part, steps=5))
    assert changing == on_ranks(1, partial(result, seed=secret))[0]


def test_a_gradient_that_is_not_finite_ends_all_ranks():
    def work(group: Group) -> str:
        inputs = np.ones((8, 2), np.float32)
        inputs[6] = 1e30  # its loss overflows
        one = Trainer(
            model=Linear(2, 1, np.random.default_rng(0)),
            train_data=ArrayDataset(inputs=inputs, targets=np.ones((8, 1), np.float32)),
            loss_fn=MeanSquaredError(),
            config=TrainingConfig(batch_size=8, gradient_accumulation_steps=4, max_steps=1),
            privacy=DPSGD(1.0, 1.0, seed=1),
            progress=False,
            group=group,
        )
        with pytest.raises(NonFiniteError) as caught, np.errstate(over="ignore"):
            one.train()
        return str(caught.value)

    assert on_ranks(2, work) == on_ranks(4, work) == on_ranks(1, work)


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, 50), parts=st.integers(1, 6), batch=st.integers(1, 12))
def test_the_parts_of_a_batch_have_each_of_its_samples_once(step, parts, batch):
    data = ArrayDataset(inputs=np.arange(20.0)[:, None], targets=np.zeros(20, np.int32))
    loader = PoissonLoader(data, batch, Key.from_seed(3))
    found = [some_micro_batches(loader, step, parts, range(part, part + 1)) for part in range(parts)]
    places = [first + i for [(first, samples)] in found for i in range(len(samples))]
    members = [int(sample.inputs[0, 0]) for [(_, samples)] in found for sample in samples]
    assert places == list(range(len(members)))
    assert members == loader.members(step).tolist()


def test_gradients_of_16_bits_are_refused():
    with pytest.raises(ConfigError, match="reduce_dtype=bfloat16 does not go with private training"):
        on_ranks(2, lambda group: trainer(group, reduce_dtype="bfloat16"))
