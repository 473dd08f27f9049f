"""Adapters that a configuration names: few new weights are trained, and the model's own stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...checkpoint import Checkpoint
from ...errors import CheckpointError, ConfigError, did_you_mean
from ...nn.adapters.lora import add_lora
from ...nn.core.module import Module
from ...settings.declared import arguments, read_config, settings_of


class LoRA:
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685), see `minitrain.nn.add_lora`.

    Args:
        rank: rank of the corrections.
        alpha: their scale is alpha / rank.
        targets: shell patterns of the paths of linear layers that get one.
        dropout: probability of dropping an element of a correction's input, in training.
    """

    def __init__(
        self,
        rank: int = 8,
        alpha: float = 16.0,
        *,
        targets: tuple[str, ...] = ("*attention*", "*feed_forward*"),
        dropout: float = 0.0,
    ) -> None:
        if rank < 1 or not alpha > 0 or not 0 <= dropout < 1 or not targets:
            raise ConfigError(
                f"adapter lora: rank={rank} must be 1 or more, alpha={alpha} positive, dropout={dropout} in [0, 1), "
                "and targets not empty"
            )
        self.rank, self.alpha, self.targets, self.dropout = rank, alpha, targets, dropout

    @property
    def scale(self) -> float:
        """The factor of the corrections."""
        return self.alpha / self.rank

    def add(self, model: Module, seed: int) -> None:
        """Freeze the model and add the adapters.

        Raises:
            ConfigError: if no layer matches, or one that does cannot have an adapter.
        """
        add_lora(model, self.rank, self.alpha, targets=self.targets, dropout=self.dropout, seed=seed)


ADAPTERS: dict[str, type[LoRA]] = {"lora": LoRA}
"""The adapters by name."""


def create_adapter(config: Mapping[str, Any] | str | None) -> LoRA | None:
    """The adapter that a configuration names; ``None`` trains all weights.

    Args:
        config: a name, or a mapping of ``name`` and the settings of the adapter.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest one), or a wrong value.
    """
    if config is None:
        return None
    values = read_config({"name": config} if isinstance(config, str) else config, "adapter")
    name = values.pop("name")
    if name not in ADAPTERS:
        raise ConfigError(
            f"adapter = {name!r:.100}: {did_you_mean(name, ADAPTERS)}use one of {', '.join(ADAPTERS)}, or null for none"
        )
    return ADAPTERS[name](**arguments(f"adapter {name}", settings_of(ADAPTERS[name]), values))


def merge_adapters(checkpoint: Checkpoint, adapter: LoRA | None) -> None:
    """Add the corrections in a checkpoint to the weights, which get their paths without adapters.

    Args:
        checkpoint: its weights are changed, if it has adapters.
        adapter: the adapter of its run.

    Raises:
        CheckpointError: if it has adapters, and the run's settings do not say their scale.
    """
    weights = checkpoint.model
    adapted = [path.removesuffix(".lora_a") for path in weights if path.endswith(".lora_a")]
    if not adapted:
        return
    if adapter is None:
        raise CheckpointError(
            f"{checkpoint.path} has the weights of adapters, and without its run's settings their scale is not known: "
            "give the run folder"
        )
    for path in adapted:
        correction = weights.pop(f"{path}.lora_b") @ weights.pop(f"{path}.lora_a")
        for name in ("weight", "bias"):
            if (base := weights.pop(f"{path}.base.{name}", None)) is not None:
                weights[f"{path}.{name}"] = base
        weights[f"{path}.weight"] = weights[f"{path}.weight"] + adapter.scale * correction
