"""``--plugin FILE``: Python of your own that registers callbacks, optimizers, schedules, losses, metrics and models.

Only the person at the command line chooses the files. A configuration can name what they register, and cannot load
anything itself.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import MinitrainError
from ...folder.commands import note_plugins
from ..arguments import UsageError


def load_plugins(files: Sequence[str]) -> None:
    """Run Python files, in this order.

    Raises:
        UsageError: if a file is not there, is no Python, or fails.
    """
    note_plugins(files)
    for file in files:
        path = Path(file)
        if not path.exists():
            raise UsageError(f"--plugin {file}: there is no such file; check the path (relative to {Path.cwd()})")
        if not path.is_file() or path.suffix != ".py":
            raise UsageError(f"--plugin {file}: give a Python file, NAME.py")
        name = f"minitrain_plugin_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickles of the file look for it here
        try:
            spec.loader.exec_module(module)
        except MinitrainError:
            raise
        except Exception as error:
            raise UsageError(f"--plugin {file} fails: {type(error).__name__}: {error}") from error
