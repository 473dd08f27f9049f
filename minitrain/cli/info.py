"""``minitrain info``: what minitrain finds on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .arguments import Parser

_EPILOG = """\
Put this table into a report about speed or about something that does not work.

environment:
  MINITRAIN_NUM_THREADS=2        threads of the kernels (default: the cores this process may use)
  MINITRAIN_BLAS=openblas        the BLAS of the kernels: mkl, openblas, accelerate or system
  MINITRAIN_KERNELS=reference    the readable array code in place of the compiled kernels
  MINITRAIN_CACHE_DIR=folder     where compiled kernels are kept
  MINITRAIN_DEBUG=1              show the traceback of every error"""


def run(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    parser = Parser(
        "info", description="Versions, threads, BLAS and GPU as minitrain finds them on this machine.", epilog=_EPILOG
    )
    parser.parse_args(argv)

    from ..backend.info import collect

    print(table(collect()))
    return 0


def table(rows: Mapping[str, str]) -> str:
    """``rows`` as aligned lines, name and value; a value of several lines stays in its column."""
    width = max(map(len, rows), default=0)
    break_ = "\n" + " " * (width + 2)
    lines = (f"{name:{width}}  {break_.join(value.splitlines())}" for name, value in rows.items())
    return "\n".join(line.rstrip() for line in lines)
