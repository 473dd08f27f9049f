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
    from ..runs.recipes.options import language_presets, trained_presets

    trained = [name for name in trained_presets() if name not in language_presets()]
    rest = [name for name in other_presets() if name not in trained]
    return (
        f"  language models, for train, profile and info:\n    {', '.join(language_presets())}\n"
        f"  models of other tasks, for train and info:\n    {', '.join(trained)}\n"
        f"  other models, for info and for build_model() in Python:\n    {', '.join(rest)}"
    )
