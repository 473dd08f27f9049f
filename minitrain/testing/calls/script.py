"""Writes a Python script that repeats one check."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...backend.arrays import to_numpy
from ..settings import DEFAULT, CheckSettings

WRITTEN_OUT = 200  # elements of an array that stand in the script; more go into a file next to it


def script_for(
    subject: Any,
    inputs: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    *,
    settings: CheckSettings = DEFAULT,
    folder: str | Path | None = None,
) -> str:
    """A script that repeats a call of ``check_gradients``, to run on its own or to hand to somebody.

    Args:
        subject: what was checked. Functions at the top of a module are imported; the source of others is copied.
        inputs: its arguments: arrays, tensors, numbers.
        options: keyword arguments of its forward.
        settings: of the check.
        folder: where arrays of more than 200 elements go, as ``inputs.npz``; without one they are drawn anew in the
            script, which says so.

    Returns:
        The text of the script.
    """
    arrays = _Arrays(None if folder is None else Path(folder))
    imports, definitions, name = _named(subject)
    arguments = [arrays.written(i, x) for i, x in enumerate(inputs)]
    arguments += [f"{key}={arrays.written(key, x)}" for key, x in (options or {}).items()]
    if settings != DEFAULT:
        imports.append("from minitrain.testing import CheckSettings")
        arguments.append(f"settings={settings!r}")
    arrays.keep()
    if arrays.has_tensors:
        imports.append("import torch")
    call = f"print(check_gradients({', '.join([name, *arguments])}))"
    if len(call) > 100:
        inside = ",\n".join(f"        {argument}" for argument in [name, *arguments])
        call = f"print(\n    check_gradients(\n{inside},\n    )\n)"
    head = ["import numpy as np", "", *dict.fromkeys(imports), "from minitrain.testing import check_gradients"]
    return "\n".join([*head, "", *definitions, *arrays.lines, call, ""])


class _Arrays:
    """Arrays as expressions of the script."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._kept = folder, dict[str, Any]()
        self.lines: list[str] = []
        self.has_tensors = False

    def written(self, key: int | str, x: Any) -> str:
        """The expression for an argument."""
        if hasattr(x, "detach"):
            self.has_tensors = True
            return f"torch.from_numpy({self.written(key, x.detach().cpu().numpy())})"
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            return repr(x)
        array = to_numpy(x)
        if array.size <= WRITTEN_OUT:
            dtype = "" if array.dtype in (np.float64, np.int64, np.bool_) else f", dtype={array.dtype.name!r}"
            values = repr(array.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
            shape = f".reshape({array.shape})" if 0 in array.shape else ""
            return f"np.array({values}{dtype}){shape}"
        name = f"array_{key}"
        if self._folder is None:
            self.lines.append(f"# {name} had other numbers: {array.size} are too many to write here")
            self.lines.append(f"{name} = np.random.default_rng(0).standard_normal({array.shape})")
        else:
            self._kept[name] = array
            self.lines.append(f"{name} = np.load({str(self._folder / 'inputs.npz')!r})[{name!r}]")
        return name

    def keep(self) -> None:
        """Write the file of large arrays."""
        if self._folder is not None and self._kept:
            self._folder.mkdir(parents=True, exist_ok=True)
            np.savez(self._folder / "inputs.npz", **self._kept)


def _named(subject: Any, unnamed: str = "subject") -> tuple[list[str], list[str], str]:
    """Imports, definitions and the expression for what was checked; ``unnamed`` is the name of what has none."""
    if isinstance(subject, tuple):
        parts = [_named(part, other) for part, other in zip(subject, ("forward", "backward"), strict=True)]
        imports = [line for part in parts for line in part[0]]
        definitions = [line for part in parts for line in part[1]]
        return imports, definitions, f"({', '.join(part[2] for part in parts)})"
    module, name = getattr(subject, "__module__", ""), getattr(subject, "__qualname__", "")
    if module and name and "<" not in name and module != "__main__":
        top = name.partition(".")[0]
        return [*_found_at(module), f"from {module} import {top}"], [], name
    try:
        source = textwrap.dedent(inspect.getsource(subject))
    except (OSError, TypeError):
        source = ""
    closes_over = getattr(getattr(subject, "__code__", None), "co_freevars", ())  # what the source alone has not
    if source.startswith(("def ", "class ", "@")) and not closes_over:
        return [], [source, ""], subject.__name__
    name = getattr(subject, "__name__", unnamed)
    name = name if name.isidentifier() else unnamed
    return [], [f"{name} = ...  # make the {type(subject).__name__} that was checked here", ""], name


def _found_at(module: str) -> list[str]:
    """Lines that let a script import a module that is not installed."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or "site-packages" in file:
        return []
    path = Path(file)
    depth = module.count(".") + (path.stem == "__init__")
    return ["import sys", f"sys.path.insert(0, {str(path.resolve().parents[depth])!r})"]
