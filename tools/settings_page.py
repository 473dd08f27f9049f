"""Writes ``docs/settings.md`` from the declarations: ``python -m tools.settings_page > docs/settings.md``."""

from __future__ import annotations

from minitrain.runs import RunConfig
from minitrain.runs.recipes.options import config_groups
from minitrain.settings.section import Section, settings
from minitrain.settings.table import Row, rows
from minitrain.settings.tree import is_group

_TOP = """\
# Settings

Every setting of `minitrain train`, with its type, default and range. `minitrain train --help GROUP` prints the same for
one group, `--show` the values that a command would train with. A recipe changes some of the defaults.

This page is made from the code by `python -m tools.settings_page > docs/settings.md`; a test compares them.

## Outside the groups
"""


def page() -> str:
    """The page as Markdown."""
    groups = config_groups()
    parts = [_TOP, _table(rows(RunConfig))]
    for name, one in settings(RunConfig).items():
        if not is_group(one.hint):
            continue
        parts += [f"\n## {name}\n", one.description]
        variants = one.hint.variants()
        if not variants:
            parts += ["", _table(rows(one.hint))]
        else:
            options = ", ".join(f"`{name}={option}`" for option in groups[name])
            parts += [f"Chosen with {options}.", *(_variant(option, kind) for option, kind in variants.items())]
    return "\n".join(parts) + "\n"


def _variant(name: str, kind: type[Section]) -> str:
    own = [row for row in rows(kind) if row.name != "name"]
    return f"\n### {name}\n\n{_table(own)}"


def _table(entries: list[Row]) -> str:
    lines = ["| setting | default | type | range | description |", "|---|---|---|---|---|"]
    for row in entries:
        value = f"`{row.value}`" if row.value else "has to be given"
        cells = (f"`{row.name}`", value, row.type, row.range, row.description)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
