"""Check what PyTorch's autograd computes: an ``autograd.Function``, a module, or any function of tensors."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ..pairs import Parameters, check
from ..report import GradientCheckError, GradientReport
from ..settings import DEFAULT, CheckSettings


def check_torch(function: Any, *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any) -> GradientReport:
    """Check the gradients of a PyTorch ``autograd.Function``, module, or function of tensors.

    The check runs in float64, on copies of the inputs; of a module, on a copy. Each forward starts from the same state
    of PyTorch's random numbers and of the module's buffers, so dropout and batch norm can be checked in training mode.
    Outputs that do not require a gradient are left out, as in ``torch.autograd.gradcheck``. A gradient that PyTorch
    does not compute (``None``) counts as zero, as in training.

    Args:
        function: a subclass of ``torch.autograd.Function``, a ``torch.nn.Module``, or a callable. Trainable parameters
            of a module are checked, too.
        inputs: tensors or NumPy arrays of any floating dtype, and anything else, which is passed on unchanged.
        settings: how closely to check. Arguments in ``no_gradient`` do not require a gradient.
        options: keyword arguments of the function.

    Returns:
        The worst relative error of each argument and parameter.

    Raises:
        GradientMismatch: if a gradient is wrong.
        GradientCheckError: if it cannot be checked: see ``check_gradients``; also if no output requires a gradient.

    Example:
        ```python
        class Cube(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x**3

            @staticmethod
            def backward(ctx, dout):
                (x,) = ctx.saved_tensors
                return 3 * x**2 * dout

        print(check_torch(Cube, torch.randn(3, 4)))
        ```
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    torch = _torch()
    names = _names(torch, function, len(inputs))
    subject = _Subject(torch, function, names, inputs, settings)
    arrays = [x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for x in map(_in_double, inputs)]
    return check(subject.forward, subject.backward, arrays, options, subject.parameters(), settings, names=names)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise GradientCheckError("check_torch needs PyTorch: pip install torch") from None
    return torch


def is_function_class(torch: Any, thing: Any) -> bool:
    """Whether it is a subclass of ``torch.autograd.Function``."""
    return inspect.isclass(thing) and issubclass(thing, torch.autograd.Function)


def _in_double(x: Any) -> Any:
    """A tensor of 16 bits, which NumPy may not have, in float64; anything else as it is."""
    return x.double() if hasattr(x, "is_floating_point") and x.is_floating_point() else x


def _names(torch: Any, function: Any, count: int) -> list[str]:
    """The names of the positional arguments."""
    target, skipped = function, 0
    if is_function_class(torch, function):
        target = function.forward
        skipped = int(function.setup_context is torch.autograd.Function.setup_context)  # the ctx of the older form
    elif isinstance(function, torch.nn.Module):
        target = function.forward
    try:
        parameters = list(inspect.signature(target).parameters.values())[skipped:]
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(count)]


class _Run(NamedTuple):
    """The values that a forward leaves for its backward."""

    saved: list[Array]
    """The tensors that an ``autograd.Function`` has saved, as arrays over the same memory."""
    leaves: list[Any]
    """For each input a tensor that requires a gradient, or ``None``."""
    outputs: list[Any]


class _Subject:
    """A function of tensors as a pair over arrays."""

    def __init__(
        self, torch: Any, function: Any, names: Sequence[str], inputs: Sequence[Any], settings: CheckSettings
    ) -> None:
        self._torch, self._names, self._settings = torch, names, settings
        self._call: Callable[..., Any] = function
        self._module: Any = None
        self._gradients: dict[str, Array] = {}
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        if is_function_class(torch, function):
            self._call = function.apply
        elif isinstance(function, torch.nn.Module):
            self._call = self._module = copy.deepcopy(function).double()
            tensors += list(self._module.parameters())
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._trainable: dict[str, Any] = {}
        self._values: dict[str, Array] = {}
        self._buffers: list[tuple[Any, Any]] = []
        if self._module is not None:
            for name, parameter in self._module.named_parameters():
                parameter.data = parameter.data.contiguous()
                if parameter.requires_grad:
                    self._trainable[name] = parameter
                    self._values[name] = parameter.detach().cpu().numpy()  # on the CPU over the same memory
            self._buffers = [(buffer, buffer.clone()) for buffer in self._module.buffers()]

    def parameters(self) -> Parameters:
        """The trainable parameters, which the checker moves."""
        if not self._trainable:
            return Parameters()
        return Parameters(self._values, lambda: self._gradients, self._gradients.clear, self.forward)

    def forward(self, *values: Any, **options: Any) -> tuple[Any, ...]:
        """Outputs as arrays, and the graph."""
        torch = self._torch
        leaves: list[Any] = []
        tensors: list[Any] = []
        for name, x in zip(self._names, values, strict=True):
            leaf = None
            if isinstance(x, np.ndarray):
                x = torch.from_numpy(x).to(self._device)  # on the CPU over the same memory: a change in place shows
                if x.is_floating_point() and name not in self._settings.no_gradient:
                    leaf = x.requires_grad_()
            leaves.append(leaf)
            tensors.append(x)
        with torch.enable_grad(), torch.random.fork_rng():
            torch.manual_seed(self._settings.seed)
            self._restore()
            outputs = list(_tensors(torch, self._call(*tensors, **options)))
        kept = [out for out in outputs if out.is_floating_point() and out.requires_grad]
        if not kept:
            raise GradientCheckError(
                f"none of the {len(outputs)} outputs requires a gradient: is there a detach(), a no_grad() or a tensor "
                "made from data on the way?"
            )
        saved = [
            x.detach().cpu().numpy()
            for x in getattr(kept[0].grad_fn, "saved_tensors", ())
            if x is not None and x.is_floating_point() and not isinstance(x, torch.nn.Parameter)
        ]
        return (*(out.detach().cpu().numpy() for out in kept), _Run(saved, leaves, kept))

    def backward(self, *douts_and_run: Any) -> list[Any]:
        """One gradient for each input, ``None`` for one that does not require it."""
        torch, (*douts, run) = self._torch, douts_and_run
        leaves = [leaf for leaf in run.leaves if leaf is not None]
        wanted = [*leaves, *self._trainable.values()]
        given = [torch.from_numpy(dout).to(self._device) for dout in douts]
        found = list(torch.autograd.grad(run.outputs, wanted, given, allow_unused=True)) if wanted else []
        arrays = [
            np.zeros(tuple(x.shape)) if gradient is None else gradient.detach().cpu().numpy()
            for x, gradient in zip(wanted, found, strict=True)
        ]
        self._gradients.update(zip(self._trainable, arrays[len(leaves) :], strict=True))
        pending = iter(arrays)
        return [None if leaf is None else next(pending) for leaf in run.leaves]

    def _restore(self) -> None:
        """Put buffers back, and on a GPU copy the parameters that the checker has moved."""
        with self._torch.no_grad():
            for buffer, before in self._buffers:
                buffer.copy_(before)
            if self._device.type != "cpu":
                for name, parameter in self._trainable.items():
                    parameter.copy_(self._torch.from_numpy(self._values[name]))


def _tensors(torch: Any, result: Any) -> Iterator[Any]:
    """The tensors in tuples, lists and dictionaries."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, Mapping):
        for part in result.values():
            yield from _tensors(torch, part)
    elif isinstance(result, tuple | list):
        for part in result:
            yield from _tensors(torch, part)
