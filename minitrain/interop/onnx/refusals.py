"""Models that cannot be exported to ONNX, and what they would need."""

from __future__ import annotations

from typing import Any, NoReturn

from ...errors import ConfigError
from ...nn.adapters.lora import LoRALinear
from ...nn.layers.moe import MixtureOfExperts
from ...nn.layers.pointer_head import PointerHead

ADVICE: dict[type, str] = {
    LoRALinear: "merge the adapters into the weights first: merge_lora(model)",
    PointerHead: "a graph would need to add up the copies of equal tokens; train with pointer=False to export",
    MixtureOfExperts: "a graph would need the routing: the choice of experts for each token, and a loop over them",
}
"""The message for layers that models are known to have."""


def refuse(path: str, part: Any, kinds: tuple[type, ...]) -> NoReturn:
    """Refuse a layer or a model.

    Args:
        path: where in the model it is; empty for the model itself.
        part: the layer.
        kinds: what can be written in its place.

    Raises:
        ConfigError: always.
    """
    known = " or ".join(kind.__name__ for kind in kinds)
    advice = next((text for kind, text in ADVICE.items() if isinstance(part, kind)), "")
    what = f"{path}, a {type(part).__name__}," if path else type(part).__name__
    advice = advice or f"only {known} can; another class needs a function of its own in minitrain/interop/onnx"
    raise ConfigError(f"{what} cannot be exported to ONNX: {advice}")


def require_methods(model: Any, base: type, *methods: str) -> None:
    """Check that a model computes what ``base`` computes.

    Args:
        model: the model, of a class below ``base``.
        base: the class whose computation is written.
        methods: what must not be overridden.

    Raises:
        ConfigError: if one is.
    """
    for name in methods:
        if getattr(type(model), name) is not getattr(base, name):
            raise ConfigError(
                f"{type(model).__name__} cannot be exported to ONNX: it has a {name} of its own, and only that of "
                f"{base.__name__} can be written as a graph"
            )


def require_option(path: str, name: str, value: Any, wanted: Any) -> None:
    """Check that an option of a layer has the one value that can be written.

    Raises:
        ConfigError: if it has another one.
    """
    if value != wanted:
        raise ConfigError(f"{path} cannot be exported to ONNX with {name} = {value}: only {name} = {wanted} can")
