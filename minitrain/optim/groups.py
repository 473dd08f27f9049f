"""Spans of weights with their gradients: a model's form in optimizers, averages and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NamedTuple

from ..backend.arrays import Array
from ..errors import MinitrainError
from ..nn.core.groups import ParamGroup
from ..nn.core.module import Module
from ..nn.core.packing import FlatGroup, decays
from ..nn.core.parameter import Parameter
from .state import load_arrays


class Span(NamedTuple):
    """Weights that are updated together: a packed group, or one parameter of an unpacked model."""

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
        """The gradient, laid out like ``data``. Parameters that no backward has reached count as zero."""
        grads = [parameter.read_grad() for parameter, _ in self.parts.values()]  # reading fills fresh ones with zeros
        return grads[0] if self.flat_grad is None else self.flat_grad

    def part(self, array: Array, path: str) -> Array:
        """The part of ``array`` (laid out like ``data``) that belongs to one parameter: a view in its shape."""
        parameter, where = self.parts[path]
        return array if where is None else array[where].reshape(parameter.data.shape)

    def split(self) -> list[Span]:
        """The same weights as one span for each parameter, in its own shape."""
        return [Span.of(path, parameter) for path, (parameter, _) in self.parts.items()]

    def frozen(self) -> list[str]:
        """The paths of its parameters that are not trainable at present."""
        return [path for path, (parameter, _) in self.parts.items() if not parameter.trainable]

    def weight_decay(self, usual: float) -> float:
        """The decay of these weights, where ``usual`` is the optimizer's."""
        own = self.group.weight_decay
        return (usual if self.decay else 0.0) if own is None else own


class SpanOwner(ABC):
    """An object with arrays that belong to a model's trainable weights: an optimizer, or an average.

    It raises an error if the weights have moved to other memory, or if a parameter that was frozen at the start is
    trained later, since it has no arrays for it. A parameter that is frozen later keeps its value.

    A deep copy, or an unpickled object, belongs to the copy of the model that comes with it. Copy both together,
    ``copy.deepcopy((model, optimizer))``, or find the copied model as ``.model``.

    Args:
        model: the model; pack it first if at all.
    """

    _model_bound: ClassVar[tuple[str, ...]] = ("_spans", "_flat", "_frozen_at_start")
    """Attributes that are rebuilt for a copied model."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self._bind({path for path, parameter in model.named_parameters() if parameter.trainable})

    @abstractmethod
    def _arrays(self) -> Mapping[str, Array]:
        """The arrays kept beside the weights, by name: views, not copies."""

    @abstractmethod
    def _make_arrays(self) -> None:
        """Create these arrays for ``self._spans`` with their initial values."""

    def choose_spans(self, spans: list[Span]) -> list[Span]:
        """The spans to update: as few as possible. An optimizer that needs matrices returns split ones."""
        return spans

    def _bind(self, paths: Collection[str]) -> None:
        self._spans = self.choose_spans(spans_of(self.model, paths))
        self._flat = flat_groups(self.model)
        parameters = self.model.named_parameters()
        self._frozen_at_start = {path: parameter for path, parameter in parameters if path not in paths}

    def _check_in_use(self) -> None:
        """Raise a ``MinitrainError`` if the model is no longer the one that the spans were made of."""
        owner = type(self).__name__
        alone = [(parameter, span) for span in self._spans for parameter, where in span.parts.values() if where is None]
        if flat_groups(self.model) is not self._flat or any(p.data is not span.data for p, span in alone):
            raise MinitrainError(
                f"{owner} was made before the weights of the model moved to other memory, and would change the old "
                "arrays; make it after pack(model), model.to(device) and add_lora(model)"
            )
        for path, parameter in self._frozen_at_start.items():
            if parameter.trainable:
                raise MinitrainError(
                    f"{owner}: {path} was frozen when this {owner} was made, and is trainable now; make a new {owner} "
                    "after changing which parameters are trainable"
                )

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, with the arrays by name in place of the spans."""
        paths = [path for span in self._spans for path in span.parts]
        kept = {name: value for name, value in vars(self).items() if name not in self._model_bound}
        return {**kept, "_copied": (paths, dict(self._arrays()))}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Set the attributes, and find the spans in the copied model."""
        attributes = dict(state)
        paths, arrays = attributes.pop("_copied")
        self.__dict__.update(attributes)
        self._bind(paths)
        self._make_arrays()
        load_arrays(self._arrays(), arrays, f"the copy of {type(self).__name__} does not fit the copy of its model")


def flat_groups(model: Module) -> list[FlatGroup] | None:
    """The flat groups of a packed model; ``None`` if it is not packed."""
    return getattr(model, "flat", None)


def gradients(model: Module) -> list[Array]:
    """All gradients of ``model`` in as few arrays as possible.

    The gradients of parameters that no backward has reached, or that were frozen after ``pack``, count as zero.
    """
    flat = flat_groups(model)
    if not flat:
        return [parameter.read_grad() for parameter in model.parameters() if parameter.trainable]
    for group in flat:
        for parameter in group.parameters.values():
            if parameter.trainable:
                parameter.read_grad()  # fills a fresh one with zeros
            else:
                parameter.grad_buffer()[...] = 0
    return [group.grad for group in flat]


def trainable_spans(model: Module) -> list[Span]:
    """The trainable weights of ``model`` in as few spans as possible.

    Raises:
        MinitrainError: if a packed parameter was frozen, or one was added, after ``pack``.
    """
    return spans_of(model, {path for path, parameter in model.named_parameters() if parameter.trainable})


def spans_of(model: Module, paths: Collection[str]) -> list[Span]:
    """The weights of ``model`` with these paths in as few spans as possible.

    Raises:
        MinitrainError: if the model is packed, and these are not the parameters that ``pack`` found.
    """
    flat = flat_groups(model)
    if not flat:
        return [Span.of(path, parameter) for path, parameter in model.named_parameters() if path in paths]
    packed = {path for group in flat for path in group.parameters}
    if changed := sorted(packed ^ set(paths)):
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
