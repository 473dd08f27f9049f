"""Models, data and samples in a run's configuration: sections, packaged options, and runs that use them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.cli.compose import compose_config
from minitrain.data import ByteTokenizer, PrefetchLoader, TokenShards, build_token_shards
from minitrain.data.tokens.token_array import JoinedTokens
from minitrain.errors import ConfigError, DataError
from minitrain.models import GPTConfig, Llama, LlamaConfig
from minitrain.models.presets import PRESETS
from minitrain.random import Key
from minitrain.runs import (
    DataConfig,
    GenerationConfig,
    GPTModelConfig,
    LlamaModelConfig,
    RunConfig,
    ShardsConfig,
    evaluate_run,
    load_run,
    resume_run,
    start_run,
)
from minitrain.runs.recipes.options import config_groups, language_presets, trained_presets
from minitrain.settings.section import settings
from minitrain.tasks.settings.model import MODEL_CONFIGS, MODELS, create_model
from tests.helpers.small_runs import TEXT, outcome, small_config

pytestmark = pytest.mark.usefixtures("no_pictures")


# Models


def test_the_packaged_models_are_the_table() -> None:
    assert config_groups()["model"] == sorted(MODELS)


@pytest.mark.parametrize(("section", "kind"), [(GPTModelConfig, GPTConfig), (LlamaModelConfig, LlamaConfig)])
def test_a_section_has_the_settings_and_defaults_of_its_model(section: Any, kind: Any) -> None:
    own = {field.name: field.default for field in dataclasses.fields(kind)}
    assert settings(section).keys() - {"name"} == own.keys() - {"vocab_size", "block_size"}
    assert section().shape(vocab_size=7, block_size=5) == kind(vocab_size=7, block_size=5)
    assert all(getattr(section(), name) == own[name] for name in settings(section).keys() - {"name"})


@pytest.mark.parametrize("name", [name for name, kind in MODELS.items() if kind.task == "language_model"])
def test_a_section_makes_its_model(name: str) -> None:
    config = MODEL_CONFIGS[name](n_layer=1, n_head=2, n_embd=8, dropout=0.1)
    model = create_model(config, {"vocab_size": 5, "block_size": 4}, seed=3)
    assert type(model) is MODELS[name][1]
    assert model.config == MODELS[name][0](5, 4, n_layer=1, n_head=2, n_embd=8, dropout=0.1)
    for path, parameter in model.named_parameters():
        np.testing.assert_array_equal(
            parameter.data, dict(type(model)(model.config, seed=3).named_parameters())[path].data
        )


TRAINED_MODELS = {kind.config: name for name, kind in MODELS.items()}
LANGUAGE_MODELS = {kind.config: name for name, kind in MODELS.items() if kind.task == "language_model"}


def test_every_preset_of_a_trained_model_is_an_option() -> None:
    assert config_groups()["preset"] == sorted(name for name, kind in PRESETS.items() if type(kind) in TRAINED_MODELS)


@pytest.mark.parametrize("name", [name for name in trained_presets() if name not in language_presets()])
def test_a_preset_brings_its_task(name: str) -> None:
    data = ["data=labelled_text", "data.path=texts.tsv"] if name.startswith("encoder") else []
    config = compose_config([f"preset={name}", *data])
    assert config.task == MODELS[config.model.name].task
    assert config.model.n_layer == PRESETS[name].n_layer
    with pytest.raises(ConfigError, match=r"recipe says task=language_model and preset says task=\w+: leave one"):
        compose_config([f"preset={name}", "recipe=pydoc"])


@pytest.mark.parametrize("name", language_presets())
@pytest.mark.parametrize("recipe", ["pydoc", "tiny"])
def test_a_preset_has_its_sizes_with_any_recipe(name: str, recipe: str) -> None:
    config = compose_config([f"preset={name}", f"recipe={recipe}"])
    shape = PRESETS[name]
    assert config.model.name == LANGUAGE_MODELS[type(shape)]
    assert config.model.shape(vocab_size=shape.vocab_size, block_size=config.data.block_size) == shape
    assert compose_config([f"preset={name}", "model.n_layer=7"]).model.n_layer == 7, "what is typed wins"


MISTAKES = {
    "unknown preset": (["preset=llama-babi"], r"there is no such preset; did you mean llama-baby\?"),
    "another's setting": (["model.rope_base=500"], "model.rope_base is a setting of llama, not of gpt"),
    "another's, chosen": (
        ["model=llama", "model.bias=true"],
        "model.bias is a setting of encoder, gpt, masked_encoder, vit, not of llama",
    ),
    "unknown model": (["model=lama"], r"there is no such model; did you mean llama\?"),
    "unknown name": (["model.name=lama"], "model.name='lama' is unknown; did you mean 'llama'"),
    "out of range": (["model=llama", "model.eps=0"], "model.eps = 0 must be greater than 0"),
    "odd heads": (["model=llama", "model.n_embd=12"], "model.n_embd / n_head = 3 is odd: .* try n_embd = 16"),
    "no choice": (["model.gelu=fast"], "model.gelu = 'fast': use one of 'tanh', 'exact', 'none'"),
    "shards without a folder": (["data=shards"], r"data.path has to be given; add data.path=PATH"),
    "shards and a tokenizer": (
        ["data=shards", "data.path=x", "data.tokenizer=bpe"],
        "data.tokenizer is a setting of captions, labelled_text, pairs, text, not of shards",
    ),
    "less than no prefetch": (["data.prefetch=-1"], "data.prefetch must be at least 0, got -1"),
    "too hot": (["generation.temperature=-1"], "generation.temperature=-1 must be above 0, or 0"),
    "a word for a number": (["generation.temperature=hot"], r"must be a number, got 'hot' \(str\)$"),
    "no share": (["generation.top_p=2"], "generation.top_p=2 must be above 0 and at most 1"),
    "no prompt": (["generation.prompt=''"], "generation.prompt must be null or a character at least"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name: str) -> None:
    arguments, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        compose_config(arguments)


def test_a_recipes_settings_for_another_model_fall_away() -> None:
    config = compose_config(["recipe=shakespeare_char", "data.path=x", "model=llama", "model.n_layer=3"])
    assert (type(config.model), config.model.n_layer, config.model.n_embd) == (LlamaModelConfig, 3, 128)
    assert type(compose_config(["data=shards", "data.path=x"]).data) is ShardsConfig


def test_files_of_earlier_versions_load() -> None:
    old = {"model": {"name": "gpt", "n_layer": 2, "bias": True}, "data": {"path": "x", "tokenizer": "byte"}}
    config = RunConfig.from_dict(old)
    assert config.model == GPTModelConfig(n_layer=2, bias=True)
    assert config.data == DataConfig(path="x", tokenizer="byte")


def test_a_llama_is_trained_resumed_and_used(tmp_path: Path) -> None:
    llama = {"name": "llama", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_kv_head": 1, "dropout": 0.1}
    for name in ("whole", "again"):
        values = small_config(tmp_path / name).to_dict()
        start_run(RunConfig.from_dict({**values, "model": llama})).train()
    shutil.rmtree(tmp_path / "again/run/checkpoints/step-00000007")
    resume_run(tmp_path / "again/run").train()
    assert outcome(tmp_path / "again/run") == outcome(tmp_path / "whole/run")
    model = load_run(tmp_path / "whole/run").model
    assert type(model) is Llama
    assert model.config.n_kv_head == 1


# Data


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    build_token_shards(tmp_path / "text.txt", ByteTokenizer(), tmp_path / "shards", shard_tokens=300)
    return tmp_path / "shards"


def on_shards(folder: Path, shards: Path, **data: Any) -> RunConfig:
    values = small_config(folder).to_dict()
    return RunConfig.from_dict({**values, "data": {"name": "shards", "path": str(shards), "block_size": 8, **data}})


def test_a_run_on_shards_is_the_run_on_their_text(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens in the same order, from where they lie, batches prepared in the background or not."""
    start_run(small_config(tmp_path / "text", data_tokenizer="byte")).train()
    monkeypatch.chdir(tmp_path)
    run = start_run(on_shards(tmp_path / "shards run", Path("shards"), prefetch=3))
    assert isinstance(run.prepared.data.train, JoinedTokens)
    assert isinstance(run.trainer.setup.data, PrefetchLoader)
    assert not (run.run_dir / "data" / "train.bin").exists()
    run.train()
    monkeypatch.chdir("/")  # the path was relative to the folder where the run began
    assert outcome(run.run_dir) == outcome(tmp_path / "text" / "run")
    assert evaluate_run(run.run_dir) == evaluate_run(tmp_path / "text" / "run")
    assert resume_run(run.run_dir).trainer.state.step == 7


