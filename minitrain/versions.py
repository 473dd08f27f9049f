"""The versions that a run, a checkpoint or a report was made with."""

from __future__ import annotations

import platform

VERSION = "0.1.0"
"""The version of minitrain."""


def versions() -> dict[str, str]:
    """Versions of minitrain, NumPy and Python."""
    import numpy as np

    return {"minitrain": VERSION, "numpy": np.__version__, "python": platform.python_version()}
