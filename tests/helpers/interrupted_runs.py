"""Runs that die at a step, and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minitrain.training import Callback
from tests.helpers.small_trainers import make


class DyingAt(Callback):
    """Ends the training like a bug would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, view: Any, update: Any) -> None:
        if view.step == self.step:
            raise RuntimeError("the end")


def interrupted(folder: Path, step: int, *callbacks: Callback) -> None:
    with pytest.raises(RuntimeError, match="the end"):
        make(folder, *callbacks, DyingAt(step)).train()
