"""The base of all layers and models: named parameters, saving and loading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...backend.arrays import Array, array_module, to_device, to_numpy
from ...display.markup import block, shown
from ...errors import CheckpointError, ConfigError, MinitrainError
from .outline import folded, outline
from .parameter import Parameter


class Module:
    """A layer: it owns parameters and other modules as plain attributes, and calls operations with them.

    Layers and parameters may also be in lists. A subclass writes two methods. ``forward(x, ...)`` returns ``(out,
    cache)``. ``backward(dout, cache)`` writes the gradients of its parameters where ``Parameter.into`` says, and
    returns that of ``x``. The module stores nothing of a call, so it may be used many times before the first backward.
    """

    @shown
    def _repr_html_(self) -> str:
        return block(folded(outline(self)))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted paths, in order of definition. A shared one appears once, at its first path."""
        seen: set[int] = set()
        for path, parameter in self._walk(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield path, parameter

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, with an empty path, and all modules inside it by dotted path, in order of definition."""
        yield prefix.removesuffix("."), self
        for name, member in self._members():
            if isinstance(member, Module):
                yield from member.named_modules(f"{prefix}{name}.")

    def modules(self) -> Iterator[Module]:
        """This module and all those inside it, in order of definition."""
        return (module for _, module in self.named_modules())

    def _walk(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths; a shared one appears under each of its paths."""
        for name, member in self._members():
            if isinstance(member, Module):
                yield from member._walk(f"{prefix}{name}.")
            else:
                yield prefix + name, member

    def _members(self) -> Iterator[tuple[str, Parameter | Module]]:
        """Attributes that are parameters or modules, and the parameters and modules in attributes that are lists.

        Raises:
            ConfigError: if a tuple or a dictionary holds some; they would not be found there.
        """
        for name, value in vars(self).items():
            if isinstance(value, list):
                yield from (
                    (f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, Parameter | Module)
                )
            elif isinstance(value, tuple | dict):
                for item in value.values() if isinstance(value, dict) else value:
                    if isinstance(item, Parameter | Module):
                        raise ConfigError(
                            f"{type(self).__name__}.{name} is a {type(value).__name__} with a {type(item).__name__} in "
                            "it; put layers and parameters into attributes or lists, where they are found"
                        )
            elif isinstance(value, Parameter | Module):
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters; a shared one appears once."""
        return [parameter for _, parameter in self.named_parameters()]

    def parameter_count(self) -> int:
        """Number of trainable and frozen weights; shared ones count once."""
        return sum(parameter.data.size for parameter in self.parameters())

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """The weights by path. These are the arrays in use, not copies."""
        return {path: parameter.data for path, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Copy weights from ``state`` into this model, converting dtype and device.

        Args:
            state: arrays by path, as ``state_dict`` gives them.
            strict: whether every path must be in both.

        Raises:
            CheckpointError: if a path is missing or unknown (when strict), or a shape differs. Nothing is loaded then.
        """
        own = dict(self.named_parameters())
        if strict and own.keys() != state.keys():
            missing = [path for path in own if path not in state]
            unknown = [path for path in state if path not in own]
            parts = [f"it lacks {some_of(missing)}"] * bool(missing) + [f"it has unknown {some_of(unknown)}"] * bool(
                unknown
            )
            raise CheckpointError(
                f"the weights are of another model: {' and '.join(parts)}; "
                "build the model with the configuration it was saved with, or pass strict=False to load what matches"
            )
        shared = [path for path in own if path in state]
        for path in shared:
            if tuple(state[path].shape) != tuple(own[path].data.shape):
                raise CheckpointError(
                    f"the weights are of another model: {path} has shape {tuple(state[path].shape)} in them but "
                    f"{tuple(own[path].data.shape)} here; build the model with the configuration it was saved with"
                )
        for path in shared:
            data = own[path].data
            data[...] = array_module(data).asarray(to_numpy(state[path]))

    def to(self, device: str) -> Module:
        """Move all weights to ``"cpu"`` or ``"cuda"``, in place, and clear gradients. Call it before ``pack``.

        Raises:
            DeviceError: if there is no such device.
            MinitrainError: if the model is packed.
        """
        if getattr(self, "flat", None):
            raise MinitrainError("a packed model cannot be moved: call model.to(device) before pack(model)")
        for parameter in self.parameters():
            moved = to_device(parameter.data, device)
            if moved is not parameter.data:
                parameter.data, parameter._buffer, parameter._fresh = moved, None, True
        return self


def some_of(paths: list[str], most: int = 3) -> str:
    """The first paths of a list, for a message."""
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")
