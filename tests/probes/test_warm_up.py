"""Compiling kernels ahead: all that a step uses, once, and the training is as before."""

from __future__ import annotations

import numpy as np
import pytest

import minitrain as mt
from minitrain.losses import CrossEntropyLoss
from minitrain.nn import Linear
from minitrain.probes import warm_up
from minitrain.training import Trainer, TrainingConfig
from tests.helpers.processes import run_python

SCRIPT = """
import numpy as np
import minitrain as mt
import minitrain.backend.cpu.jit as jit
from minitrain.losses import MeanSquaredError
from minitrain.nn import RMSNorm
from minitrain.probes import compile_kernels
from minitrain.training import Trainer, TrainingConfig

model = RMSNorm(4)
mt.pack(model)
data = tuple(np.random.default_rng(0).standard_normal((2, 8, 4), np.float32))
loss_fn = MeanSquaredError()
compiled = compile_kernels(model, data, loss_fn=loss_fn, tell=print)
later = []
jit.compile_listener = later.append
Trainer(
    model=model, loss_fn=loss_fn, train_data=data, val_data=data, config=TrainingConfig(epochs=2, batch_size=8),
    progress=False,
).train()
print(len(compiled), len(set(compiled)), later)
"""


def test_a_training_after_it_compiles_nothing(tmp_path):
    environment = {"MINITRAIN_CACHE_DIR": str(tmp_path), "MINITRAIN_KERNELS": "auto", "MINITRAIN_NUM_THREADS": "1"}
    *told, last = run_python(SCRIPT, **environment).splitlines()
    assert all(line.startswith("compiling ") for line in told)
    assert {"compiling rms_norm._forward", "compiling rms_norm._backward", "compiling adam._update"} <= set(told)
    assert last == f"{len(told)} {len(told)} []"


def trainer() -> Trainer:
    model = Linear(3, 4, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    return Trainer(
        model=model,
        optimizer=mt.AdamW(model, lr=0.1),
        loss_fn=CrossEntropyLoss(),
        train_data=(rng.standard_normal((16, 3)).astype(np.float32), np.arange(16) % 4),
        config=TrainingConfig(max_steps=6, batch_size=4, gradient_accumulation_steps=2),
        progress=False,
    )


@pytest.mark.parametrize("after", [0, 3])
def test_a_trainer_is_as_before(after):
    plain, warmed = trainer(), trainer()
    for one in (plain, warmed):
        one.total_steps = after
        if after:
            one.train()
        one.total_steps = 6
    assert warm_up(warmed, tell=lambda sentence: None) == warm_up(warmed, tell=print)  # none, or none again
    assert warmed.state.step == after
    for one in (plain, warmed):
        one.train()
    for path, weights in plain.model.state_dict().items():
        np.testing.assert_array_equal(weights, warmed.model.state_dict()[path])
    losses = [one.history.get_metric("train_loss") for one in (plain, warmed)]
    assert losses[0] == losses[1]
