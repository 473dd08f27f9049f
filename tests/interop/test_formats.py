"""The table of formats, and the commands that use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.errors import CheckpointError, ConfigError
from minitrain.interop import load_gguf, load_huggingface, save_gguf, save_huggingface
from minitrain.interop.formats import FORMATS, describe_published, export, is_published, load_published
from minitrain.models import GPT, GPTConfig
from minitrain.nn import LayerNorm, add_lora
from minitrain.runs import load_run, start_run
from tests.helpers.interop.published import output, published
from tests.helpers.small_runs import small_config

TOKENS = np.random.default_rng(0).integers(0, 37, (2, 12))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = start_run(small_config(tmp_path_factory.mktemp("run")))
    run.trainer.train()
    return Path(run.run_dir)


def call(*arguments: Any) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_is_exported_and_read_again(to, trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        call(
            "export",
            trained,
            "--to",
            to,
            "--out",
            out,
            *(["--dtype", "float32"] if "dtype" in FORMATS[to].options else []),
        )
        == 0
    )
    assert f"{out}: a " in capsys.readouterr().out
    if is_published(out):
        run = load_run(trained)
        tokens = np.arange(6)[None] % run.tokenizer.vocab_size
        expected = run.model.forward(tokens)[0]
        np.testing.assert_allclose(load_published(out).forward(tokens)[0], expected, rtol=1e-5, atol=1e-5)


class Twice(GPT):
    """A model that computes something else than its class."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        logits, cache = super().forward(*inputs, **options)
        return 2 * logits, cache


class OtherNorm(LayerNorm):
    """A layer that computes something else than its class."""

    def forward(self, x: Any) -> Any:
        out, cache = super().forward(x)
        return 2 * out, cache


@pytest.mark.parametrize("to", FORMATS)
def test_a_model_that_other_programs_would_compute_otherwise_is_refused(to, tmp_path):
    config = GPTConfig(37, block_size=12, n_layer=1, n_head=2, n_embd=8, bias=True, gelu="tanh")
    with pytest.raises((CheckpointError, ConfigError), match=r"Twice .*forward of its own"):
        export(Twice(config), to, tmp_path / "a")
    model = GPT(config)
    model.norm = OtherNorm(8)
    with pytest.raises((CheckpointError, ConfigError), match=r"norm.* OtherNorm"):
        export(model, to, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_published_model_goes_from_format_to_format(tmp_path, capsys):
    model = published("llama")
    save_gguf(model, tmp_path / "a.gguf", dtype="float32")
    assert call("export", tmp_path / "a.gguf", "--to", "huggingface", "--out", tmp_path / "b") == 0
    assert call("export", tmp_path / "b", "--to", "gguf", "--out", tmp_path / "c.gguf", "--dtype", "float32") == 0
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "c.gguf").read_bytes()
    np.testing.assert_array_equal(output(load_huggingface(tmp_path / "b"), TOKENS), output(model, TOKENS))


def test_mistakes_in_the_command_are_explained(trained, tmp_path, capsys):
    for arguments, message in (
        (["--to", "hugingface", "--out", "x"], "there is no format 'hugingface': did you mean 'huggingface'? use one"),
        (["--to", "gguf", "--out", "x", "--dtype", "int4"], "gguf has no dtype 'int4': use one of float16, float32"),
        (["--to", "gguf"], "--out"),
    ):
        assert call("export", trained, *arguments) == 2
        assert message in capsys.readouterr().err
    assert call("export", tmp_path, "--to", "gguf", "--out", tmp_path / "x") == 2
    assert not (tmp_path / "x").exists()


def test_adapters_are_merged(tmp_path):
    model, plain = published("llama"), published("llama")
    add_lora(model, 2, 4.0)
    for path, parameter in model.named_parameters():
        if path.endswith("lora_b"):
            parameter.data[...] = 0.1
    expected = output(model, TOKENS)
    export(model, "huggingface", tmp_path / "x")
    found = output(load_huggingface(tmp_path / "x"), TOKENS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert abs(output(plain, TOKENS) - found).max() > 0.01


def test_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"gguf has no color 'red'$"):
        export(published("llama"), "gguf", tmp_path / "x", color="red")
    export(published("llama"), "gguf", tmp_path / "x", dtype="q8_0")
    load_gguf(tmp_path / "x")


def test_what_is_published_is_described(tmp_path, capsys):
    save_gguf(published("qwen2"), tmp_path / "a.gguf")
    save_huggingface(published("bert"), tmp_path / "b")
    assert describe_published(tmp_path / "a.gguf")[:2] == ("gguf", "qwen2")
    assert describe_published(tmp_path / "b")[:2] == ("huggingface", "bert")
    assert not is_published(tmp_path)
    with pytest.raises(CheckpointError, match=r"is neither a folder of transformers"):
        load_published(tmp_path)
    for name, says in (("a.gguf", "(qwen2, gguf)"), ("b", "(bert, huggingface)")):
        assert call("info", tmp_path / name) == 0
        text = capsys.readouterr().out
        assert says in text
        assert "n_layer" in text
        assert "parameters" in text


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_shorter_sequences_can_be_asked_for(name, tmp_path):
    model = published(name)
    save_huggingface(model, tmp_path / "a")
    if name != "bert":
        save_gguf(model, tmp_path / "a.gguf", dtype="float32")
    for place in (tmp_path / "a", tmp_path / "a.gguf"):
        if place.exists():
            short = load_published(place, block_size=5)
            assert short.config.block_size == 5
            np.testing.assert_array_equal(output(short, TOKENS[:, :5]), output(model, TOKENS[:, :5]))
            with pytest.raises(CheckpointError, match=r"block_size = 13: the model is for sequences of at most 12"):
                load_published(place, block_size=13)
