"""Where a training step's time and memory traffic go, by operation, compared with the machine's limits.

::

    with Profile(model) as recorded:
        for step in range(10):
            ...
            recorded.step()
    report = recorded.report(measure_machine())
    rich.print(*tables(report), *describe(report))
    draw(report, "profile.png")
"""

from .costs import Cost as Cost
from .costs import cost_of as cost_of
from .machine import Machine as Machine
from .machine import measure_machine as measure_machine
from .picture import draw as draw
from .recorder import Profile as Profile
from .report import Report as Report
from .report import Row as Row
from .table import describe as describe
from .table import tables as tables
