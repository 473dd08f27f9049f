"""The nearest valid name to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What other trainers call a setting, and what it is called here.
_ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "max_lr": "optimizer.learning_rate",
    "beta_1": "optimizer.beta1",
    "beta_2": "optimizer.beta2",
    "betas": "optimizer.beta1",
    "epochs": "trainer.max_steps",
    "max_iters": "trainer.max_steps",
    "steps": "trainer.max_steps",
    "bs": "trainer.batch_size",
    "gradient_accumulation_steps": "trainer.accumulation_steps",
    "grad_clip": "trainer.max_grad_norm",
    "eval_interval": "trainer.eval_every",
    "d_model": "model.n_embd",
    "n_embed": "model.n_embd",
    "hidden_size": "model.n_embd",
    "warmup_iters": "scheduler.warmup_steps",
    "warmup": "scheduler.warmup_steps",
    "dataset": "data.path",
    "out_dir": "run_dir",
}


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that ``name`` was most likely meant to be, or ``None`` if none is near.

    A dotted path is found by its last part (``n_layer`` for ``model.n_layer``), by the name another trainer gives
    it (``lr``), or by its spelling.

    Args:
        name: what the user typed.
        valid: the names that exist, dotted paths or plain words.
    """
    choices = list(valid)
    leaf = name.rpartition(".")[2]
    same_leaf = [choice for choice in choices if choice.rpartition(".")[2] == leaf]
    if len(same_leaf) > 1:
        same_leaf = difflib.get_close_matches(name, same_leaf, n=1, cutoff=0.0)
    if same_leaf:
        return same_leaf[0]
    if _ELSEWHERE.get(leaf) in choices:
        return _ELSEWHERE[leaf]
    spelled_so = difflib.get_close_matches(name, choices, n=1, cutoff=0.7)
    if spelled_so:
        return spelled_so[0]
    by_leaf = {choice.rpartition(".")[2]: choice for choice in choices}
    near_leaf = difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6)
    return by_leaf[near_leaf[0]] if near_leaf else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of ``valid``, or the empty string if none is near."""
    found = nearest(name, valid)
    return f"; did you mean {found}?" if found else ""
