"""The base of the models' configurations: each field is checked by its name, the same way in every model."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from ...errors import ConfigError, did_you_mean
from ...nn.attention.heads import ROPE_SCALINGS
from ...ops.activations.gelu import FORMS

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi")
"""How a decoder knows where a token is: a table or waves added to its vector, or rotations or ALiBi in attention."""

POOLINGS = ("mean", "first", "concat")
"""The input of the head: the mean of all positions that are not padding, the first position, or all side by side."""

STEMS = ("patch", "conv")
"""How the vectors of an image's patches are made: by a linear map, or by convolutions."""

CONTRASTS = ("info_nce", "siglip")
"""The losses of two encoders: the right partner among all of a batch, or yes and no for each pair."""

POOLERS = ("absent", "unused", "used")
"""Whether a BERT has a pooler, a linear layer and a tanh, and whether sentences go through it."""

KINDS = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
}
"""The valid values of a field of each type, and their name in messages."""


@dataclass(frozen=True)
class CheckedConfig:
    """The base of all configurations: a wrong value raises an error when the configuration is made.

    A subclass is a frozen dataclass. ``CHECKS`` has the check of a field by its name; a class may have ``own_checks``.
    ``check_together`` checks how fields fit together.

    Raises:
        ConfigError: naming the field, its value and what to change.
    """

    own_checks: ClassVar[Mapping[str, Callable[[str, Any], None]]] = {}

    def __new__(cls, *values: Any, **named: Any) -> Self:
        """Refuse unknown names before ``__init__`` does, with the nearest known one."""
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in named if name not in known]:
            hint = did_you_mean(unknown[0], known)
            raise ConfigError(f"{cls.__name__} has no field {unknown[0]}; {hint}it has {', '.join(known)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check all fields."""
        check_types(self)
        checks = {**CHECKS, **self.own_checks}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in checks and value is not None:  # None is allowed where the type allows it
                checks[field.name](field.name, value)
        if hasattr(self, "n_head"):
            check_heads(self)
        self.check_together()

    def check_together(self) -> None:
        """Check how the fields fit together; nothing by default.

        Raises:
            ConfigError: naming the fields, their values and what to change.
        """


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(CheckedConfig):
    """The fields that the configurations of all transformers share.

    Attributes:
        n_layer: number of blocks.
        n_head: number H of (query) heads; divides ``n_embd``.
        n_embd: model width C.
        dropout: probability of dropping, in [0, 1).
        label_smoothing: share of each target spread over all classes in training, in [0, 1).
    """

    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    label_smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(TransformerConfig):
    """The fields that the configurations of classifiers share; see also `TransformerConfig`.

    Attributes:
        drop_path: probability that the last block drops its branches for a sample (stochastic depth), in [0, 1);
            it grows from block to block in proportion to the depth.
        bias: whether the blocks' linear layers and the norms have biases.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
    """

    drop_path: float = 0.0
    bias: bool = True
    gelu: str = "exact"


def check_types(config: Any) -> None:
    """Raise a ``ConfigError`` unless each number, truth value and text of a configuration has its field's type."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if value is None and type(None) in options:
            continue
        kind, wanted = KINDS.get(options[0], (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and options[0] in KINDS):
            raise ConfigError(f"{field.name} = {value!r} must be {wanted}, got {type(value).__name__}")


def at_least_one(name: str, value: Any) -> None:
    """Raise a ``ConfigError`` unless the value is 1 or more."""
    if value < 1:
        raise ConfigError(f"{name} = {value} must be 1 or more")


def at_least_zero(name: str, value: Any) -> None:
    """Raise a ``ConfigError`` if the value is negative."""
    if value < 0:
        raise ConfigError(f"{name} = {value} must be 0 or more")


def share(name: str, value: Any) -> None:
    """Raise a ``ConfigError`` unless the value is in [0, 1)."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} = {value} must be at least 0 and less than 1")


def positive(name: str, value: Any) -> None:
    """Raise a ``ConfigError`` unless the value is greater than 0."""
    if not value > 0:
        raise ConfigError(f"{name} = {value} must be greater than 0")


