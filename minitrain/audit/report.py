"""The result of an audit, explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .exposure import AVERAGE_BY_CHANCE, Exposure
from .extraction import Extraction
from .membership import Membership

LISTED = 20
"""Canaries that are listed one by one."""


@dataclass(frozen=True)
class Audit:
    """The result of an audit of what a model remembers.

    Attributes:
        exposures: of each planted canary; none if none were planted.
        repeats: how often each canary was planted.
        train: attempts to extract training text.
        held_out: the same with held-out text.
        membership: how well the loss tells one from the other.
    """

    exposures: Sequence[Exposure]
    repeats: int
    train: Extraction
    held_out: Extraction
    membership: Membership

    @property
    def mean_exposure(self) -> float:
        """Mean exposure of the canaries in bits; NaN without any."""
        return float(np.mean([one.bits for one in self.exposures])) if self.exposures else math.nan

    def describe(self) -> str:
        """The audit in plain text, with what its numbers mean."""
        return "\n\n".join([self._canaries(), self._extraction(), self._membership(), _LIMITS])

    def to_dict(self) -> dict[str, Any]:
        """All numbers, nested dictionaries of plain values."""
        rows = [asdict(one) | {"canary": one.canary.text.strip(), "bits": one.bits} for one in self.exposures]
        member = asdict(self.membership) | {"auc": self.membership.auc._asdict()}
        return {
            "canaries": rows,
            "repeats": self.repeats,
            "train": asdict(self.train),
            "held_out": asdict(self.held_out),
            "membership": member,
        }

    def _canaries(self) -> str:
        if not self.exposures:
            return "Canaries: none were planted. data.canaries=8 in a new run plants some, see docs/safety.md."
        top = math.log2(self.exposures[0].among)
        lines = [
            f"Canaries: {len(self.exposures)} secrets, each planted {self.repeats} times. "
            f"Mean exposure {self.mean_exposure:.1f} bits.",
            f"By chance it would be {AVERAGE_BY_CHANCE:.1f}. It is at most {top:.1f} here, for a secret that is the",
            f"most likely of {self.exposures[0].among:,}.",
            "",
            f"  {'canary':<40}{'exposure':>9}{'rank':>8}{'greedy':>8}{'sampled':>9}",
        ]
        for one in self.exposures[:LISTED]:
            drawn = f"{one.sampled}/{one.samples}" if one.samples else "-"
            name = one.canary.text.strip()
            lines.append(f"  {name:<40}{one.bits:>9.1f}{one.rank:>8}{'yes' if one.greedy else 'no':>8}{drawn:>9}")
        if len(self.exposures) > LISTED:
            lines.append(f"  and {len(self.exposures) - LISTED} more")
        return "\n".join(lines)

    def _extraction(self) -> str:
        one = self.train
        lines = [
            f"Extraction: after {one.prefix} tokens of a text, are the next {one.length} written word for word?",
            "What held-out text gives is what can be guessed; only more than that was remembered.",
            "",
            f"  {'text':<12}{'greedy':>12}{f'one of {one.samples} samples':>20}{'tokens until the first other':>32}",
        ]
        for name, found in (("training", self.train), ("held out", self.held_out)):
            greedy, sampled = f"{found.greedy}/{found.attempts}", f"{found.sampled}/{found.attempts}"
            lines.append(f"  {name:<12}{greedy:>12}{sampled:>20}{found.mean_match:>32.1f}")
        return "\n".join(lines)

    def _membership(self) -> str:
        one = self.membership
        verdict = (
            "Training text can be told from held-out text by its loss."
            if one.auc.low > 0.5
            else "The loss does not tell training text from held-out text here."
        )
        return (
            f"Membership: AUC {one.auc.value:.3f}, interval {one.auc.low:.3f} to {one.auc.high:.3f}; 0.5 is guessing. "
            f"{verdict}\n"
            f"{one.found:.1%} of the training windows are found with {one.false_alarms:.0%} of false alarms. Mean "
            f"loss: training {one.train_loss:.4f},\nheld out {one.held_out_loss:.4f} nats per token, "
            f"{one.train_windows:,} and {one.held_out_windows:,} windows."
        )


_LIMITS = (
    "What this cannot show: an attack that is not tried here may find more. Held-out text from another part of the\n"
    "source may differ in subject too, which moves the AUC. Windows of one text are not quite independent, so the\n"
    "interval is a little too narrow. Low numbers are no proof of privacy; differentially private training gives one."
)
