"""Says during a backward which gradients are complete, so that ranks can add them while the rest is computed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from .module import Module

Listener = Callable[[Module], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def grads_ready(module: Module) -> None:
    """Say that this use of ``module`` adds no more to the gradients of its parameters.

    A model calls this in its backward, behind each block. Without it the training has the same result, and gradients
    travel later. A module that is used several times says so after each use, and a parameter that another module
    shares may still be added to: whoever listens counts both.
    """
    listener = _listener.get()
    if listener is not None:
        listener(module)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the ``with`` block, `grads_ready` of this thread calls ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
