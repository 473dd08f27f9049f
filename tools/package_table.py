"""Rewrites the table of packages in ``docs/architecture.md`` from their docstrings.

Run ``python -m tools.package_table`` after a change of a docstring; a test compares the two.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
TABLE = re.compile(r"(?<=\n\n)\| package \|.*?(?=\n\n)", re.DOTALL)
ORDER = [
    "errors",
    "files",
    "formats",
    "display",
    "versions",
    "conf",
    "settings",
    "plotting",
    "backend",
    "random",
    "states",
    "distributed",
    "kernels",
    "ops",
    "losses",
    "nn",
    "models",
    "inside",
    "optim",
    "data",
    "generation",
    "measures",
    "folder",
    "checkpoint",
    "interop",
    "records",
    "reports",
    "training",
    "probes",
    "trainers",
    "tasks",
    "runs",
    "evaluation",
    "audit",
    "compat",
    "testing",
    "pytest_plugin",
    "tutorials",
    "benchmark",
    "profiling",
    "scaling",
    "server",
    "cli",
]
"""Each package imports only what stands before it."""


def table() -> str:
    """The table: a row for each package and each module beside the packages, with the first sentence about it."""
    found = {path.stem for path in (ROOT / "minitrain").glob("[!_]*.py")} | {
        path.parent.name for path in (ROOT / "minitrain").glob("*/__init__.py")
    }
    if unplaced := found.symmetric_difference(ORDER):
        raise SystemExit(f"change ORDER in {__file__}: {', '.join(sorted(unplaced))}")
    rows = [f"| `{name}` | {first_sentence(name)} |" for name in ORDER]
    return "\n".join(["| package | what is in it |", "|---|---|", *rows])


def first_sentence(name: str) -> str:
    """The first sentence in the docstring of a package or module."""
    path = ROOT / "minitrain" / name / "__init__.py"
    path = path if path.exists() else path.parent.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0].replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda match: table(), PAGE.read_text(encoding="utf-8"), count=1), encoding="utf-8")
