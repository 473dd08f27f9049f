"""The common part of commands that write: the model that they open, and how its tokens are chosen."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Parser
from ..failures import traceback_kept_in, warn

if TYPE_CHECKING:
    from ...runs.opened import OpenedModel


def add_model(parser: Parser) -> None:
    """Take a model, as ``run``, and how it is loaded."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the folder of a run; or a folder of transformers, or a GGUF file, with its tokenizer",
    )
    parser.add_trust()
    parser.add_argument(
        "--weights",
        default="float32",
        metavar="TYPE",
        help="float32, or bfloat16 or int8, which are faster and round the weights (float32)",
    )
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="keep N tokens at most of a published model's context, which takes less memory (all of it)",
    )


def add_sampling(parser: Parser, *, tokens: int, temperature: float = 0.8, top_p: float | None = None) -> None:
    """Take the settings of sampling."""
    parser.add_argument("--max-new-tokens", type=int, default=tokens, metavar="N", help=f"tokens to write ({tokens})")
    parser.add_argument(
        "--temperature",
        type=float,
        default=temperature,
        metavar="T",
        help=f"below 1 more predictable, above 1 more varied, 0 the most likely token ({temperature})",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="choose among the K most likely tokens")
    parser.add_argument(
        "--top-p",
        type=float,
        default=top_p,
        metavar="P",
        help=f"choose among the most likely tokens that have share P of the probability ({top_p or 'all'})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (0)")


def open_of(arguments: argparse.Namespace) -> OpenedModel:
    """The model that the command names."""
    from ...runs.opened import open_model

    return open_model(
        arguments.run, device=arguments.device, longest=arguments.context, trusted=arguments.trust, warn=warn
    )


def open_session_of(arguments: argparse.Namespace, *, slots: int = 1) -> tuple[Any, OpenedModel]:
    """The model that the command names, and a session of it."""
    from ...generation import session_for

    opened = open_of(arguments)
    return session_for(opened.model, slots, device=opened.device, weights=arguments.weights), opened


def failures_of(place: str) -> contextlib.AbstractContextManager[None]:
    """Keeps the traceback of what nobody foresaw in the folder of a run; a published model is not written to."""
    return traceback_kept_in(place) if (Path(place) / "config.yaml").is_file() else contextlib.nullcontext()
