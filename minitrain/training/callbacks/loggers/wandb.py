"""Logging to Weights & Biases, online or offline."""

from __future__ import annotations

from typing import Any, Literal

from ....folder import RunFolder
from ...setup import RunContext, Setup, facts_of_setup
from .tracker import Tracker


class WandbLogger(Tracker):
    """Logs to Weights & Biases: settings and facts as the run's config, records and evaluations over ``step``.

    Offline, files are kept in ``wandb`` in the run folder, and ``wandb sync`` sends them later; each session then makes
    a folder of its own, and all of them have one id. Code, git state and the screen are not sent.

    Args:
        project: name of the project.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``; by default the environment's ``WANDB_MODE``, or online.
        run_name: name of the run; by default that of the run folder.
    """

    package, service = "wandb", "Weights & Biases"

    def __init__(
        self,
        project: str = "minitrain",
        *,
        mode: Literal["online", "offline", "disabled"] | None = None,
        run_name: str | None = None,
    ) -> None:
        super().__init__()
        self.project, self.mode, self.run_name = project, mode, run_name
        self._run: Any = None

    def _begin(self, step: int, setup: Setup, run: RunContext) -> None:
        import wandb

        self._run = wandb.init(
            project=self.project,
            name=self.run_name or (run.folder.resolve().name if run.folder else None),
            dir=run.folder and RunFolder(run.folder).make("wandb").parent,  # refuses a link of that name
            mode=self.mode,
            id=self.id,
            resume=None if self.id is None else "allow",
            config={**run.settings, "facts": facts_of_setup(setup)},
            allow_val_change=True,  # a resumed run may have other facts: another version, another machine
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True),
        )
        self.id = str(self._run.id)
        # Steps of our own: Weights & Biases refuses its own to go back, as they do after a resume or a rollback.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        self._run.log({"step": step, **metrics})

    def _end(self, error: BaseException | None) -> None:
        self._run.finish(exit_code=0 if error is None else 1)
