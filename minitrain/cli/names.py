"""The nearest valid name to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import nearest

# What other trainers call a setting, and what it is called here.
ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "max_lr": "optimizer.learning_rate",
    "betas": "optimizer.beta1",
    "num_epochs": "trainer.epochs",
    "max_iters": "trainer.max_steps",
    "steps": "trainer.max_steps",
    "accumulation_steps": "trainer.gradient_accumulation_steps",
    "grad_clip": "trainer.max_grad_norm",
    "eval_interval": "trainer.validation_frequency",
    "eval_every": "trainer.validation_frequency",
    "d_model": "model.n_embd",
    "hidden_size": "model.n_embd",
    "warmup": "scheduler.warmup_steps",
    "warmup_iters": "scheduler.warmup_steps",
    "dataset": "data.path",
    "out_dir": "run_dir",
}


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """``"; did you mean x?"`` for the one of ``valid`` spelled most like ``name``, or nothing if none is near."""
    near = nearest(name, valid)
    return f"; did you mean {near}?" if near else ""
