"""How often prompts lead to unwanted texts, before, during and after a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....backend.precision import use_precision
from ....data import UnwantedTexts
from ....errors import CheckpointError, ConfigError
from ....measures.unwanted import UnwantedCount, count_unwanted
from ....states import Kind, ListOf, Whole
from ...setup import RunContext, Setup, StepView
from ..base import Callback


class CountUnwanted(Callback):
    """Counts at every evaluation how often prompts lead to texts that are listed for them.

    There is an evaluation before the first step too. Records get ``val_unwanted_greedy``, the share of the prompts, and
    ``val_unwanted_sampled``, the share of the samples. The end of the training says both, before and after.

    Args:
        entries: the prompts with their texts, see `minitrain.data.read_unwanted`.
        samples: samples of each prompt; 0 draws none.
        tokens: length of a continuation; see `count_unwanted`.
        seed: seed of the samples, the same at every evaluation.

    Attributes:
        before: the count before the first step; ``None`` until then.
        latest: the last count.
    """

    on_every_rank = False

    def __init__(
        self, entries: Sequence[UnwantedTexts], *, samples: int = 4, tokens: int | None = None, seed: int = 0
    ) -> None:
        self.entries = list(entries)
        self.samples, self.tokens, self.seed = samples, tokens, seed
        self.before: UnwantedCount | None = None
        self.latest: UnwantedCount | None = None
        self._setup: Setup | None = None
        self._run = RunContext()

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Ask for an evaluation before the first step.

        Raises:
            ConfigError: if there is no tokenizer, or no validation data.
        """
        self._setup, self._run = setup, run
        if run.tokenizer is None:
            raise ConfigError("CountUnwanted needs a tokenizer: give the trainer one")
        if run.evaluator is None:
            raise ConfigError("CountUnwanted needs val_data: it counts at evaluations")
        if not view.step:
            view.control.evaluate = True

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Count, with the weights that the evaluation had."""
        setup = self._setup
        assert setup is not None  # since training has begun
        with self._run.weights.applied(), use_precision(setup.arithmetic.precision):
            self.latest = count_unwanted(
                setup.model,
                self._run.tokenizer,
                self.entries,
                samples=self.samples,
                tokens=self.tokens,
                device=setup.device,
                seed=self.seed,
            )
        if not view.step:
            self.before = self.latest
        measured = {"val_unwanted_greedy": self.latest.greedy_share.value}
        if self.samples:
            measured["val_unwanted_sampled"] = self.latest.sampled_share.value
        metrics.update(measured)
        self._run.history.update(measured, step=view.step)

    def result(self) -> str:
        """The counts before and after."""
        found = {"before": self.before, "after": self.latest}
        lines = [f"  {when:<8}{count.describe()}" for when, count in found.items() if count is not None]
        return "\n".join(["unwanted continuations, with 95 % intervals", *lines]) if lines else ""

    def state_dict(self) -> dict[str, Any]:
        """The count before the training."""
        one = self.before
        return {} if one is None else {"before": [one.prompts, one.greedy, one.samples, one.sampled]}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"before": ListOf(Whole(), 4)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back.

        Raises:
            CheckpointError: if it is no count.
        """
        self.before = None
        if state:
            prompts, greedy, samples, sampled = state["before"]
            if not (prompts and greedy <= prompts and sampled <= samples * prompts):
                raise CheckpointError(f"CountUnwanted: {state['before']} are not counts of prompts and samples")
            self.before = UnwantedCount(prompts, greedy, samples, sampled)
