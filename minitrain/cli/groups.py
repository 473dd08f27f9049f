"""The config groups packaged with minitrain."""

from __future__ import annotations

from importlib import resources

CONFIG_MODULE = "minitrain.conf"


def config_groups() -> dict[str, list[str]]:
    """The options of each group by the group's name, e.g. ``{"model": ["gpt"], …}``; needs no Hydra."""
    return {
        folder.name: sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
        for folder in resources.files(CONFIG_MODULE).iterdir()
        if folder.is_dir() and not folder.name.startswith("_")
    }
