"""Where the benchmarks put their figures: ``benchmarks/out``, which stays out of the repository."""

from __future__ import annotations

from pathlib import Path

OUT = Path(__file__).parent / "out"


def out_file(name: str) -> Path:
    """The path of ``benchmarks/out/<name>``; the folder is there afterwards."""
    OUT.mkdir(exist_ok=True)
    # Figures of one machine at one time stay out of the repository.
    (OUT / ".gitignore").write_text("*\n")
    return OUT / name
