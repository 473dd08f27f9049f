"""Rewrites the tables of predictions in ``docs/scaling.md`` and its picture from ``minitrain.scaling``.

python -m tools.scaling_predictions           # prints the tables
python -m tools.scaling_predictions --write   # writes them into the page, and the picture; a test compares the tables
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from minitrain.benchmark.report import Table, markdown
from minitrain.scaling import LINKS, tables
from minitrain.scaling.picture import draw_gpus

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs" / "scaling.md", ROOT / "docs" / "images" / "gpus.png"
REGION = re.compile(r"(?<=<!-- predictions -->\n).*?(?=<!-- end of predictions -->)", re.DOTALL)


def links() -> Table:
    """The links as they are published."""
    rows = [
        [
            link.name,
            f"{link.bandwidth / 1e9:g}",
            f"{link.share:.0%}",
            f"{1e6 * link.latency:.1f}",
            link.source.replace("; ", ", "),
        ]
        for link in LINKS.values()
    ]
    return Table("links", ["", "GB/s, one direction", "share reached", "µs a hop", "source"], rows)


def text() -> str:
    """All tables, in Markdown."""
    made = [
        tables.gpus("124M", 16),
        tables.gpus("124M", 16, "H100, Ethernet"),
        tables.gpus("1.3B", 4),
        tables.stages("1.3B", 2, "H100, InfiniBand"),
        tables.stages("6.7B", 1, "H100, InfiniBand"),
        tables.stages("6.7B", 1, "B200, InfiniBand"),
        tables.limits(),
        links(),
    ]
    return "\n" + "\n\n".join(map(markdown, made)) + "\n\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(REGION.sub(lambda _: text(), page), encoding="utf-8")
        draw_gpus(PICTURE)
    else:
        print(text())
