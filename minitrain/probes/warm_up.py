"""Compiling kernels ahead of a training: one step is run and taken back, so all kernels that it uses are on disk."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ..backend.precision import use_precision
from ..optim import AdamW, Constant, Optimizer
from ..random import Key
from ..records.progress import compilations
from ..training.feed import BatchStream
from ..training.objective import objective_of
from ..training.setup import HasSetup, Setup, setup_of
from ..training.steps.plain import train_step
from .restored import state_restored

Tell = Callable[[str], object]


def warm_up(training: Setup | HasSetup, *, tell: Tell = print) -> list[str]:
    """Compile all kernels that a step and an evaluation of a training use; the training is as before afterwards.

    A kernel is compiled once for each installation and then kept on disk, so a second call compiles nothing. Kernels
    that only some batches need, such as those of a longer sequence, are compiled when such a batch comes.

    Args:
        training: a trainer that is ready to train, or its `Setup`.
        tell: called with a sentence for each kernel before it is compiled.

    Returns:
        The names of the kernels that this process compiled. A helper process may have compiled others.
    """
    setup = setup_of(training)
    begin = 0 if isinstance(training, Setup) else training.state.step
    compiled: list[str] = []

    def listen(kernel: str) -> None:
        compiled.append(kernel)
        tell(f"compiling {kernel}")

    with compilations(listen), state_restored(setup), use_precision(setup.arithmetic.precision):
        batch = setup.batch(begin)
        train_step(
            setup.model,
            setup.optimizer,
            batch,
            lr=setup.schedule(begin),
            key=setup.key.fold("warm up"),
            max_grad_norm=setup.max_grad_norm,
            objective=setup.objective,
            scaler=deepcopy(setup.arithmetic.scaler),
        )
        for _, part in batch:
            setup.objective.loss(part)  # without a key: an evaluation, which may use other kernels
    return compiled


def compile_kernels(
    model: Any,
    batch: Any,
    *,
    optimizer: Optimizer | None = None,
    loss_fn: Any = None,
    max_grad_norm: float | None = 1.0,
    tell: Tell = print,
) -> list[str]:
    """`warm_up` for a loop of your own: compile all kernels that a step of ``model`` on ``batch`` uses.

    Weights, moments and gradients are as before afterwards.

    Args:
        model: the model, packed if it will be packed in training.
        batch: a batch like those of the training, of the same sizes.
        optimizer: the optimizer of the training; `AdamW` by default.
        loss_fn: the loss, if the model has none of its own.
        max_grad_norm: as in the training; ``None`` does not clip.
        tell: called with a sentence for each kernel before it is compiled.

    Returns:
        The names of the kernels that this process compiled.
    """
    optimizer = AdamW(model) if optimizer is None else optimizer
    setup = Setup(
        model=model,
        optimizer=optimizer,
        objective=objective_of(model, loss_fn),
        schedule=Constant(optimizer.get_lr()),
        data=BatchStream([batch]),
        key=Key.from_seed(0),
        max_grad_norm=max_grad_norm,
    )
    return warm_up(setup, tell=tell)
