"""Rotary positions in the settings of transformers, as versions before and since 5 write them."""

from __future__ import annotations

from ...models.llama import LlamaConfig
from ..family import Values

KEYS = {
    "default": {},
    "linear": {"factor": "rope_scaling"},
    "llama3": {
        "factor": "rope_scaling",
        "low_freq_factor": "rope_low",
        "high_freq_factor": "rope_high",
        "original_max_position_embeddings": "rope_original",
    },
}
"""The settings of each kind of scaling, and minitrain's name for it."""


def read_rope(values: Values, default_base: float = 10000.0) -> Values:
    """Take ``rope_theta``, ``rope_scaling`` and ``rope_parameters`` out of the values; return minitrain's settings.

    Raises:
        ValueError: if the rotation is of a kind that minitrain does not have.
    """
    base = values.pop("rope_theta", None)
    old, new = values.pop("rope_scaling", None), values.pop("rope_parameters", None)
    if values.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("partial_rotary_factor: minitrain rotates whole heads alone")
    given = dict(new or old or {})
    kind = given.pop("rope_type", given.pop("type", "default"))
    given.pop("type", None)  # the old name, beside the new one
    if kind not in KEYS:
        raise ValueError(f"rope_type = {kind!r:.100}; minitrain has {', '.join(KEYS)}")
    inner = given.pop("rope_theta", None)
    if given.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("partial_rotary_factor: minitrain rotates whole heads alone")
    base = next((one for one in (inner, base) if one is not None), default_base)
    ours: Values = {"rope_base": base}
    for theirs, name in KEYS[kind].items():
        if theirs not in given:
            raise ValueError(f"rope_type = {kind!r} needs {theirs}")
        ours[name] = given.pop(theirs)
    if given:
        raise ValueError(f"{next(iter(given))!r:.100} is not known for rope_type = {kind!r}")
    return ours | ({"rope_kind": "llama3"} if kind == "llama3" else {})


def write_rope(config: LlamaConfig) -> Values:
    """The settings for all versions of transformers."""
    if config.rope_kind == "linear" and config.rope_scaling == 1:
        return {"rope_theta": config.rope_base, "rope_scaling": None}
    scaling = {theirs: getattr(config, ours) for theirs, ours in KEYS[config.rope_kind].items()}
    return {"rope_theta": config.rope_base, "rope_scaling": {"rope_type": config.rope_kind} | scaling}
