"""``minitrain serve``: a page to explore a model, and OpenAI's API for programs."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

from ...errors import ConfigError
from ..arguments import Parser
from ..failures import say, warn
from ..options.plugins import load_plugins
from .model import add_model, failures_of, open_of

KEY = "MINITRAIN_SERVE_KEY"

_EPILOG = f"""\
The page is at http://127.0.0.1:8000/. Programs that know OpenAI's API take http://127.0.0.1:8000/v1 as its address.

The server listens on this machine alone. For another address it wants a key, which clients must send. Put the key into
the variable {KEY}, where other users of the machine do not see it.

examples:
  minitrain serve runs/NAME                         two checkpoints of a run can be seen side by side
  minitrain serve model.gguf --weights int8
  {KEY}=… minitrain serve runs/NAME --host 0.0.0.0 --name my-machine.local

Ctrl-C ends the answers that are being written, and the server."""


def run(argv: Sequence[str]) -> int:
    """Serve the model that ``argv`` names until Ctrl-C; returns the exit code."""
    arguments = _parser().parse_args(argv)
    load_plugins(arguments.plugin)
    try:
        from ...server import Limits, checked_key, serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"minitrain serve needs the package {error.name}: pip install 'minitrain[serve]'") from error

    key = arguments.key or os.environ.get(KEY) or None
    limits = Limits(slots=arguments.slots, new_tokens=arguments.max_new_tokens)
    checked_key(key, arguments.host)  # before a large model is loaded
    with failures_of(arguments.run):
        opened = open_of(arguments)
        serve(
            opened,
            limits=limits,
            weights=arguments.weights,
            host=arguments.host,
            port=arguments.port,
            key=key,
            names=arguments.name,
            report=_report,
            ready=lambda address: say(f"{opened.name}: {address}/ (Ctrl-C ends it)"),
        )
    return 0


def _report(error: BaseException) -> None:
    """Tell of an error that nobody foresaw; the server goes on."""
    warn(f"this is a bug in minitrain: {type(error).__name__}: {error}; the request failed, the server goes on")
    if os.environ.get("MINITRAIN_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)


def _parser() -> Parser:
    parser = Parser("serve", description="A local page to explore a model, and OpenAI's API for it.", epilog=_EPILOG)
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 takes a free one (8000)")
    parser.add_argument("--key", metavar="KEY", help=f"what clients must send; better in the variable {KEY}")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a name by which clients know this machine; addresses and localhost always work",
    )
    parser.add_argument("--slots", type=int, default=4, metavar="N", help="texts that are written at once (4)")
    parser.add_argument(
        "--max-new-tokens", type=int, default=4096, metavar="N", help="the most that a request may ask for (4096)"
    )
    parser.add_plugin()
    parser.add_device()
    return parser
