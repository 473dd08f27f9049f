"""The three checkers on one case, each with its own defaults."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minitrain.backend.precision import use_precision
from minitrain.testing import SINGLE, check_gradients, check_half_gradients
from minitrain.testing.calls import check_drawn

from .case import Case

FAST = 1000  # inputs and outputs from which PyTorch's check needs fast_mode: the other one builds the whole Jacobian


class Verdict(NamedTuple):
    """The verdict of a checker on a case."""

    accepted: bool | None
    """None if the case cannot exist there."""
    words: str
    """The first line of its message, if it rejects."""


def minitrain(case: Case) -> Verdict:
    """minitrain, with the checker that is made for the case's precision."""

    def check() -> None:
        inputs = fresh(case)
        if case.half:
            check_half_gradients(case.make(), *inputs, precision=case.half)
        elif case.letters:
            check_drawn(case.make(), case.letters)
        elif case.single:
            check_gradients(case.make(), *inputs, settings=SINGLE)
        else:
            check_gradients(case.make(), *inputs)

    return verdict(check)


def pytorch(case: Case) -> Verdict:
    """``torch.autograd.gradcheck`` with its defaults; ``fast_mode`` where the other one would take hours."""
    import torch

    forward, backward = case.make()

    class Function(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            with computing(case):
                *outputs, ctx.cache = forward(*(x.detach().numpy() for x in tensors))
            made = tuple(torch.from_numpy(np.asarray(out)) for out in outputs)
            return made[0] if len(made) == 1 else made

        @staticmethod
        def backward(ctx: Any, *douts: Any) -> Any:
            with computing(case):
                gradients = backward(*(dout.numpy() for dout in douts), ctx.cache)
            many = gradients if isinstance(gradients, tuple) else (gradients,)
            return tuple(None if g is None else torch.from_numpy(np.asarray(g)) for g in many)

    def check() -> None:
        tensors = [torch.from_numpy(x) for x in fresh(case)]
        if case.single or case.half:
            tensors = [x.float() for x in tensors]
        for x in tensors:
            x.requires_grad_(x.is_floating_point())
        size = max(x.numel() for x in tensors)
        torch.autograd.gradcheck(Function.apply, tensors, fast_mode=size > FAST)

    return verdict(check)


def jax(case: Case) -> Verdict:
    """``jax.test_util.check_grads`` of a ``custom_vjp``, first order, reverse mode, with its default tolerance."""
    import jax as library
    import jax.numpy as jnp
    from jax.test_util import check_grads

    if case.jax_cannot:
        return Verdict(None, "")
    forward, backward = case.make()
    inputs = fresh(case)
    dtype = np.float32 if case.single or case.half else np.float64
    moving = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]

    def filled(arrays: Any) -> list[Any]:
        found = [np.array(x) for x in inputs]
        for i, x in zip(moving, arrays, strict=True):
            found[i] = np.array(x)
        return found

    def run(*arrays: Any) -> Any:
        with computing(case):
            return np.asarray(forward(*filled(arrays))[0], dtype)

    def pull(*arrays_and_dout: Any) -> Any:
        *arrays, dout = arrays_and_dout
        with computing(case):
            gradients = backward(np.array(dout), forward(*filled(arrays))[1])
        many = gradients if isinstance(gradients, tuple) else (gradients,)
        return tuple(np.asarray(many[i], dtype) for i in moving)

    def shape_of(x: Any) -> Any:
        return library.ShapeDtypeStruct(np.shape(x), dtype)

    shape = np.shape(case.make()[0](*filled([inputs[i] for i in moving]))[0])

    def function_of(*arrays: Any) -> Any:
        return library.pure_callback(run, library.ShapeDtypeStruct(shape, dtype), *arrays)

    function = library.custom_vjp(function_of)

    def rule(arrays: Any, dout: Any) -> Any:
        return library.pure_callback(pull, tuple(map(shape_of, arrays)), *arrays, dout)

    function.defvjp(lambda *arrays: (function(*arrays), arrays), rule)

    def check() -> None:
        arrays = tuple(jnp.asarray(inputs[i], dtype) for i in moving)
        check_grads(function, arrays, order=1, modes=("rev",))

    enabled = library.enable_x64 if hasattr(library, "enable_x64") else library.experimental.enable_x64
    with enabled(True):
        return verdict(check)


CHECKERS: dict[str, Callable[[Case], Verdict]] = {"minitrain": minitrain, "PyTorch": pytorch, "JAX": jax}


def computing(case: Case) -> Any:
    """The precision in which the case computes."""
    return use_precision(case.half or "float64")


def fresh(case: Case) -> tuple[Any, ...]:
    """Copies: a function may write to them."""
    return tuple(np.array(x) for x in case.inputs)


def verdict(check: Callable[[], None]) -> Verdict:
    """Run a check and see whether it is content."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            check()
        except Exception as error:  # each checker has its own kinds
            return Verdict(False, str(error).strip().partition("\n")[0])
    return Verdict(True, "")
