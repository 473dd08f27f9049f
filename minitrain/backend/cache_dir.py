"""The folder that keeps compiled kernels and the private BLAS copy between runs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """``$MINITRAIN_CACHE_DIR``, else the user's cache folder, else (if not writable) a temporary one of this user."""
    chosen = os.environ.get("MINITRAIN_CACHE_DIR")
    if chosen:
        return _made(Path(chosen))
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        return _made(base / "minitrain")
    except OSError:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        return _made(Path(tempfile.gettempdir()) / f"minitrain-{user}")


def _made(path: Path) -> Path:
    # 0700: code is loaded from here, so nobody else may write to it.
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"the cache folder {path} is not writable: set MINITRAIN_CACHE_DIR to one that is")
    return path
