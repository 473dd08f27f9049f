"""minitrain trains transformers on plain NumPy or CuPy arrays, every backward pass written out.

The public names are listed in ``__init__.pyi``. Each is imported when first used, so ``import minitrain`` is quick
and loads nothing heavy: no compiler, no plotting, no CuPy. The sub-packages are found the same way: after
``import minitrain as mt`` there is ``mt.nn.RMSNorm``, ``mt.losses.CrossEntropyLoss`` or ``mt.optim.Muon``.

PYTEST_DONT_REWRITE: pytest would rewrite the assertions of a package that has a plugin, and warn if somebody has
imported it before.
"""

import importlib

import lazy_loader

from .versions import VERSION as __version__  # noqa: F401  # listed in the stub

_HOMES = [
    f"{__name__}.{part}"
    for part in ("nn", "models", "losses", "optim", "data", "training", "trainers", "runs", "generation", "errors")
]
_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__ and not name.startswith("__"):
        homes = [home for home in _HOMES if name[:1] != "_" and hasattr(importlib.import_module(home), name)]
        where = (
            f"it is {homes[0]}.{name}" if homes else "layers are in minitrain.nn, losses in minitrain.losses, and so on"
        )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {where}")
    return _find(name)
