"""The arguments of a beam search: up to their limits, and beyond them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from minitrain.errors import ConfigError
from minitrain.generation.search.phrases import Phrases
from minitrain.generation.search.settings import BeamSettings

PLAIN: dict[str, Any] = {
    "num_beams": 4,
    "max_new_tokens": 3,
    "length_penalty": 1.0,
    "early_stopping": False,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "num_return_sequences": 1,
    "stops": frozenset({9}),
    "phrases": None,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"num_beams": 1},
        {"max_new_tokens": 1},
        {"num_return_sequences": 4},
        {"num_beam_groups": 2, "diversity_penalty": 0.0},
        {"num_beam_groups": 4, "diversity_penalty": 0.1},
        {"length_penalty": 50.0},
        {"length_penalty": -50.0},
        {"early_stopping": True},
        {"early_stopping": "never"},
        {"phrases": Phrases([[1, 2], 3])},
    ],
)
def test_what_is_allowed(changes: dict[str, Any]) -> None:
    settings = BeamSettings(**PLAIN | changes)
    assert settings.width == settings.num_beams / settings.num_beam_groups


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_beams": 0}, "num_beams=0 must be 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be 1 or more"),
        ({"num_return_sequences": 5}, "num_return_sequences=5 must be at most num_beams=4"),
        ({"num_return_sequences": 0}, "num_return_sequences=0 must be 1 or more"),
        ({"num_beam_groups": 3}, "num_beams=4 must be a multiple of num_beam_groups=3"),
        ({"num_beam_groups": 0}, "num_beam_groups=0 must be 1 or more"),
        ({"length_penalty": math.nan}, "length_penalty=nan must be from -50 to 50"),
        ({"length_penalty": 50.5}, "length_penalty=50.5"),
        ({"length_penalty": -50.5}, "length_penalty=-50.5"),
        ({"diversity_penalty": -0.5, "num_beam_groups": 2}, "diversity_penalty=-0.5 must be 0 or more"),
        ({"diversity_penalty": math.inf, "num_beam_groups": 2}, "diversity_penalty=inf must be 0 or more"),
        ({"diversity_penalty": 0.5}, "diversity_penalty=0.5 has no effect in one group"),
        ({"early_stopping": "always"}, "early_stopping='always' must be True, False or 'never'"),
        ({"early_stopping": 1}, "early_stopping=1 must be"),
        ({"phrases": Phrases([8, 9])}, "token 9 is in the constraints and in stop_token_ids"),
        ({"phrases": Phrases([[1, 2], 3, 4])}, "the constraints take 4 tokens, but max_new_tokens=3"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BeamSettings(**PLAIN | changes)


def test_scores() -> None:
    """The log-probability divided by a power of the length."""
    for penalty, score in ((1.0, -2.0), (2.0, -2 / 3), (0.0, -6.0), (-1.0, -18.0)):
        assert BeamSettings(**PLAIN | {"length_penalty": penalty}).score(-6.0, 3) == pytest.approx(score)
