"""Where a training step's time and bytes go, operation by operation, against what the machine can do.

::

    with Profile(model) as recorded:
        for step in range(10):
            ...
            recorded.step()
    report = recorded.report(measure_machine())
    rich.print(*tables(report), *describe(report))
    draw(report, "profile.png")
"""

from .costs import Cost, cost_of
from .machine import Machine, measure_machine
from .picture import draw
from .recorder import Profile
from .report import Report, Row
from .table import describe, tables

__all__ = [
    "Cost",
    "Machine",
    "Profile",
    "Report",
    "Row",
    "cost_of",
    "describe",
    "draw",
    "measure_machine",
    "tables",
]
