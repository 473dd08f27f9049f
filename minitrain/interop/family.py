"""A family of published models: its settings, and the names of its weights.

A setting that changes the result and that minitrain does not have is refused by name. So is one that nobody here knows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from .table import Row

Values = dict[str, Any]
"""Settings of a file. What reads one takes it out, so that what is left was not understood."""

HARMLESS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "attn_implementation",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "is_llama_config",
        "label2id",
        "max_length",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "return_dict",
        "task_specific_params",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers.js_config",
        "transformers_version",
        "use_bfloat16",
        "use_cache",
    }
)
"""Settings of transformers that do not change what a model computes: notes, names, tokens, training, speed."""
FIXED: dict[str, tuple[Any, ...]] = {
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "chunk_size_feed_forward": (0,),
    "pruned_heads": ({}, None),
    "tie_encoder_decoder": (False,),
    "rope_interleaved": (False,),
}
"""Settings of any family, with the values that minitrain's models stand for."""


@dataclass(frozen=True)
class Family:
    """A family of models as transformers writes them.

    Attributes:
        name: its ``model_type``.
        architectures: classes of transformers whose weights are read; the first is written.
        model: the class of minitrain, called with a configuration.
        config: the class of its configuration.
        settings: names of minitrain's settings by those of the file.
        defaults: settings that a file may leave out; other settings in ``settings`` it must have.
        fixed: settings with the values that minitrain's model stands for; they may be left out.
        dropouts: settings that minitrain has one dropout for.
        read: takes further settings out of the values and returns minitrain's; gets the first ones too.
        write: further settings of the file, from a configuration.
        fits: whether a configuration of minitrain is of this family.
        rows: the weights of a configuration.
        head: the row of an output layer of its own, for decoders.
        prefix: the beginning of the arrays' names, apart from the head's; a file may leave it out.
        ignored: patterns of names of arrays that hold nothing.
        look: minitrain's settings that follow from other files of the folder, and from the names of the arrays.
        add: writes such files.
        words: the name in GGUF of how transformers splits texts for the family, whatever ``tokenizer.json`` says; empty
            if it does what the file says.
    """

    name: str
    architectures: tuple[str, ...]
    model: Callable[[Any], Any]
    config: type[Any]
    settings: Mapping[str, str]
    rows: Callable[[Any], Sequence[Row]]
    fits: Callable[[Any], bool]
    read: Callable[[Values, Values], Values]
    write: Callable[[Any], Values]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    dropouts: tuple[str, ...] = ()
    head: Row | None = None
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    look: Callable[[Path, Container[str]], Values] = lambda folder, names: {}
    add: Callable[[Path, Any], None] = lambda folder, config: None
    words: str = ""


def read_settings(family: Family, given: Mapping[str, Any], where: str, changes: Mapping[str, Any]) -> Any:
    """The configuration of minitrain that a file's settings stand for.

    Args:
        family: the family that they are of.
        given: the settings.
        where: the file, for messages.
        changes: settings of minitrain that are used in place of the file's.

    Raises:
        CheckpointError: if a setting is missing, unknown, or asks for something that minitrain does not have.
    """
    values = {name: value for name, value in given.items() if name not in HARMLESS}
    if "dropout" in changes:
        for name in ("attention_dropout", *family.dropouts):
            values.pop(name, None)
    ours: Values = {}
    for theirs, name in family.settings.items():
        if theirs not in values and theirs not in family.defaults:
            raise CheckpointError(f"{where} does not say {theirs}")
        ours[name] = values.pop(theirs, family.defaults.get(theirs))
        if not isinstance(ours[name], int | float | None):
            raise CheckpointError(f"{where}: {theirs} = {ours[name]!r:.100} must be a number")
    for theirs, allowed in {**FIXED, **family.fixed}.items():
        if theirs in values and (value := values.pop(theirs)) not in allowed:
            raise CheckpointError(
                f"{where}: {theirs} = {value!r:.100}, and minitrain's {family.name} has "
                f"{' or '.join(map(repr, allowed))} alone"
            )
    try:
        ours["dropout"] = _one_dropout(family, values)
        ours |= family.read(values, ours)
        if values:
            name = next(iter(values))
            raise CheckpointError(
                f"{where}: minitrain does not know what {name} = {values[name]!r:.100} means for a {family.name}, so "
                "the model would not be the same"
            )
        return family.config(**ours | dict(changes))
    except (ConfigError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{where} has settings that fit no {family.name}: {error!s:.300}") from error


def _one_dropout(family: Family, values: Values) -> float:
    dropouts = {values.pop(name) for name in family.dropouts if name in values}
    if len(dropouts) > 1:
        raise ValueError(
            f"{', '.join(family.dropouts)} differ, and minitrain has one dropout; give the one to train with, "
            "dropout=0.1"
        )
    return next(iter(dropouts), 0.0)


def write_settings(family: Family, config: Any) -> Values:
    """The settings of a file, from a configuration of minitrain."""
    values: Values = {"architectures": [family.architectures[0]], "model_type": family.name}
    values |= {theirs: getattr(config, ours) for theirs, ours in family.settings.items()}
    values |= {theirs: allowed[0] for theirs, allowed in family.fixed.items()}
    values |= dict.fromkeys(family.dropouts, config.dropout)
    return values | family.write(config)
