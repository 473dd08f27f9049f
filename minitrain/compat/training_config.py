"""`TrainingConfig` with the default folder of the reference document."""

from __future__ import annotations

from ..settings.section import setting
from ..training.config import TrainingConfig as OwnTrainingConfig


class TrainingConfig(OwnTrainingConfig):
    """`minitrain.training.TrainingConfig`, but checkpoints go to the folder ``checkpoints`` if no other is given.

    minitrain's own has no default folder: a `Trainer` that was given none writes no file.
    """

    checkpoint_dir: str | None = setting(
        "checkpoints", "The run folder, if the Trainer gets no run_dir.", python_only=True
    )
