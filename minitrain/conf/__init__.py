"""The packaged options and recipes, as YAML. A file holds only the values that differ from the declared defaults.

A folder is a group, a file an option of it. A recipe has ``options`` for the groups and settings of its own.
"""

from importlib import resources
from typing import Any


def packaged_options(group: str) -> list[str]:
    """The names of the files that the package has for a group."""
    folder = resources.files(__name__) / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def packaged_values(group: str, option: str) -> dict[str, Any]:
    """The values in the file of an option; none if it has no file."""
    import yaml  # type: ignore[import-untyped]

    file = resources.files(__name__) / group / f"{option}.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return values
