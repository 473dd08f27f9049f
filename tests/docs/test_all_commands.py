"""Every command on every page can be typed: it is parsed, and the settings of a training are composed and checked."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import pytest

from minitrain.cli.arguments import Parser
from minitrain.cli.compose import compose_config
from minitrain.cli.entry import COMMANDS
from minitrain.cli.options.group_help import describe_group
from minitrain.cli.sweep.arguments import SweepArguments
from minitrain.cli.sweep.command import compose_sweep
from minitrain.errors import ConfigError
from tests.docs.test_all_code import PAGES
from tests.helpers.pages import TEXT, blocks
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.places import ROOT

PROGRAMS = ("minitrain", "make", "python", "pip")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The command lines of a page: in blocks for a shell, in indented blocks, and between backticks in the text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks(page) if language == "sh" for line in joined(block).splitlines()]
    lines += re.findall(r"^    (\S.*)$", prose, re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", prose)
    found = [words_of(line) for line in lines if line.split()[:1]]
    return [words for words in found if words and words[0] in PROGRAMS and len(words) > 1 and words[1][0] != "["]


def joined(block: str) -> str:
    return block.replace("\\\n", " ")


def words_of(line: str) -> list[str]:
    """The words of a command, without the folder of the program, settings of the environment and a remark."""
    if not re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(?:minitrain|make|python|pip) ", line):
        return []
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    words = words[: words.index(">")] if ">" in words else words
    return [Path(words[0]).name, *words[1:]]


class Parsed(Exception):
    """A command's arguments, in place of what it would do with them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("parse_args", "parse_intermixed_args"):
        original = getattr(argparse.ArgumentParser, name)

        def parse(self: Parser, argv: Any, original: Any = original) -> NoReturn:
            raise Parsed(original(self, argv))

        monkeypatch.setattr(Parser, name, parse)


def check_minitrain(words: list[str]) -> None:
    """Parse a command; compose the settings of a training that begins."""
    from minitrain.cli import entry

    command, *rest = words
    assert command in COMMANDS
    if not rest:
        return  # the command's name
    with pytest.raises(Parsed) as parsed:
        entry._dispatch(words)
    given = parsed.value.arguments
    if command != "train" or given.plugin:
        return
    if given.help is not None:
        assert given.help == "GROUP" or describe_group(given.help, given.settings)
    elif given.multirun and not given.resume:
        pytest.importorskip("optuna") if given.search else None
        compose_sweep(SweepArguments.sort(given.settings, given.launcher, given.jobs), given.search, given.trials)
    elif not given.resume:
        compose_config(given.settings)


def check_other(words: list[str]) -> None:
    """A target of the Makefile, a module, or an extra of the package exists."""
    if words[0] == "make":
        for word in words[1:]:
            assert "=" in word or word in TARGETS, f"there is no target {word}"
    elif words[0] == "python" and words[1] == "-m":
        assert importlib.util.find_spec(words[2]), f"there is no module {words[2]}"
    elif words[0] == "pip":
        for extra in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= EXTRAS.keys(), f"there is no extra {extra}"


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/changes.md" and commands(page)])
def test_the_commands_of_a_page(page: str) -> None:
    for words in commands(page):
        for word in words:
            if word.startswith("data.path="):
                own = Path(word.partition("=")[2])  # the reader's
                own.parent.mkdir(parents=True, exist_ok=True)
                own.write_text(TEXT)
        try:
            check_minitrain(words[1:]) if words[0] == "minitrain" else check_other(words)
        except Exception as error:
            raise AssertionError(f"{' '.join(words)}: {error}") from error


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize(
    "wrong",
    [
        "minitrain trian",
        "minitrain train optimzer=adamw",
        "minitrain train --quick",
        "minitrain train --help optimzer",
        "minitrain train --multirun modle=gpt,llama",
        "make tset",
        "python -m benchmarks.none",
        "pip install minitrain[no]",
    ],
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    words = words_of(wrong)
    with pytest.raises((ConfigError, AssertionError)):
        check_minitrain(words[1:]) if words[0] == "minitrain" else check_other(words)
