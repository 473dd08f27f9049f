"""The code on pages that take something as given: a trainer, published models, a server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import minitrain as mt
from minitrain.interop import save_gguf, save_huggingface
from minitrain.probes import compile_kernels
from minitrain.records import read_metrics
from minitrain.training import Trainer, TrainingConfig
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets


def small() -> tuple[mt.GPT, mt.TokenLoader]:
    model = mt.GPT(mt.GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16), seed=0)
    return model, mt.TokenLoader(np.arange(200) % 11, block_size=8, batch_size=4, seed=0)


def test_callbacks() -> None:
    model, loader = small()
    names = run("docs/callbacks.md", *snippets("docs/callbacks.md"), model=model, loader=loader)
    own = names["LossBelow"](99.0)
    config = TrainingConfig(max_steps=4, log_every=1)
    Trainer(model=model, train_data=loader, callbacks=[own], config=config, run_dir="runs/own", progress=False).train()
    assert own.state_dict() == {"printed": True}
    assert read_metrics("runs/own/metrics.jsonl")


def test_models_of_other_programs() -> None:
    pytest.importorskip("gguf")
    shape = mt.LlamaConfig(vocab_size=32, block_size=16, n_layer=1, n_head=2, n_kv_head=1, n_embd=64)
    model = mt.Llama(shape, seed=0)
    save_huggingface(model, "SmolLM2-135M")
    save_gguf(model, "SmolLM2-135M-Instruct.Q4_1.gguf")
    names = run("docs/interop.md", *snippets("docs/interop.md"))
    np.testing.assert_array_equal(names["model"].state_dict()["norm.weight"], model.state_dict()["norm.weight"])
    assert Path("mine/config.json").exists()
    assert Path("mine.gguf").exists()


def test_a_server_and_its_clients(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("starlette", "uvicorn", "openai", "llguidance"):
        pytest.importorskip(package)
    from tests.helpers.serving.servers import serving, small_model

    *clients, server = snippets("docs/serve.md")
    opened = small_model(block_size=256)
    with serving(opened) as running:
        here = [("http://127.0.0.1:8000", running.server.address), ('"NAME"', '"small"')]
        names = run("docs/serve.md", *(replaced(code, *here) for code in clients))
        names["client"].close()
    assert isinstance(names["answer"].choices[0].message.parsed, names["Fox"])

    def stop(address: str) -> None:  # Ctrl-C
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("minitrain.runs.open_model", lambda place: opened)
    with pytest.raises(KeyboardInterrupt):
        run("docs/serve.md", replaced(server, ("port=8080", "port=0, ready=stop")), stop=stop)


def replaced(code: str, *pairs: tuple[str, str]) -> str:
    for written, other in pairs:
        code = code.replace(written, other)
    return code


def test_compiling_ahead() -> None:
    model, loader = small()
    config = TrainingConfig(max_steps=2)
    trainer = Trainer(model=model, train_data=loader, config=config, progress=False)
    before = {path: array.copy() for path, array in model.state_dict().items()}
    given = {"trainer": trainer, "model": model, "batch": loader.batch(0), "loss_fn": None}  # the model's own loss
    run("docs/threads.md", *snippets("docs/threads.md"), **given)
    for path, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[path], array)
    assert compile_kernels(model, loader.batch(0)) == [], "none the second time"
