"""Tracks which layer of a model is running: methods of layers are wrapped while a profile is recorded."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from ..nn.core.module import Module

_METHODS = ("forward", "backward", "loss")
"""Prefixes of the methods that do a layer's work: ``backward``, ``forward_after_gelu``, ``loss_backward``."""


class Layers:
    """Tracks the path of the innermost running layer.

    Blocks of one stack are alike and share a path: ``blocks.*.attention.qkv``. A module in several places has its first
    path.

    Args:
        model: the outermost module, whose path is empty; ``None`` tracks nothing.

    Attributes:
        path: path of the running layer.
    """

    def __init__(self, model: Module | None) -> None:
        self._model = model
        self._wrapped: list[tuple[Module, str]] = []
        self.path = ""

    def watch(self) -> None:
        """Wrap the methods of all layers."""
        if self._model is None:
            return
        seen: set[int] = set()
        for path, module in list(self._model.named_modules()):  # all are found before one is changed
            if id(module) not in seen:
                seen.add(id(module))
                for name in dir(type(module)):
                    if name.startswith(_METHODS) and callable(method := getattr(module, name)):
                        setattr(module, name, self._within(re.sub(r"\b\d+\b", "*", path), method))
                        self._wrapped.append((module, name))

    def leave(self) -> None:
        """Restore the layers' own methods."""
        for module, name in self._wrapped:
            delattr(module, name)
        self._wrapped.clear()

    def _within(self, path: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            outer, self.path = self.path, path
            try:
                return method(*args, **options)
            finally:
                self.path = outer

        return call
