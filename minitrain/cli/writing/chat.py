"""``minitrain chat``: a conversation with a model in the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import DataError, MinitrainError, printable
from ...formats import one_line
from ..arguments import Parser, UsageError
from ..options.plugins import load_plugins
from .model import add_model, add_sampling, failures_of, open_session_of

_COMMANDS = """\
  /reset    forget the conversation
  /exit     leave; so does the end of the input (Ctrl-D)
  /help     this list
  Ctrl-C    stop the answer"""

_EPILOG = f"""\
A model with a chat template, such as SmolLM2-Instruct in a GGUF file, answers. Any other one goes on with the text:
what you type, what it writes, what you type next.

while chatting:
{_COMMANDS}

examples:
  minitrain chat model.gguf
  minitrain chat runs/NAME --temperature 0.7 --max-new-tokens 100
  minitrain chat model.gguf --system "You answer in one sentence."
"""


def run(argv: Sequence[str]) -> int:
    """Talk until the user leaves; returns the exit code."""
    arguments = _parser().parse_args(argv)
    load_plugins(arguments.plugin)
    with failures_of(arguments.run):
        conversation = _Conversation(arguments)
        print(f"{conversation.description}. /help lists the commands.", flush=True)
        return _talk(conversation)


def _talk(conversation: _Conversation) -> int:
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:  # nothing is being written: this one is for the chat
            print()
            return 130
        match line.strip():
            case "/exit" | "/quit":
                return 0
            case "/reset":
                conversation.reset()
                print("The conversation is forgotten.", flush=True)
            case "/help":
                print(_COMMANDS, flush=True)
            case command if command.startswith("/") and " " not in command:
                print(f"There is no command {printable(command)}.\n{_COMMANDS}", flush=True)
            case "" if conversation.template:
                continue
            case _:
                _answer(conversation, line)


def _answer(conversation: _Conversation, line: str) -> None:
    """Write the answer to a line; Ctrl-C stops it, and what was written counts."""
    pieces = conversation.answer(line)
    try:
        for piece in pieces:
            print(printable(piece), end="", flush=True)
    except KeyboardInterrupt:
        print(" [stopped]", end="")
    except MinitrainError as error:  # a character that the tokenizer does not know, for instance
        print(f"minitrain: {one_line(str(error))}", file=sys.stderr, end="")
    finally:
        pieces.close()  # type: ignore[attr-defined]
    print(flush=True)


class _Conversation:
    """The turns so far, and the model that continues them.

    Attributes:
        template: whether the model was trained to chat.
        description: of the model, for the first line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from ...generation import SamplingParams, TextGenerator

        session, opened = open_session_of(arguments)
        self.generator = TextGenerator(session, opened.tokenizer)
        self.template = getattr(opened.tokenizer, "chat_template", None) is not None
        if arguments.system and not self.template:
            raise UsageError("--system is for models with a chat template; this one goes on with what you type")
        self.settings: dict[str, Any] = {
            "top_k": arguments.top_k,
            "top_p": arguments.top_p,
            "seed": arguments.seed,
        }
        self.most, self.temperature, self.system = arguments.max_new_tokens, arguments.temperature, arguments.system
        self.messages: list[dict[str, str]] = []
        self.text = ""
        SamplingParams(max_new_tokens=self.most, temperature=self.temperature, **self.settings)  # checks them now
        kind = "answers by its chat template" if self.template else "has no chat template and goes on with your text"
        self.description = f"{printable(opened.name)} {kind}"
        self.reset()

    def reset(self) -> None:
        """Forget all turns."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.text = ""

    def answer(self, line: str) -> Iterator[str]:
        """The answer to a line, piece by piece. What of it was taken becomes part of the conversation."""
        if self.template:
            pieces = self._chat(line)
        else:  # the text is what the terminal shows
            text = f"{self.text}\n{line}" if self.text else line or "\n"
            pieces = self.generator.stream(text, self.most, self.temperature, **self.settings)
            self.text = text
        taken = ""
        try:
            for piece in pieces:
                taken += piece
                yield piece
        finally:
            if self.template:
                self.messages.append({"role": "assistant", "content": taken})
            else:
                self.text += taken

    def _chat(self, line: str) -> Iterator[str]:
        for name in getattr(self.generator.tokenizer, "special_tokens", ()):
            if name and name in line:
                raise DataError(f"your message spells the special token {name}, which would end or begin a turn")
        messages = [*self.messages, {"role": "user", "content": line}]
        pieces = self.generator.chat(messages, self.most, self.temperature, **self.settings)
        self.messages = messages
        return pieces


def _parser() -> Parser:
    parser = Parser("chat", description="Talk to a trained model in the terminal.", epilog=_EPILOG)
    add_model(parser)
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first, if it has a chat template")
    add_sampling(parser, tokens=500, temperature=0.6, top_p=0.9)
    parser.add_plugin()
    parser.add_device()
    return parser
