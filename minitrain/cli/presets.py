"""The presets of models, as help texts show them."""

from __future__ import annotations


def other_presets() -> list[str]:
    """The presets of all other models."""
    from ..models.presets import PRESETS
    from ..runs.recipes.options import language_presets

    language = language_presets()
    return [name for name in PRESETS if name not in language]


def presets_in_words() -> str:
    """All presets, for help texts: what they are for, and their names."""
    from ..runs.recipes.options import language_presets

    return (
        f"  language models, for train, profile and info:\n    {', '.join(language_presets())}\n"
        f"  other models, for info and for build_model() in Python:\n    {', '.join(other_presets())}"
    )
