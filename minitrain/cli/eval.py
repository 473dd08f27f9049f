"""``minitrain eval``: how well a trained model predicts a text, answers questions, or keeps from unwanted texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Parser, UsageError
from .failures import say, warn
from .options.plugins import load_plugins
from .writing.model import failures_of, open_of

if TYPE_CHECKING:
    from ..evaluation import TextScore
    from ..measures import SampleTable
    from ..runs.opened import OpenedModel

_EPILOG = """\
Without options: the mean loss over the whole held-out part of the run's text, in windows side by side. Below it are the
losses of two guesses that do not read the text before a token: one by how often each token occurs in the training text,
one with the same probability for all tokens.

--stride, --weights, or a published model: every token is scored once, in windows that overlap, so that each has at
least block_size - N tokens before it. There are figures per token, byte and character, the accuracy, and whether the
model is as sure as it should be.

--choices: each line of the file is a question, {"context": "2 + 2 =", "choices": [" 3", " 4"], "answer": 1}

--unwanted: each line of the file has a prompt and texts that should not follow it, {"prompt": "The code is ",
"unwanted": ["4711"]}. The model continues each prompt, greedily and by sampling; how often a listed text comes is
counted.

examples:
  minitrain eval runs/NAME
  minitrain eval runs/NAME --text other.txt       another text, a file or a folder
  minitrain eval runs/NAME --stride 64
  minitrain eval runs/NAME --beams 4               translations and captions by beam search
  minitrain eval model.gguf --text other.txt --weights float32 bfloat16 int8
  minitrain eval FOLDER --choices questions.jsonl
  minitrain eval runs/NAME --unwanted list.jsonl --samples 20"""


def run(argv: Sequence[str]) -> int:
    """Evaluate the model that ``argv`` names; returns the exit code."""
    arguments = _parser().parse_args(argv)
    load_plugins(arguments.plugin)
    from ..generation.sessions.weights import check_weights
    from ..interop.formats import is_published

    for weights in arguments.weights or ():
        check_weights(weights)
    published = is_published(arguments.run)
    if published and arguments.text is None and arguments.choices is None and arguments.unwanted is None:
        raise UsageError(
            f"{arguments.run} is a published model, which has no held-out text: give --text, --choices or --unwanted"
        )
    scored = arguments.stride is not None or arguments.weights is not None or arguments.choices is not None
    if arguments.unwanted is not None and (scored or arguments.text is not None):
        raise UsageError("--unwanted counts continuations: leave out --text, --stride, --weights and --choices")
    if arguments.beams is not None and (published or scored or arguments.unwanted is not None):
        raise UsageError(
            "--beams is for a run that writes translations or captions: leave out --stride, --weights, --choices and "
            "--unwanted"
        )
    with failures_of(arguments.run):
        if arguments.unwanted is not None:
            _count(arguments)
        elif published or scored:
            _score(arguments)
        else:
            _compare_with_guessing(arguments)
    return 0


def _parser() -> Parser:
    description = "How well a model predicts a text, answers questions, or keeps from unwanted texts."
    parser = Parser("eval", description=description, epilog=_EPILOG)
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the folder of a run, such as runs/pydoc-20250102-030405; or a folder of transformers, or a GGUF file",
    )
    parser.add_trust()
    parser.add_argument(
        "--text", metavar="FILE", help="evaluate this text, a file or a folder; its own tokens give the guesses"
    )
    parser.add_argument(
        "--trained-weights",
        action="store_true",
        help="without other options: take the weights as trained, not the average that the run validated with",
    )
    parser.add_argument(
        "--beams",
        type=int,
        metavar="N",
        help="write translations or captions by a beam search that keeps N texts (the run's generation.num_beams)",
    )
    parser.add_argument("--stride", type=int, metavar="N", help="tokens that a window scores (half of block_size)")
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="TYPE",
        help="float32, bfloat16, int8; several are compared with float32 (float32)",
    )
    parser.add_argument("--choices", metavar="FILE", help="let the model answer the multiple-choice questions in FILE")
    parser.add_argument("--unwanted", metavar="FILE", help="count how often the prompts in FILE lead to unwanted texts")
    for name, default, purpose in (
        ("samples", 4, "samples of each prompt (4)"),
        ("tokens", None, "length of a continuation (the longest listed text and 32)"),
        ("seed", 0, "seed of the samples (0)"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"with --unwanted: {purpose}")
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="show a published model N tokens at most, which takes less memory (all that it was made for)",
    )
    parser.add_plugin()
    parser.add_device()
    return parser


def _compare_with_guessing(arguments: argparse.Namespace) -> None:
    """The loss in windows side by side, next to two guesses."""
    from ..measures import perplexity
    from ..runs import Validation, evaluate_run

    validation = evaluate_run(
        arguments.run,
        text=arguments.text,
        device=arguments.device,
        trusted=arguments.trust,
        averaged=not arguments.trained_weights,
        beams=arguments.beams,
        warn=warn,
    )
    say(validation.describe())
    if isinstance(validation, Validation):
        print(
            f"perplexity {perplexity(validation.loss):.3f}: the model is as uncertain as if it chose uniformly among "
            "this many tokens"
        )
    if arguments.text is None and arguments.beams is None and validation.samples is not None:
        _keep(validation.samples, Path(arguments.run))


def _keep(samples: SampleTable, run_dir: Path) -> None:
    """Keep what each window lost, for ``minitrain compare``; a folder that cannot be written changes no result."""
    from ..errors import MinitrainError
    from ..folder import RunFolder
    from ..folder.names import EVALUATION

    try:
        path = RunFolder(run_dir).file(EVALUATION)
        samples.save(path)
    except MinitrainError as error:
        warn(f"the losses of the windows are not kept: {error}")
    else:
        say(f"kept       {path}: minitrain compare uses it to tell differences from noise")


def _count(arguments: argparse.Namespace) -> None:
    """How often prompts lead to unwanted texts."""
    from ..data import read_unwanted
    from ..measures import count_unwanted

    entries = read_unwanted(arguments.unwanted)
    opened = open_of(arguments)
    how = {name: getattr(arguments, name) for name in ("samples", "tokens", "seed")}
    count = count_unwanted(opened.model, opened.tokenizer, entries, device=opened.device, **how)
    say(f"unwanted continuations, with 95 % intervals\n  {count.describe()}")
    for prompt, text in count.shown:
        say(f"  {prompt!r:.60} led to {text!r:.200}")


def _score(arguments: argparse.Namespace) -> None:
    """The score of a text in overlapping windows, and of questions, with each type of weights."""
    from ..evaluation.report import describe_choices, describe_text, describe_weights
    from ..evaluation.text_score import default_stride
    from ..evaluation.windows import check_stride

    opened = open_of(arguments)
    longest = opened.model.config.block_size
    stride = default_stride(longest) if arguments.stride is None else arguments.stride
    check_stride(stride, longest)
    names = _compared(arguments.weights)
    if arguments.choices is not None:
        say(describe_choices({name: _answered(opened, name, arguments.choices) for name in names}))
    if arguments.text is not None or arguments.choices is None:
        scores = dict(_texts(arguments, opened, names, stride))
        say(describe_text(scores[names[0]]) if len(names) == 1 else describe_weights(scores))


def _compared(weights: Sequence[str] | None) -> list[str]:
    """The types of weights, each once; float32 is the first of several."""
    names = list(dict.fromkeys(weights or ["float32"]))
    return names if len(names) == 1 else ["float32", *(name for name in names if name != "float32")]


def _texts(
    arguments: argparse.Namespace, opened: OpenedModel, names: Sequence[str], stride: int
) -> Iterator[tuple[str, TextScore]]:
    """The score of the text with each type of weights."""
    from ..data import read_corpus
    from ..evaluation import score_text, score_tokens
    from ..generation.sessions.weights import with_weights
    from ..runs.load import held_out_tokens

    settings: dict[str, Any] = {"stride": stride, "device": opened.device}
    score: Callable[[Any], TextScore]
    if arguments.text is not None:
        text = read_corpus(arguments.text)
        score = partial(score_text, tokenizer=opened.tokenizer, text=text, **settings)
    else:
        tokens = held_out_tokens(arguments.run)
        score = partial(score_tokens, tokens=tokens, tokenizer=opened.tokenizer, **settings)
    for name in names:
        yield name, score(with_weights(opened.model, name))


def _answered(opened: OpenedModel, weights: str, questions: str) -> Any:
    """The answers to the questions in a file."""
    from ..evaluation import read_questions, score_choices
    from ..generation import session_for

    session = session_for(opened.model, 9, device=opened.device, weights=weights)
    return score_choices(session, opened.tokenizer, read_questions(Path(questions)))
