"""Chooses for each step of a training: one launch of a graph, or plain launches.

A graph repeats what it saw, so it serves batches of one shape, and nobody may look in between. Where that holds the
trainer uses one without being asked (``trainer.graphs``), and where it does not it says once why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...data.loading.batches import arrays_in, batch_rows
from ...nn.core.module import Module
from ...random import Key
from ..callbacks.base import CallbackList
from ..setup import Setup
from ..state import Update
from .graphed import GoOn, GraphedTrainStep
from .layout import Layout

IN_A_ROW = 3
"""Batches of one layout after which a graph is made for it. The smaller last batch of an epoch comes alone."""
PATIENCE = 30
"""Steps after which a training whose batches differ says that it has no graph."""
HIDDEN = 2e12
"""Weights times rows of a micro-batch from which launches hide behind the work: 124 million weights and 16,384 tokens.
A graph would gain nothing there, and it keeps the memory of the activations."""


class GraphChoice:
    """Has the graph of a training, once there is one.

    Args:
        setting: ``"auto"``, ``"on"`` or ``"off"``, see `TrainingConfig`.
        setup: of the training.
        callbacks: whose hooks may look at a step.
        others: what else looks at a gradient before the update, in words; empty for nothing.
        warn: is told once why there is no graph.

    Attributes:
        graphed: the step as a graph, or on its way there.
        refused: why there is none; empty if there may be one.
    """

    def __init__(
        self, setting: str, setup: Setup, callbacks: CallbackList, others: str, warn: Callable[[str], object]
    ) -> None:
        self.setting = setting
        self.setup, self.callbacks, self.others, self.warn = setup, callbacks, others, warn
        self.graphed: GraphedTrainStep | None = None
        self.refused = ""
        self._layout: Layout | None = None
        self._made_with: tuple[Any, ...] = ()
        self._in_a_row = self._without = self._weights = 0

    def step(self, micro_batches: list[tuple[int, Any]], *, lr: float, key: Key, go_on: GoOn) -> Update | None:
        """The step as a graph makes it; ``None`` leaves it to plain launches, and nothing has happened then.

        Args:
            micro_batches: see `train_step`.
            lr: see `train_step`.
            key: see `train_step`.
            go_on: see `train_step`; called only if a callback looks at the gradient, and the update is then launched
                after the graph.
        """
        if not self._wanted() or self.say_why_not():
            return None
        if self.setting == "auto" and self._is_large(micro_batches):
            return None
        graphed = self._for(micro_batches)
        if graphed is None:
            return None
        capturing = graphed.capture_is_next
        try:
            return graphed.step(micro_batches, lr=lr, key=key, go_on=go_on)
        except Exception as error:
            if not capturing:
                raise
            self.graphed = None  # nothing was computed, so the plain step can still be made
            self._refuse(f"the capture failed: {error}")
            return None

    def say_why_not(self) -> str:
        """Why no step of this training can be a graph, which is said once; empty if it can."""
        if self._wanted() and (reason := self.why_not()):
            self._refuse(reason)
        return self.refused

    def why_not(self) -> str:
        """Why no step of this training can be a graph; empty if it can."""
        setup = self.setup
        if setup.arithmetic.scaler is not None:
            return "float16 scales its loss from the host; bfloat16 does not"
        if self.others:
            return self.others
        readers = [type(one).__name__ for one in self.callbacks.readers()]
        if readers:
            return f"{' and '.join(readers)} looks at the numbers of each step"
        if watchers := self.callbacks.overriding("on_substep_end"):
            return f"{' and '.join(watchers)} looks at each micro-batch"
        return ""

    def _own_code(self) -> str:
        """The first part of the step that is not minitrain's; empty if there is none, or the user knows it."""
        objective, model = self.setup.objective, self.setup.model
        loss = getattr(objective, "loss_fn", ())
        modules = model.modules() if isinstance(model, Module) else ()
        losses = loss if isinstance(loss, tuple) else (loss,)
        parts = [model, *modules, objective, *losses, *self.callbacks]
        own = [part for part in parts if not getattr(part, "__module__", "").startswith("minitrain.")]
        return str(getattr(own[0], "__name__", type(own[0]).__name__)) if own and self.setting == "auto" else ""

    def _wanted(self) -> bool:
        return self.setup.device != "cpu" and self.setting != "off" and not self.refused

    def _for(self, micro_batches: list[tuple[int, Any]]) -> GraphedTrainStep | None:
        """The graph for these micro-batches; ``None`` if it has other shapes, or there is none yet."""
        layout = Layout.of(micro_batches)
        self._in_a_row = self._in_a_row + 1 if layout == self._layout else 1
        self._layout = layout
        if self.graphed is not None and self._made_with == self._settings() and self.graphed.fits(layout):
            return self.graphed
        if self._in_a_row >= IN_A_ROW:
            if own := self._own_code():
                self._refuse(
                    f"{own} is code of your own, and a graph would freeze numbers that it computes on the host in each "
                    "step; if there are none, set trainer.graphs=on"
                )
                return None
            self.graphed = self._made()
            return self.graphed
        self._without += 1
        if self.graphed is None and self._without == PATIENCE:
            self._say("the shapes of the batches differ from step to step")
        return None

    def _settings(self) -> tuple[Any, ...]:
        setup = self.setup
        objects = (setup.model, setup.optimizer, setup.objective)
        return (*map(id, objects), setup.max_grad_norm, setup.arithmetic.precision)

    def _made(self) -> GraphedTrainStep:
        setup = self.setup
        self._made_with = self._settings()
        return GraphedTrainStep(
            setup.model,
            setup.optimizer,
            objective=setup.objective,
            max_grad_norm=setup.max_grad_norm,
            precision=setup.arithmetic.precision,
            update=not self.callbacks.overriding("on_before_optimizer_step"),
        )

    def _is_large(self, micro_batches: list[tuple[int, Any]]) -> bool:
        if not self._weights:
            self._weights = sum(parameter.data.size for parameter in self.setup.model.parameters())
        batch = micro_batches[0][1]
        tokens = [x.size for x in arrays_in(batch) if x.dtype.kind in "iu"]
        return bool(self._weights * max(tokens, default=batch_rows(batch)) > HIDDEN)

    def _refuse(self, reason: str) -> None:
        self.refused = reason
        self._say(reason)

    def _say(self, reason: str) -> None:
        self.warn(
            f"each kernel of a step is launched by itself, without a graph: {reason}. trainer.graphs=off is silent"
        )
