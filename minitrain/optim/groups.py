"""What an optimizer and the clipping see of a model: stretches of weights with their gradients."""

from __future__ import annotations

from typing import NamedTuple

from ..backend.arrays import Array
from ..errors import MinitrainError
from ..nn.core.groups import ParamGroup
from ..nn.core.module import Module
from ..nn.core.packing import FlatGroup, decays
from ..nn.core.parameter import Parameter


class Span(NamedTuple):
    """A stretch of weights that is updated in one go: a packed group, or one parameter of an unpacked model."""

    decay: bool
    data: Array
    parts: dict[str, tuple[Parameter, slice | None]]  # by path; the slice of ``data`` in a packed group
    flat_grad: Array | None
    group: ParamGroup

    @classmethod
    def of(cls, path: str, parameter: Parameter) -> Span:
        """One parameter in its own shape, packed or not."""
        return cls(decays(parameter), parameter.data, {path: (parameter, None)}, None, parameter.group)

    def grad(self) -> Array:
        """The gradient, laid out like ``data``; parameters no backward has reached count as zero."""
        grads = [parameter.grad for parameter, _ in self.parts.values()]  # reading makes fresh ones zero
        return grads[0] if self.flat_grad is None else self.flat_grad

    def part(self, array: Array, path: str) -> Array:
        """The view of ``array`` (laid out like ``data``) that belongs to one parameter, in its shape."""
        parameter, where = self.parts[path]
        return array if where is None else array[where].reshape(parameter.data.shape)

    def split(self) -> list[Span]:
        """The same weights, each parameter apart and in its own shape."""
        return [Span.of(path, parameter) for path, (parameter, _) in self.parts.items()]

    def weight_decay(self, usual: float) -> float:
        """The decay of these weights, where ``usual`` is the optimizer's."""
        own = self.group.weight_decay
        return (usual if self.decay else 0.0) if own is None else own


def check_in_use(owner: str, model: Module, spans: list[Span], flat: list[FlatGroup] | None) -> None:
    """Raise a ``MinitrainError`` if ``spans`` are no longer where the weights of ``model`` are.

    Args:
        owner: who holds the spans.
        model: the model.
        spans: from ``trainable_spans(model)``, or split.
        flat: ``flat_groups(model)`` of that time.
    """
    alone = [(parameter, span) for span in spans for parameter, where in span.parts.values() if where is None]
    if flat_groups(model) is not flat or any(parameter.data is not span.data for parameter, span in alone):
        raise MinitrainError(
            f"{owner} was made before the weights of the model moved to other memory, and would change the old arrays; "
            "make it after pack(model), model.to(device) and adapters"
        )


def flat_groups(model: Module) -> list[FlatGroup] | None:
    """What ``pack`` made of the model, ``None`` if it is not packed."""
    return getattr(model, "flat", None)


def gradients(model: Module) -> list[Array]:
    """All gradients of ``model``, as few arrays as possible; parameters no backward has reached count as zero."""
    flat = flat_groups(model)
    trainable = [p for group in flat for p in group.parameters.values()] if flat else model.parameters()
    grads = [p.grad for p in trainable if p.trainable]  # reading makes fresh ones zero
    return [group.grad for group in flat] if flat else grads


def trainable_spans(model: Module) -> list[Span]:
    """The trainable weights of ``model``, as few stretches as possible.

    Raises:
        MinitrainError: if a packed parameter was frozen, or one was added, after ``pack``.
    """
    trainable = {path: p for path, p in model.named_parameters() if p.trainable}
    flat = flat_groups(model)
    if not flat:
        return [Span.of(path, parameter) for path, parameter in trainable.items()]
    packed = {path: p for group in flat for path, p in group.parameters.items()}
    if packed.keys() != trainable.keys():
        changed = sorted(packed.keys() ^ trainable.keys())
        raise MinitrainError(
            f"{changed[0]} was frozen, freed or added after pack(model): pack once, after such changes"
        )
    return [
        Span(
            flat_group.decay,
            flat_group.data,
            {path: (p, flat_group.spans[path]) for path, p in flat_group.parameters.items()},
            flat_group.grad,
            flat_group.group,
        )
        for flat_group in flat
    ]
