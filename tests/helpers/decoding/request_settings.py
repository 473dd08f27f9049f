"""Any settings that a request for tokens may have."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from minitrain.generation import SamplingParams

V = 7
"""The vocabulary that they are for."""

SHARES = st.floats(0.011, 0.989).map(lambda p: round(p, 2) + 0.0012345)
IDS = st.integers(0, V - 1)


def last_first(tokens: Any, logits: Any) -> Any:
    """A processor that looks at the tokens."""
    logits[tokens[-1]] += len(tokens)
    return logits


CHANGES = {
    "logit_bias": st.dictionaries(IDS, st.floats(-3, 3) | st.just(-math.inf), min_size=1, max_size=3),
    "repetition_penalty": st.floats(0.5, 2),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "no_repeat_ngram_size": st.integers(1, 4),
    "min_new_tokens": st.integers(0, 5),
    "suppress_tokens": st.lists(IDS, max_size=3),
    "forced_tokens": st.dictionaries(st.integers(0, 4), IDS, min_size=1, max_size=3),
    "stop_token_ids": st.lists(IDS, max_size=2),
    "processor": st.just(last_first),
}
CUTS = {"top_k": st.integers(1, 9), "top_p": SHARES, "min_p": SHARES, "typical_p": SHARES}


@st.composite
def settings_of(draw: st.DrawFn, kinds: dict[str, st.SearchStrategy[Any]], **own: Any) -> SamplingParams:
    """Some of these settings with a temperature, and those that are given."""
    names = draw(st.sets(st.sampled_from(sorted(kinds)), max_size=5))
    settings = {name: draw(kinds[name]) for name in sorted(names)}
    forced = settings.get("forced_tokens", {}).values()
    settings["suppress_tokens"] = [token for token in settings.get("suppress_tokens", ()) if token not in forced]
    return SamplingParams(**{"temperature": draw(st.floats(0.3, 3)), **settings, **own})