def test_a_run_goes_on_with_the_shards_that_it_began_with_only(tmp_path: Path, shards: Path) -> None:
    run = start_run(on_shards(tmp_path, shards))
    shutil.rmtree(shards)
    with pytest.raises(DataError, match=f"there are no token shards in {shards}"):
        resume_run(run.run_dir)
    (tmp_path / "text.txt").write_text(TEXT[::-1])
    build_token_shards(tmp_path / "text.txt", ByteTokenizer(), shards, shard_tokens=300)
    with pytest.raises(DataError, match=r"or not those that the run in .*run b"):
        resume_run(run.run_dir)


def test_a_damaged_shard_is_found_before_training(tmp_path: Path, shards: Path) -> None:
    content = bytearray((shards / "shard-00002.bin").read_bytes())
    content[5] ^= 1
    (shards / "shard-00002.bin").write_bytes(content)
    with pytest.raises(DataError, match="shard-00002"):
        start_run(on_shards(tmp_path, shards))
    assert not (tmp_path / "run").exists()


def test_text_and_shards_are_not_confused(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(DataError, match=r"shards is a folder of token shards, not of text: add data=shards"):
        start_run(small_config(tmp_path / "a", data_path=str(shards)))
    with pytest.raises(DataError, match="is not a folder of token shards"):
        start_run(on_shards(tmp_path / "b", tmp_path))


def test_a_part_of_joined_tokens_is_a_view() -> None:
    arrays = [np.arange(3), np.arange(3, 4), np.arange(4, 9)]
    joined = JoinedTokens(arrays)
    for start in range(10):
        for stop in range(start, 10):
            part = joined.part(start, stop)
            assert part[:].tolist() == list(range(start, stop))
            assert all(any(np.shares_memory(piece, array) for array in arrays) for piece in part.parts if piece.size)


@pytest.mark.parametrize(
    ("arguments", "tokens"),
    [([], None), (["--tokenizer", "byte"], ByteTokenizer().encode(TEXT)), (["--tokenizer", "bpe"], None)],
)
def test_shards_from_the_command_line(
    tmp_path: Path, arguments: list[str], tokens: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["shards", str(tmp_path / "text.txt"), str(tmp_path / "out"), "--shard-tokens", "700", *arguments]
    assert main(command) == 0
    shards = TokenShards.open(tmp_path / "out")
    said = capsys.readouterr().out
    assert f"{shards.tokens.size:,} tokens" in said
    assert f"minitrain train data=shards data.path={tmp_path / 'out'}" in said
    assert shards.tokenizer.decode(shards.tokens[:]) == TEXT
    if tokens is not None:
        np.testing.assert_array_equal(shards.tokens[:], tokens)
    assert main(command) == 2
    assert "already holds token shards" in capsys.readouterr().err


def test_the_help_of_shards_shows_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "--help"]) == 0
    assert "minitrain train data=shards data.path=books.shards" in capsys.readouterr().out


