"""``minitrain generate``, ``chat`` and ``serve`` with models of any origin."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain import use_kernels
from minitrain.cli import main
from minitrain.interop import save_huggingface
from minitrain.runs import RunConfig, start_run
from minitrain.runs.opened import open_model
from tests.helpers.places import ROOT
from tests.helpers.serving import chatty
from tests.helpers.small_runs import small_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writing")
    config: RunConfig = small_config(folder)
    with use_kernels("reference"), contextlib.redirect_stdout(io.StringIO()):
        start_run(config).train()
    return folder / "run"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers, with a tokenizer of bytes and a chat template."""
    folder = tmp_path_factory.mktemp("published") / "chatty"
    save_huggingface(chatty.model(), folder)
    (folder / "tokenizer.json").write_text(json.dumps(chatty.description()))
    settings = {"eos_token": "<end>", "chat_template": chatty.TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def call(*arguments: str, typed: str = "", code: int = 0) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO(typed)
    try:
        with use_kernels("reference"), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = main(arguments)
    finally:
        sys.stdin = stdin
    assert found == code, (out.getvalue(), err.getvalue())
    return out.getvalue(), err.getvalue()


def test_generate_takes_a_published_model(published: Path) -> None:
    def write(*more: str) -> str:
        return call("generate", str(published), "--prompt", "ab", "--max-new-tokens", "8", *more)[0]

    assert write().startswith("ab")
    assert write() == write() != write("--seed", "1")
    assert write("--weights", "float32", "--context", "64") == write()
    assert "block_size = 65" in call("generate", str(published), "--context", "65", code=2)[1]
    assert "use one of float32, bfloat16, int8" in call("generate", str(published), "--weights", "int4", code=2)[1]
    assert not (published / "traceback.txt").exists()


def test_open_model_finds_the_checkpoints_of_a_run(run: Path) -> None:
    opened = open_model(run)
    assert opened.checkpoints == ("step-00000004", "step-00000007")
    assert opened.checkpoint == "step-00000007"
    assert opened.at(opened.checkpoint) is opened
    earlier = opened.at("step-00000004")
    assert earlier.checkpoint == "step-00000004"
    assert earlier.tokenizer is opened.tokenizer
    mine, theirs = opened.model.state_dict(), earlier.model.state_dict()
    assert any((mine[name] != theirs[name]).any() for name in mine)
    with pytest.raises(Exception, match=r"has no checkpoint 'step-00000001'; there are: step-00000004"):
        opened.at("step-00000001")


def test_open_model_takes_a_folder(published: Path) -> None:
    opened = open_model(published, longest=32)
    assert (opened.name, opened.checkpoints) == ("chatty", ())
    assert opened.model.config.block_size == 32
    assert opened.tokenizer.chat_template == chatty.TEMPLATE


def test_a_chat_without_a_template_goes_on_with_the_text(run: Path) -> None:
    settings = ("--max-new-tokens", "5", "--seed", "3", "--temperature", "0.6", "--top-p", "0.9")
    said, errors = call("chat", str(run), *settings, typed="the\nfox\n/reset\nthe\n/exit\n")
    assert "has no chat template" in said
    before, after = said.partition("commands.\n")[2].split("The conversation is forgotten.\n")
    first, second = before[:5], before[6:11]
    assert before == f"{first}\n{second}\n"
    assert after == f"{first}\n"  # all is as at the beginning
    prompt = f"the{first}\nfox"  # what the terminal shows
    assert call("generate", str(run), *settings, "--prompt", prompt)[0] == f"{prompt}{second}\n"
    assert not errors


def test_a_chat_with_a_template(published: Path) -> None:
    typed = "hello\n\n/nonsense\n/help\n<end>\n/reset\nhello\n"
    said, errors = call("chat", str(published), "--max-new-tokens", "6", "--system", "Be short.", typed=typed)
    lines = said.splitlines()
    assert "answers by its chat template" in lines[0]
    assert "There is no command /nonsense." in said
    assert said.count("Ctrl-C    stop the answer") == 2
    assert "spells the special token <end>" in errors
    assert "The conversation is forgotten." in said


def test_mistakes_of_chat(run: Path) -> None:
    assert "--system is for models with a chat template" in call("chat", str(run), "--system", "x", code=2)[1]
    assert "temperature=-1.0" in call("chat", str(run), "--temperature", "-1", code=2)[1]
    said, errors = call("chat", str(run), "--max-new-tokens", "2", typed="€\nthe\n")
    assert "'€' (U+20AC" in errors
    assert len(said.splitlines()[-2]) == 2  # the mistake is not part of the text, which goes on


@contextlib.contextmanager
def process(*arguments: str, typed: bool = False, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "minitrain", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MINITRAIN_KERNELS": "reference", "PYTHONUNBUFFERED": "1"}
        | environment,
        stdin=subprocess.PIPE if typed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def test_ctrl_c_stops_the_answer_and_not_the_chat(run: Path) -> None:
    with process("chat", str(run), "--max-new-tokens", "1000000", typed=True) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdout.readline()
        chat.stdin.write("the\n")
        chat.stdin.flush()
        assert len(chat.stdout.read(20)) == 20
        chat.send_signal(signal.SIGINT)
        while "[stopped]" not in chat.stdout.readline():
            pass
        said, errors = chat.communicate("/reset\n/exit\n", timeout=60)
        assert "The conversation is forgotten." in said
        assert chat.returncode == 0, errors


def test_serve(run: Path) -> None:
    pytest.importorskip("uvicorn")
    with process("serve", str(run), "--port", "0", "--slots", "2") as server:
        assert server.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert address is not None

        def ask(path: str, body: Any = None) -> Any:
            content = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(address[0] + path, content, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)

        names = [model["id"] for model in ask("/v1/models")["data"]]
        assert names == ["run", "run@step-00000004"]
        asked = {"prompt": "the ", "max_tokens": 12, "seed": 1}
        texts = [ask("/v1/completions", asked | {"model": name})["choices"][0]["text"] for name in names]
        assert texts[0] != texts[1]
        assert ask("/v1/completions", asked)["choices"][0]["text"] == texts[0]
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask("/v1/completions", asked | {"prompt": "€"})
        assert "U+20AC" in caught.value.read().decode()
        caught.value.close()
        endless = json.dumps({"prompt": "the", "max_tokens": 4000, "stream": True}).encode()
        request = urllib.request.Request(address[0] + "/v1/completions", endless, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            response.readline()
            begun = time.monotonic()
            server.send_signal(signal.SIGINT)
            assert b'"stopping"' in response.read()
        errors = server.communicate(timeout=60)[1]
        assert server.returncode == 130, errors
        assert errors == "minitrain: interrupted\n"
        assert time.monotonic() - begun < 60


MISTAKES = {
    "another address without a key": (["--host", "0.0.0.0"], "give a key with --key"),
    "a short key": (["--key", "123"], "must have 16 characters"),
    "no slot": (["--slots", "0"], "slots = 0"),
    "no port": (["--port", "70000"], "port = 70000"),
    "an address of another machine": (["--host", "203.0.113.1", "--key", "0123456789abcdef"], "cannot listen on"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_serve(name: str, run: Path) -> None:
    pytest.importorskip("uvicorn")
    arguments, expected = MISTAKES[name]
    assert expected in call("serve", str(run), *arguments, code=2)[1]


def test_serve_without_its_packages(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("minitrain.server", "starlette", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert "pip install 'minitrain[serve]'" in call("serve", str(run), code=2)[1]
