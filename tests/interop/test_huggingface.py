"""Folders of transformers: what goes out comes in again, bit by bit, and what is not understood is refused by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, MinitrainError
from minitrain.interop import load_huggingface, save_huggingface
from minitrain.interop.huggingface import describe_huggingface, read_config
from minitrain.interop.tensor_files import TensorFile, open_tensors, rounded
from minitrain.models import GPTConfig, LlamaConfig, build_model
from minitrain.nn import add_lora, merge_lora
from tests.helpers.interop.published import CONFIGS, SHAPE, output, published
from tests.helpers.model_checks import stir

families = pytest.mark.parametrize("name", CONFIGS)
TOKENS = np.random.default_rng(0).integers(0, 37, (2, 12))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def same_weights(a: Any, b: Any) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for path, weight in a.state_dict().items():
        found = b.state_dict()[path]
        assert found.dtype == weight.dtype == np.float32, path
        assert found.flags.c_contiguous, path
        np.testing.assert_array_equal(found, weight, err_msg=path)


def arrays(folder: Path) -> dict[str, Any]:
    return {name: file.read(name) for name, file in open_tensors(folder).items()}


def edited(folder: Path, **changes: Any) -> None:
    """Change settings of a folder; ``None`` stands in JSON, ``...`` removes one."""
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


@families
def test_a_model_comes_back_as_it_was(name, folder):
    model = published(name)
    assert save_huggingface(model, folder) == name.partition(",")[0].replace("llama 3", "llama")
    again = load_huggingface(folder)
    same_weights(model, again)
    np.testing.assert_array_equal(output(again, TOKENS), output(model, TOKENS))
    expected = dataclasses.asdict(model.config) | {"n_hidden": getattr(again.config, "n_hidden", None)}
    assert dataclasses.asdict(again.config) == {
        key: value for key, value in expected.items() if key in dir(again.config)
    }


@families
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("largest", [10**9, 9_000], ids=["single", "sharded"])
def test_files_come_back_byte_by_byte(name, dtype, largest, folder, tmp_path):
    save_huggingface(published(name), folder, dtype=dtype, largest=largest)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (largest < 10**9)
    save_huggingface(load_huggingface(folder), tmp_path / "again", dtype=dtype, largest=largest)
    for file in folder.rglob("*"):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(folder)).read_bytes() == file.read_bytes(), file


@families
def test_sixteen_bits_are_the_nearest(name, folder, tmp_path):
    model = published(name)
    for dtype, kind in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        save_huggingface(model, folder / dtype, dtype=dtype)
        again = load_huggingface(folder / dtype)
        for path, weight in model.state_dict().items():
            np.testing.assert_array_equal(
                again.state_dict()[path], weight.astype(kind).astype(np.float32), err_msg=path
            )


@pytest.mark.parametrize("name", ["gpt2", "llama, tied", "qwen2"])
def test_tied_weights_are_read_written_either_way(name, folder):
    model = published(name)
    save_huggingface(model, folder, tie_twice=True)
    assert "lm_head.weight" in arrays(folder)
    again = load_huggingface(folder)
    same_weights(model, again)
    assert again.head.weight is again.tok_emb.weight


def test_tied_weights_that_differ_are_refused(folder):
    save_huggingface(published("llama"), folder)
    edited(folder, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"lm_head.weight and model.embed_tokens.weight are one matrix, but the"):
        load_huggingface(folder)


def test_the_prefix_of_names_may_be_missing(folder):
    """Files of GPT-2 itself lack it."""
    model = published("gpt2")
    save_huggingface(model, folder)
    rewrite(folder, {name.removeprefix("transformer."): array for name, array in arrays(folder).items()})
    same_weights(model, load_huggingface(folder))


def rewrite(folder: Path, content: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in content.items()}, folder / "model.safetensors")


def test_the_library_reads_what_is_written(folder):
    from safetensors.numpy import load_file

    for dtype in ("float32", "float16"):
        save_huggingface(published("qwen3"), folder / dtype, dtype=dtype)
        theirs = load_file(folder / dtype / "model.safetensors")
        ours = arrays(folder / dtype)
        assert theirs.keys() == ours.keys()
        for name, array in theirs.items():
            assert array.dtype == ours[name].dtype
            np.testing.assert_array_equal(array, ours[name])


def test_a_gpt_without_biases_is_written_with_zeros(folder):
    model = stir(build_model(GPTConfig(**SHAPE, bias=False)))
    save_huggingface(model, folder)
    again = load_huggingface(folder)
    assert again.config.bias
    np.testing.assert_allclose(output(again, TOKENS), output(model, TOKENS), rtol=1e-5, atol=1e-5)


def test_settings_of_training_can_be_given(folder):
    save_huggingface(published("llama"), folder)
    edited(folder, attention_dropout=0.1)
    with pytest.raises(CheckpointError, match=r"attention_dropout = 0.1"):
        load_huggingface(folder)
    model = load_huggingface(folder, dropout=0.3, loss_chunk=4, block_size=5)
    assert (model.config.dropout, model.config.loss_chunk, model.config.block_size) == (0.3, 4, 5)
    save_huggingface(published("gpt2"), folder / "gpt2")
    edited(folder / "gpt2", attn_pdrop=0.1, resid_pdrop=0.1, embd_pdrop=0.1)
    assert load_huggingface(folder / "gpt2").config.dropout == 0.1
    edited(folder / "gpt2", attn_pdrop=0.2)
    with pytest.raises(CheckpointError, match=r"attn_pdrop, embd_pdrop, resid_pdrop differ"):
        load_huggingface(folder / "gpt2")


def test_a_description_needs_no_weights(folder):
    save_huggingface(published("qwen2"), folder)
    family, config = describe_huggingface(folder)
    assert (family, config.qkv_bias, config.n_kv_head) == ("qwen2", True, 2)


def test_merged_adapters_are_written_and_others_refused(folder):
    model = published("llama")
    add_lora(model, 2, 4.0)
    for path, parameter in model.named_parameters():
        if path.endswith("lora_b"):
            parameter.data[...] = 0.1
    with pytest.raises(CheckpointError, match=r"no place for .*lora.*; call merge_lora\(model\) first"):
        save_huggingface(model, folder)
    merge_lora(model)
    save_huggingface(model, folder)
    same_weights(model, load_huggingface(folder))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LlamaConfig(37, positions="alibi"), "a LlamaConfig with these settings is no model that transformers has"),
        (GPTConfig(37, positions="rotary"), "a GPTConfig with these settings is no model"),
        (GPTConfig(37, n_kv_head=2), "a GPTConfig with these settings is no model"),
        (LlamaConfig(37, qk_norm=True, qkv_bias=True), "is no model that transformers has"),
    ],
)
def test_models_that_no_family_has_are_refused(config, message, folder):
    with pytest.raises(CheckpointError, match=message):
        save_huggingface(build_model(config), folder)
    assert not folder.exists()


def test_a_folder_with_a_model_is_not_overwritten(folder):
    save_huggingface(published("llama"), folder)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"holds a model already: there is config.json in it; give another"):
        save_huggingface(published("gpt2"), folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_weights_too_large_for_a_type_are_refused(folder):
    model = published("llama")
    model.norm.weight.data[3] = 1e6
    with pytest.raises(CheckpointError, match=r"model.norm.weight has numbers that are too large for float16; use"):
        save_huggingface(model, folder, dtype="float16")
    with pytest.raises(CheckpointError, match=r"dtype='int8': weights are written as float32, float16, bfloat16"):
        save_huggingface(model, folder, dtype="int8")
    assert not folder.exists()
    assert np.isnan(rounded(np.array([np.nan, np.inf], np.float32), "float16", "x")[0])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type = 'yarn'; minitrain has default"),
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type = 'dynamic'"),
    ("llama", {"rope_scaling": {"rope_type": "linear"}}, "rope_type = 'linear' needs factor"),
    ("llama", {"rope_scaling": {"rope_type": "default", "mscale": 2.0}}, "'mscale' is not known"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor: minitrain rotates whole heads"),
    ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu', and minitrain's llama has 'silu' alone"),
    ("llama", {"attention_bias": True}, "attention_bias = True"),
    ("llama", {"mlp_bias": True}, "mlp_bias = True"),
    ("llama", {"quantization_config": {"bits": 4}}, r"does not know what quantization_config = \{'bits': 4\} means"),
    ("llama", {"auto_map": {"AutoModel": "x.y"}}, "does not know what auto_map"),
    ("llama", {"num_experts": 8}, "does not know what num_experts = 8 means for a llama"),
    ("llama", {"head_dim": "16"}, "head_dim = '16' must be a whole number"),
    ("llama", {"hidden_size": ...}, "does not say hidden_size"),
    ("llama", {"hidden_size": "32"}, "hidden_size = '32' must be a number"),
    ("llama", {"hidden_size": 32.0}, "n_embd = 32.0 must be a whole number"),
    ("llama", {"num_key_value_heads": 3}, "n_kv_head = 3 does not divide n_head = 4"),
    ("llama", {"rms_norm_eps": 0}, "eps = 0 must be greater than 0"),
    ("llama", {"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes' must be a number"),
    ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "minitrain reads LlamaForCausalLM and LlamaModel"),
    ("llama", {"architectures": "LlamaForCausalLM"}, "minitrain reads LlamaForCausalLM and LlamaModel"),
    ("llama", {"model_type": "gemma"}, "a model of the type 'gemma'; minitrain reads gpt2, llama, mistral"),
    ("llama", {"model_type": ["llama"]}, "a model of the type"),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: all blocks must be"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "layer_types": ...}, "some of"),
    ("qwen2", {"layer_types": ["full_attention"]}, "layer_types: all blocks must be"),
    ("qwen3", {"attention_bias": True}, "attention_bias = True"),
    ("gpt2", {"activation_function": "relu"}, "activation_function = 'relu'; known are gelu_new"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
    ("gpt2", {"n_inner": 64}, "n_inner = 64; it can be 4 n_embd alone"),
    ("gpt2", {"n_ctx": 64}, "n_ctx = 64 differs from n_positions = 12"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
    ("bert", {"hidden_act": "relu"}, "hidden_act = 'relu'; known are gelu"),
    ("bert", {"is_decoder": True}, "is_decoder = True"),
    ("llama", {"num_hidden_layers": 3}, "its settings say 3 layers, but it has|lacks model.layers.2"),
    ("llama", {"num_hidden_layers": 1}, r"has arrays that its settings do not explain: model.layers.1"),
    ("llama", {"num_hidden_layers": 10**15}, "its settings say 1000000000000000 layers, but it has 21 arrays"),
    ("llama", {"vocab_size": 10**12}, r"embed_tokens.weight has shape \(37, 32\), but its settings say"),
    ("llama", {"intermediate_size": 65}, r"gate_proj.weight has shape \(64, 32\), but its settings say \(65, 32\)"),
    ("gpt2", {"n_positions": 13}, r"wpe.weight has shape \(12, 32\)"),
]


@pytest.mark.parametrize(
    ("name", "changes", "message"), REFUSED, ids=[f"{n} {next(iter(c))} {i}" for i, (n, c, _) in enumerate(REFUSED)]
)
def test_what_would_not_be_the_same_model_is_refused(name, changes, message, folder):
    save_huggingface(published(name), folder)
    edited(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_huggingface(folder)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        (
            "llama",
            {"rope_scaling": None, "rope_theta": ..., "rope_parameters": {"rope_theta": 7.0}},
            {"rope_base": 7.0},
        ),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope_scaling": 2.0, "rope_base": 5000.0}),
        ("llama", {"head_dim": ..., "num_attention_heads": 4}, {"head_width": None}),
        ("llama", {"pretraining_tp": 2, "use_cache": False, "eos_token_id": [1, 2]}, {}),
        ("mistral", {"sliding_window": None}, {"window": None}),
        ("mistral", {"sliding_window": ...}, {"window": 4096}),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0, "layer_types": ...},
            {"window": 4},
        ),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2, "layer_types": ...},
            {"window": None},
        ),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 4}, {"window": None}),
        ("gpt2", {"activation_function": "gelu"}, {"gelu": "exact"}),
        ("gpt2", {"n_inner": 128, "summary_type": "mean", "reorder_and_upcast_attn": True}, {"gelu": "tanh"}),
        ("gpt2", {"tie_word_embeddings": ..., "layer_norm_epsilon": ...}, {"tie_weights": True, "eps": 1e-5}),
    ],
)
def test_settings_are_understood_as_transformers_means_them(name, changes, expected, folder):
    save_huggingface(published(name), folder)
    edited(folder, **changes)
    config = load_huggingface(folder).config
    assert {key: getattr(config, key) for key in expected} == expected


def test_how_sentences_become_vectors_is_read(folder):
    for name in ("bert", "bert, pooler", "bert, unused pooler"):
        place = folder / name
        save_huggingface(published(name), place)
        assert (place / "modules.json").exists() == (name != "bert, pooler")
    modules = json.loads((folder / "bert" / "modules.json").read_text())
    assert [step["type"].rpartition(".")[2] for step in modules] == ["Transformer", "Pooling", "Normalize"]
    (folder / "bert" / "modules.json").write_text(json.dumps(modules[:2]))
    assert not load_huggingface(folder / "bert").config.normalize
    (folder / "bert" / "modules.json").write_text(json.dumps([*modules[:2], {"type": "x.Dense"}]))
    with pytest.raises(CheckpointError, match=r"modules.json has the steps Transformer, Pooling, Dense"):
        load_huggingface(folder / "bert")
    (folder / "bert" / "modules.json").unlink()
    assert load_huggingface(folder / "bert").config.pool == "mean"
    pooling = folder / "bert, unused pooler" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}))
    assert load_huggingface(folder / "bert, unused pooler").config.pool == "first"
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(CheckpointError, match=r"pools by pooling_mode_max_tokens; known are pooling_mode_mean_tokens"):
        load_huggingface(folder / "bert, unused pooler")


# Folders that nobody of ours wrote.


def test_pickles_are_refused_with_advice(folder):
    save_huggingface(published("llama"), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin, a pickle, which can run any code .*save_pretrained"):
        load_huggingface(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights: there is no model.safetensors"):
        load_huggingface(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"is not a model of transformers: there is no config.json"):
        load_huggingface(folder)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "x.bin", 3, "a\0.safetensors", "", "no.safetensors"]
)
def test_an_index_names_files_of_its_folder_alone(name, folder):
    save_huggingface(published("llama"), folder, largest=9000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"which is not a safetensors file in this folder|cannot be read"):
        load_huggingface(folder)


def test_an_index_fits_its_files(folder):
    save_huggingface(published("llama"), folder, largest=9000)
    path = folder / "model.safetensors.index.json"
    whole = json.loads(path.read_text())
    for change in ("missing", "elsewhere"):
        index = json.loads(json.dumps(whole))
        files = sorted(set(index["weight_map"].values()))
        if change == "missing":
            del index["weight_map"]["model.norm.weight"]
        else:
            other = next(file for file in files if file != index["weight_map"]["model.norm.weight"])
            index["weight_map"]["model.norm.weight"] = other
        path.write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match=r"does not fit its files: 'model.norm.weight'"):
            load_huggingface(folder)
    shutil.copy(folder / files[0], folder / "copy.safetensors")
    index = json.loads(json.dumps(whole))
    index["weight_map"]["more"] = "copy.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"has an array in two of its files"):
        load_huggingface(folder)
    for text in ("", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}'):
        path.write_text(text)
        with pytest.raises(CheckpointError):
            load_huggingface(folder)


def test_arrays_of_other_types_are_refused(folder):
    save_huggingface(published("llama"), folder)
    content = arrays(folder)
    rewrite(folder, content | {"model.norm.weight": content["model.norm.weight"].astype(np.float64)})
    with pytest.raises(
        CheckpointError, match=r"model.norm.weight has the type float64; weights are float32, float16 or"
    ):
        load_huggingface(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.integers(10**18, 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FUZZED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """A folder of each family, and its settings."""
    found = {}
    for name in CONFIGS:
        place = tmp_path_factory.mktemp("good") / "model"
        save_huggingface(published(name), place)
        found[name] = place, read_config(place)
    return found


@FUZZED
@given(data=st.data())
def test_settings_of_any_kind_load_or_are_refused(data, good):
    """Whatever a setting says, the model is built from arrays that are there, or not at all."""
    place, values = good[data.draw(st.sampled_from(list(CONFIGS)))]
    changes = data.draw(
        st.dictionaries(st.sampled_from(sorted(values)) | st.text(max_size=8), json_values, min_size=1, max_size=3)
    )
    (place / "config.json").write_text(json.dumps(values | changes))
    try:
        model = load_huggingface(place)
    except MinitrainError as error:
        assert len(str(error)) < 2000
    else:
        assert model.parameter_count() * 4 <= sum(file.stat().st_size for file in place.glob("*.safetensors"))
    finally:
        (place / "config.json").write_text(json.dumps(values))


@FUZZED
@given(data=st.data())
def test_damaged_files_are_refused(data, good, tmp_path):
    """Bytes that change, and files that end early: another model, or a message; never anything else."""
    place, _ = good[data.draw(st.sampled_from(list(CONFIGS)))]
    content = bytearray((place / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    target = tmp_path / "fuzzed"
    shutil.copytree(place, target, dirs_exist_ok=True)
    (target / "model.safetensors").write_bytes(content[:end])
    try:
        load_huggingface(target)
    except MinitrainError:
        return
    assert end == len(content)


def test_a_file_that_shrinks_while_it_is_read(folder):
    save_huggingface(published("llama"), folder)
    file = TensorFile(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"has become shorter while it was read"):
        for name in file.entries:
            file.read(name)
