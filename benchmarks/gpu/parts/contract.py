"""Every operation on the card by its shared case: right, the same bytes in two runs, and by its kernel or not."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from minitrain.backend.cuda.launch import record_launches
from minitrain.errors import DeviceError

from .. import events
from ..comparing import run_case, run_on_card, share_of_allowed
from ..place import Place, context_lost

TITLE = "Every operation by its shared case, against the readable code in float64"


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``.

    Raises:
        DeviceError: if Hypothesis, which draws the calls, is missing.
    """
    if importlib.util.find_spec("hypothesis") is None:
        raise DeviceError("the shared cases draw their calls with Hypothesis: pip install hypothesis")
    from minitrain.testing.cases import CASES

    names = list(options.get("only") or CASES)
    after = options.get("after")
    with_kernel = [name for name in names if all(twins(CASES[name]))]
    order = with_kernel + [name for name in names if name not in with_kernel]  # kernels first: time may run out
    for name in order[order.index(after) + 1 if after in order else 0 :]:
        events.begin(name)
        try:
            events.row(TITLE, name, **check(CASES[name], examples=options.get("examples", 3 if place.emulated else 12)))
        except Exception as error:  # one operation that fails is one line
            events.row(TITLE, name, result=f"fails: {events.brief(error)}")
            if context_lost(error):
                raise


def twins(case: Any) -> tuple[Any, Any]:
    """The CUDA kernels of an operation, forward and backward."""
    return case.pair.forward.twin("cuda"), case.pair.backward.twin("cuda")


def check(case: Any, examples: int) -> dict[str, Any]:
    """The cells of an operation: of all calls, half have the small sizes, half those around the kernels' tiles."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from minitrain.testing.cases import SMALL, TILES

    calls, launched, worst, differing, message = 0, 0, 0.0, 0, ""

    @settings(
        max_examples=examples, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data(), st.booleans())
    def try_calls(data: Any, tiles: bool) -> None:
        nonlocal calls, launched, worst, differing, message
        call = data.draw(case.calls(TILES if tiles else SMALL)).astype(np.float32)
        exact, reference = run_case(case, call.astype(np.float64)), run_case(case, call)
        with record_launches() as launches:
            found = run_on_card(case, call)
        again = run_on_card(case, call)
        share = share_of_allowed(found, reference, exact)
        if share > 1 and not message:
            shapes = [x.shape for x in call.arrays()]
            message = f"WRONG: {share:.2g} times the allowed error, for shapes {shapes}"
        calls, launched, worst = calls + 1, launched + bool(launches), max(worst, share)
        differing += any(a.tobytes() != b.tobytes() for a, b in zip(found, again, strict=True))

    try_calls()
    return {
        "result": message or ("agrees" if not differing else "agrees, but not the same bytes twice"),
        "calls": calls,
        "launched_own_kernels": launched,
        "error_of_allowed": worst,
        "other_bytes_in_a_second_run": differing,
    }
