"""Packing: all parameters of a model in one contiguous buffer, all gradients in another.

One kernel call then updates every weight, one reduction gives the global norm, one buffer is sent to other machines.
Weights with and without decay are in separate groups, and so are those of each `ParamGroup`. Within a group,
parameters are in reverse order of definition, roughly the order in which the backward finishes their gradients. Each
starts at a cache line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...backend.pool import ALIGNMENT
from .groups import EVERYTHING, ParamGroup
from .module import Module
from .parameter import Parameter


class FlatGroup(NamedTuple):
    """One buffer and the parameters that are views of it."""

    decay: bool  # whether the weight decay of optimizer or group applies
    data: Array  # (n,) with zeros in the gaps that alignment leaves between parameters
    grad: Array  # (n,)
    spans: dict[str, slice]  # the range of each parameter, by path
    parameters: dict[str, Parameter]
    group: ParamGroup = EVERYTHING

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the parameters, and pack the copies into buffers of their own.

        Otherwise parameters and buffers would be copied separately, and the optimizer would update buffers that no
        layer reads.
        """
        return _pack_group, (self.group, self.decay, self.parameters)


def decays(parameter: Parameter) -> bool:
    """Whether weight decay applies: to matrices and tables, not to biases and norms (GPT-2's rule).

    A group with its own decay applies it to all its parameters.
    """
    return parameter.group.weight_decay is not None or parameter.data.ndim >= 2


def pack(model: Module) -> list[FlatGroup]:
    """Make the trainable parameters of ``model`` views of flat buffers. Frozen ones stay where they are.

    Call it once, after tying, freezing, grouping, loading or moving weights, and before making the optimizer. A second
    call does nothing. Gradients keep their values. A deep copy of a packed model is packed too, in its own memory; so
    is an unpickled one.

    Args:
        model: any module whose trainable parameters share one dtype and device.

    Returns:
        The groups, also kept as ``model.flat``.
    """
    existing: list[FlatGroup] = getattr(model, "flat", [])
    if existing:
        return existing
    trainable = {path: p for path, p in model.named_parameters() if p.trainable}
    groups = []
    for group in dict.fromkeys([EVERYTHING, *(p.group for p in trainable.values())]):
        for decay in (True, False):
            members = {p: v for p, v in reversed(trainable.items()) if v.group == group and decays(v) is decay}
            if members:
                groups.append(_pack_group(group, decay, members))
    model.flat = groups  # type: ignore[attr-defined]
    return groups


def _pack_group(group: ParamGroup, decay: bool, members: dict[str, Parameter]) -> FlatGroup:
    first = next(iter(members.values())).data
    per_line = ALIGNMENT // first.dtype.itemsize
    spans, end = {}, 0
    for path, parameter in members.items():
        spans[path] = slice(end, end + parameter.data.size)
        end += -(-parameter.data.size // per_line) * per_line
    data, grad = _aligned_zeros(first, end), _aligned_zeros(first, end)
    for path, parameter in members.items():
        shape = parameter.data.shape
        parameter.rebind(data[spans[path]].reshape(shape), grad[spans[path]].reshape(shape))
    return FlatGroup(decay, data, grad, spans, members, group)


def _aligned_zeros(like: Array, size: int) -> Array:
    """Zeros that start at a cache line."""
    xp = array_module(like)
    memory = xp.zeros(size + ALIGNMENT // like.dtype.itemsize, like.dtype)
    address = memory.ctypes.data if xp.__name__ == "numpy" else memory.data.ptr
    start = (-address % ALIGNMENT) // like.dtype.itemsize
    return memory[start : start + size]  # type: ignore[no-any-return]
