"""Parts of a report that go wrong in different ways; the option ``how`` says which."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.gpu import events
from benchmarks.gpu.place import Place

STEPS = ("first", "second", "third")
TITLE = "steps"


def run(place: Place, options: dict[str, Any]) -> None:
    how, after = options["how"], options.get("after")
    if how == "never begins":
        raise ValueError("nothing works")
    for name in STEPS[STEPS.index(after) + 1 if after in STEPS else 0 :]:
        events.begin(name)
        if name == "second":
            if how == "raises":
                raise ValueError("the second step is wrong\nwith a second line")
            if how == "dies":
                os._exit(7)
            if how == "hangs":
                time.sleep(600)
        events.row(TITLE, name, result="right", place="emulated" if place.emulated else "card")
    events.say("all steps were taken")
