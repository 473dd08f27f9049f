"""Run the notebooks and write them with their outputs to ``tutorials/out``, also as pages of the site.

    python -m tools.tutorials [--only 05] [--without-solutions] [--out FOLDER]

Exit code 1: a notebook does not run, a number has left its range, or an exercise lacks something.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat

from .page import write_page
from .publish import for_download, published
from .run import BUDGET, run
from .source import OUT, TutorialError, chosen


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.tutorials", description="Run the notebooks of tutorials/.")
    parser.add_argument("--only", action="append", metavar="START", help="notebooks whose names begin so; repeatable")
    parser.add_argument("--without-solutions", action="store_true", help="write the edition that teachers hand out")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder for the notebooks (tutorials/out)")
    options = parser.parse_args(arguments)
    try:
        paths = chosen(options.only)
    except TutorialError as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in paths:
        try:
            done = run(path)
            notebook = published(done.notebook, solutions=not options.without_solutions)
            write_page(notebook, path.stem, options.out)
        except TutorialError as error:
            print(f"{path.stem}: FAILED\n{error}", file=sys.stderr)
            failed += 1
            continue
        nbformat.write(for_download(notebook), options.out / f"{path.stem}.ipynb")
        slow = f" (more than {BUDGET:.0f} s: too slow, unless the machine is busy)" if done.seconds > BUDGET else ""
        print(f"{path.stem}: {done.seconds:.0f} s, exercises: {done.exercises}{slow}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
