"""Settings in words: as YAML with comments, and as rows of a table."""

from __future__ import annotations

from typing import Any, NamedTuple

from .declared import REQUIRED, Setting
from .section import Section, settings
from .tree import is_group
from .type_check import in_words

COMMENT_COLUMN = 42


class Row(NamedTuple):
    """One setting, each part of it as text."""

    name: str
    value: str
    type: str
    range: str
    description: str


def rows(section: type[Section] | Section, prefix: str = "") -> list[Row]:
    """The settings of a section, without the groups inside it.

    Args:
        section: a section, whose values are shown, or a class of sections, whose defaults are.
        prefix: the text before each name.
    """
    kind = section if isinstance(section, type) else type(section)
    found = []
    for one in settings(kind).values():
        if not (one.python_only or is_group(one.hint)):
            value = one.default if isinstance(section, type) else getattr(section, one.name)
            found.append(
                Row(f"{prefix}{one.name}", as_yaml(value), in_words(one.hint), one.range.rule, one.description)
            )
    return found


def commented(section: Section, indent: str = "") -> str:
    """A section as YAML, with the description of each setting behind its value."""
    lines = []
    for one in settings(type(section)).values():
        if one.python_only:
            continue
        value = getattr(section, one.name)
        if isinstance(value, Section):
            lines += ["", _with_comment(f"{indent}{one.name}:", one), commented(value, f"{indent}  ").rstrip("\n")]
        else:
            lines.append(_with_comment(f"{indent}{one.name}: {as_yaml(value)}", one))
    return "\n".join(lines) + "\n"


def as_yaml(value: Any) -> str:
    """A value as it is written in one line of YAML; empty for a setting that has to be given."""
    import yaml  # type: ignore[import-untyped]

    if value is REQUIRED:
        return ""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()


def _with_comment(line: str, one: Setting) -> str:
    comment = "; ".join(part for part in (one.description.rstrip("."), one.range.rule) if part)
    return f"{line:{COMMENT_COLUMN}}  # {comment}" if comment else line