# The sample


def test_the_sample_is_written_as_the_settings_say(tmp_path: Path) -> None:
    run = start_run(small_config(tmp_path))

    def write(seed: int, **how: Any) -> str:
        run.trainer.setup.key = Key.from_seed(seed)
        trainer = dataclasses.replace(run.config.trainer, sample_tokens=20)
        how_to = dataclasses.replace(run.config, trainer=trainer, generation=GenerationConfig(**how))
        return run.task.sample(how_to, run.trainer.setup, run.prepared)

    assert write(1, prompt="the dog").startswith("the dog")
    assert len(write(1, prompt="the dog")) > len("the dog") + 15
    assert write(1, temperature=0) == write(2, temperature=0) == write(3, top_k=1) == write(4, top_p=1e-6)
    assert write(1) != write(2)
    assert write(1, temperature=0.1) != write(1, temperature=3.0)


def test_a_prompt_that_the_text_cannot_spell_is_refused_before_training(tmp_path: Path) -> None:
    config = small_config(tmp_path, generation_prompt="5 €")
    with pytest.raises(DataError, match="'5'"):
        start_run(config)
    assert not (tmp_path / "run").exists()


def test_a_prompt_is_taken_as_it_stands() -> None:
    assert compose_config(["generation.prompt=To be, or (not) = ${seed}: [x"]).generation.prompt == (
        "To be, or (not) = ${seed}: [x"
    )
    assert json.dumps(compose_config([]).to_dict()["generation"]) == json.dumps(dataclasses.asdict(GenerationConfig()))
