"""``minitrain info``: what minitrain finds on this machine, or what a model is made of and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .arguments import Parser
from .failures import say, warn
from .names import did_you_mean

_EPILOG = """\
Without MODEL: put the table into a report about speed or about something that does not work.

With MODEL: its parameters by part; the floating-point operations of its matrix products, two
for each weight and token and 4 C for each pair of positions that attention compares (C is the
model's width), and three times as many in a training step: with N weights, 6 N for a token and
12 C for a pair; and the memory that weights, gradients and AdamW's moments take.

examples:
  minitrain info                 versions, threads, BLAS and GPU
  minitrain info gpt2            a preset
  minitrain info runs/NAME       the model of a run

presets:
{presets}

environment:
  MINITRAIN_NUM_THREADS=2        threads of the kernels (default: the cores this process may use)
  MINITRAIN_BLAS=openblas        the BLAS of the kernels: mkl, openblas, accelerate or system
  MINITRAIN_KERNELS=reference    the readable array code in place of the compiled kernels
  MINITRAIN_CACHE_DIR=folder     where compiled kernels are kept
  MINITRAIN_DEBUG=1              show the traceback of every error"""


def run(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    from ..models.presets import PRESETS

    parser = Parser(
        "info",
        description="Versions, threads, BLAS and GPU as minitrain finds them on this machine, or the size of a model.",
        epilog=_EPILOG.format(presets="\n".join(f"  {name}" for name in PRESETS)),
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a preset, or the folder of a run")
    parser.add_trust()
    arguments = parser.parse_args(argv)
    say(table(_machine() if arguments.model is None else _model(arguments.model, trusted=arguments.trust)))
    return 0


def table(rows: Mapping[str, str]) -> str:
    """``rows`` as aligned lines, name and value; a value of several lines stays in its column."""
    width = max(map(len, rows), default=0)
    break_ = "\n" + " " * (width + 2)
    lines = (f"{name:{width}}  {break_.join(value.splitlines())}" for name, value in rows.items())
    return "\n".join(line.rstrip() for line in lines)


def _machine() -> Mapping[str, str]:
    from ..backend.info import collect

    return collect()


def _model(name: str, *, trusted: bool) -> Mapping[str, str]:
    """What a preset or the model of a run is made of."""
    from ..models.presets import PRESETS, build_model
    from ..models.summary import summarize

    model: Any
    if name in PRESETS:
        model = build_model(name)
    elif Path(name).is_dir():
        from ..runs import load_run

        model = load_run(name, device="cpu", trusted=trusted, warn=warn).model
    else:
        hint = did_you_mean(name, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise ConfigError(f"{name!r} is neither a preset nor the folder of a run{hint}")
    return {"model": f"{name} ({type(model).__name__})"} | summarize(model).rows()
