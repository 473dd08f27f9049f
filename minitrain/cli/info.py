"""``minitrain info``: what minitrain finds on this machine, or what a model consists of and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..folder import RunFolder
from ..formats import one_line
from .arguments import Parser, did_you_mean
from .failures import say, warn
from .options.plugins import load_plugins

_EPILOG = """\
Without MODEL: the table belongs into a report about speed or about something that does not work.

With MODEL: its parameters by part; the floating-point operations of its matrix products; the memory of weights,
gradients and AdamW's moments; and for a run, what multiplied its matrices before its newest checkpoint. A product takes
two operations for each weight and token, attention 4 C for each pair of positions that it compares (C is the width of
the model). A training step takes three times as many: with N weights, 6 N for a token and 12 C for a pair.

examples:
  minitrain info                 versions, threads, BLAS and GPU
  minitrain info gpt2            a preset
  minitrain info runs/NAME       the model of a run
  minitrain info model.gguf      a GGUF file, or a folder of transformers

presets:
{presets}

environment:
  MINITRAIN_NUM_THREADS=2        threads of the kernels (default: the cores this process may use)
  MINITRAIN_BLAS=openblas        the BLAS of the kernels: own, mkl, openblas, accelerate, system
                                 or numpy; also for a run that was begun with another one
  MINITRAIN_KERNELS=reference    the readable array code in place of the compiled kernels
  MINITRAIN_CACHE_DIR=folder     where compiled kernels are kept
  MINITRAIN_DEBUG=1              show the traceback of every error"""


def run(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code."""
    from .presets import presets_in_words

    parser = Parser(
        "info",
        description="Versions, threads, BLAS and GPU that minitrain finds on this machine, or the size of a model.",
        epilog=_EPILOG.format(presets=presets_in_words()),
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a preset, the folder of a run, or a published model")
    parser.add_plugin()
    parser.add_trust()
    arguments = parser.parse_args(argv)
    load_plugins(arguments.plugin)
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
    """The parts of a preset or of the model of a run."""
    from ..interop.formats import is_published
    from ..models.presets import PRESETS, build_model
    from ..models.summary import summarize

    if name not in PRESETS and is_published(name):
        return _published(name)
    model: Any
    multiplied: dict[str, str] = {}
    if name in PRESETS:
        model = build_model(name)
    elif Path(name).is_dir():
        from ..runs.load import load_with_products
        from ..runs.python_run import facts_of, is_opaque

        if is_opaque(RunFolder(name)):  # a model of the user's own: what its run wrote down
            return {key: one_line(value) for key, value in facts_of(RunFolder(name)).items()}
        loaded, products = load_with_products(name, device="cpu", trusted=trusted, warn=warn)
        model = loaded.model
        if products:
            multiplied["matrix products"] = "\n".join(f"{product} ({dtype})" for dtype, product in products.items())
    else:
        hint = did_you_mean(name, PRESETS) or f"; there are {', '.join(PRESETS)}"
        raise ConfigError(f"{name!r} is neither a preset, the folder of a run, nor a published model{hint}")
    return {"model": f"{one_line(name)} ({type(model).__name__})"} | summarize(model).rows() | multiplied


def _published(name: str) -> Mapping[str, str]:
    """The content of a folder of transformers or of a GGUF file."""
    from dataclasses import asdict

    from ..interop.formats import describe_published, load_published
    from ..models.summary import summarize

    form, family, config = describe_published(name)
    rows = {"model": f"{one_line(name)} ({family}, {form})"}
    rows |= {f"  {key}": one_line(str(value)) for key, value in asdict(config).items()}
    return rows | summarize(load_published(name)).rows()