def loss_chunk(name: str, value: Any) -> None:
    """Raise a ``ConfigError`` unless the value is a number of rows."""
    if value < 1:
        raise ConfigError(f"{name} = {value} must be 1 or more; None computes all logits at once")


def one_of(choices: Iterable[str]) -> Callable[[str, Any], None]:
    """A check that raises a ``ConfigError`` with the nearest valid name unless the value is one of ``choices``."""
    known = list(choices)

    def check(name: str, value: Any) -> None:
        if value not in known:
            hint = did_you_mean(str(value), known)
            raise ConfigError(f"{name} = {value!r}: {hint}use one of {', '.join(map(repr, known))}")

    return check


CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("vocab_size", "target_vocab_size", "block_size", "n_classes"), at_least_one),
    **dict.fromkeys(("image_size", "patch", "channels", "n_layer", "n_head", "n_embd", "n_hidden"), at_least_one),
    **dict.fromkeys(("head_width", "rope_original", "n_types"), at_least_one),
    **dict.fromkeys(("n_features", "text_layer", "text_head", "text_embd", "decoder_layer"), at_least_one),
    "window": at_least_one,
    "loss_chunk": loss_chunk,
    **dict.fromkeys(("dropout", "drop_path", "label_smoothing"), share),
    **dict.fromkeys(("rope_base", "rope_scaling", "rope_low", "rope_high", "eps", "scale"), positive),
    "rope_kind": one_of(ROPE_SCALINGS),
    "gelu": one_of(FORMS),
    "pool": one_of(POOLINGS),
    "stem": one_of(STEMS),
    "stem_depth": at_least_zero,
    "pooler": one_of(POOLERS),
    "contrast": one_of(CONTRASTS),
    "positions": one_of(POSITIONS),
}
"""The check of a field by its name."""


def check_text_pool(config: Any) -> None:
    """Raise a ``ConfigError`` for a pooling that needs inputs of one length, which texts are not."""
    if config.pool == "concat":
        raise ConfigError("pool = 'concat' is for images, which have one size; for texts use 'mean' or 'first'")


def check_heads(config: Any) -> None:
    """Raise a ``ConfigError`` unless the heads divide the width, and the key heads divide the heads."""
    width, heads, kv_heads = config.n_embd, config.n_head, getattr(config, "n_kv_head", None)
    if getattr(config, "head_width", None) is None and width % heads:
        near = max(heads, round(width / heads) * heads)
        raise ConfigError(f"n_embd = {width} is not a multiple of n_head = {heads}: try n_embd = {near}")
    if kv_heads is not None and (kv_heads < 1 or heads % kv_heads):
        raise ConfigError(f"n_kv_head = {kv_heads} does not divide n_head = {heads}")


def check_positions(config: Any) -> None:
    """Raise a ``ConfigError`` unless a decoder's width fits its positions."""
    given = getattr(config, "head_width", None)
    if config.positions == "rotary" and given is not None and given % 2:
        raise ConfigError(f"head_width = {given} is odd: rotary positions rotate pairs of elements, so make it even")
    if config.positions == "rotary" and given is None and (config.n_embd // config.n_head) % 2:
        raise ConfigError(
            f"n_embd / n_head = {config.n_embd // config.n_head} is odd: rotary positions rotate pairs of elements, "
            f"so try n_embd = {config.n_embd + config.n_head}"
        )
    if config.positions == "sinusoidal" and config.n_embd % 2:
        raise ConfigError(
            f"n_embd = {config.n_embd} is odd: each sinusoid has a sine and a cosine, "
            f"so try n_embd = {config.n_embd + config.n_head}"
        )


def check_config(model: Any, config: Any) -> None:
    """Raise a ``ConfigError`` unless ``config`` is of the model's ``config_type``."""
    name, kind = type(model).__name__, model.config_type
    if not isinstance(config, kind):
        raise ConfigError(
            f"{name}: config must be a {kind.__name__}, got {type(config).__name__}; write {name}({kind.__name__}(...))"
        )
