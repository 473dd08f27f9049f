"""GGUF files: blocks of numbers, models out and in again, and files that nobody of ours wrote."""

from __future__ import annotations

import dataclasses
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, MinitrainError
from minitrain.interop import GGUFFile, load_gguf, save_gguf
from minitrain.interop.gguf import blocks
from minitrain.interop.gguf.blocks import Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, block_of, dequantize, quantize_q8_0
from minitrain.interop.gguf.model import is_gguf
from minitrain.interop.table import permuted, unpermuted
from minitrain.models import GPTConfig, LlamaConfig, build_model
from minitrain.testing.strategies import seeds
from tests.helpers.interop.published import IN_GGUF, output, published
from tests.helpers.model_checks import stir

TOKENS = np.random.default_rng(0).integers(0, 37, (2, 12))
families = pytest.mark.parametrize("name", IN_GGUF)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


# Blocks.


def half(two: bytes) -> float:
    return float(np.frombuffer(two, "<f2")[0])


def plain_block(raw: bytes, kind: int) -> list[float]:
    """One block, number by number, as ggml.h describes it."""
    if kind == Q8_0:
        d, values = half(raw[:2]), struct.unpack("32b", raw[2:])
        return [d * q for q in values]
    has_minimum, has_fifth = kind in (Q4_1, Q5_1), kind in (Q5_0, Q5_1)
    d, raw = half(raw[:2]), raw[2:]
    m = 0.0
    if has_minimum:
        m, raw = half(raw[:2]), raw[2:]
    fifth = 0
    if has_fifth:
        fifth, raw = int.from_bytes(raw[:4], "little"), raw[4:]
    found = []
    for i in range(32):
        q = raw[i % 16] >> (0 if i < 16 else 4) & 15 | (fifth >> i & 1) << 4
        found.append(d * q + m if has_minimum else d * (q - (16 if has_fifth else 8)))
    return found


@settings(max_examples=50)
@given(kind=st.sampled_from([Q8_0, Q4_0, Q4_1, Q5_0, Q5_1]), seed=seeds(), count=st.integers(0, 5))
def test_blocks_are_unpacked_as_described(kind, seed, count):
    rng = np.random.default_rng(seed)
    size = block_of(kind)[1]
    raw = rng.integers(0, 256, (count, size), np.uint8)
    for start in (0, 2) if kind in (Q4_1, Q5_1) else (0,):  # scales that are numbers
        raw[:, start : start + 2] = rng.standard_normal((count, 1)).astype("<f2").view(np.uint8)
    found = dequantize(raw.reshape(-1), kind, "x")
    assert found.dtype == np.float32
    expected = [number for block in raw for number in plain_block(block.tobytes(), kind)]
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6, atol=1e-6)


@settings(max_examples=50)
@given(seed=seeds(), scale=st.sampled_from([1e-6, 1.0, 1e4]), rows=st.integers(1, 4))
@example(seed=0, scale=0.0, rows=1)
def test_eight_bits_are_as_near_as_they_can_be(seed, scale, rows):
    x = (scale * np.random.default_rng(seed).standard_normal((rows, 64))).astype(np.float32)
    packed = quantize_q8_0(x)
    assert packed.shape == (rows, 2, 34)
    again = dequantize(packed.reshape(-1), Q8_0, "x").reshape(x.shape)
    largest = abs(x).reshape(rows, 2, 32).max(-1).repeat(32, -1).reshape(x.shape)
    # half a step, and the scale's rounding to float16 (2^-11, or 2^-25 below the normal numbers) times 127 steps
    assert (abs(again - x) <= largest * (0.5 / 127 + 2**-11 + 1e-6) + 127 * 2**-25).all()


def test_sixteen_bits_are_exact():
    numbers = np.array([0, -0.0, 1, 1e-7, 65504, np.inf, -np.inf, np.nan], np.float32)
    for kind, dtype in ((blocks.F16, np.float16), (blocks.BF16, ml_dtypes.bfloat16)):
        with np.errstate(over="ignore"):
            narrow = numbers.astype(dtype)
        np.testing.assert_array_equal(dequantize(narrow.view(np.uint8), kind, "x"), narrow.astype(np.float32))


@given(heads=st.integers(1, 5), half_width=st.integers(1, 4), columns=st.integers(1, 3))
def test_rows_are_permuted_and_back(heads, half_width, columns):
    rows = np.arange(heads * 2 * half_width * columns).reshape(-1, columns)
    there = permuted(rows, heads)
    np.testing.assert_array_equal(unpermuted(there, heads), rows)
    for h in range(heads):
        for i in range(half_width):  # the elements of a rotated pair are neighbours
            start = 2 * half_width * h
            np.testing.assert_array_equal(there[start + 2 * i], rows[start + i])
            np.testing.assert_array_equal(there[start + 2 * i + 1], rows[start + half_width + i])


# Models.


@families
def test_a_model_comes_back_as_it_was(name, path):
    model = published(name)
    save_gguf(model, path, dtype="float32")
    again = load_gguf(path)
    assert again.state_dict().keys() == model.state_dict().keys()
    for key, weight in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], weight, err_msg=key)
    np.testing.assert_array_equal(output(again, TOKENS), output(model, TOKENS))
    ours, theirs = dataclasses.asdict(model.config), dataclasses.asdict(again.config)
    known = ours.keys() - {"n_hidden", "dropout"}
    assert {key: theirs[key] for key in known} == {key: ours[key] for key in known}


@families
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "q8_0"])
def test_files_come_back_byte_by_byte(name, dtype, path):
    """Numbers in eight bits too: a block's largest has the code 127 again."""
    save_gguf(published(name), path, dtype=dtype)
    save_gguf(load_gguf(path), path.with_name("again.gguf"), dtype=dtype)
    first, second = GGUFFile(path), GGUFFile(path.with_name("again.gguf"))
    assert first.metadata == second.metadata
    assert first.tensors == second.tensors
    if dtype != "q8_0":
        assert path.read_bytes() == path.with_name("again.gguf").read_bytes()


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_narrow_types_hold_matrices_and_leave_vectors(name, path):
    model = published(name)
    for dtype, tolerance in (("float16", 2**-10), ("bfloat16", 2**-7), ("q8_0", 0.01)):
        save_gguf(model, path, dtype=dtype)
        again = load_gguf(path)
        for key, weight in model.state_dict().items():
            found = again.state_dict()[key]
            if weight.ndim == 1:
                np.testing.assert_array_equal(found, weight, err_msg=key)
            else:
                assert abs(found - weight).max() <= tolerance * abs(weight).max(), key
                assert not np.array_equal(found, weight), key


def test_rows_that_are_no_whole_blocks_have_sixteen_bits(path):
    model = stir(build_model(LlamaConfig(37, 12, n_layer=1, n_head=2, n_embd=20, n_hidden=32)))
    save_gguf(model, path, dtype="q8_0")
    kinds = {name: tensor.kind for name, tensor in GGUFFile(path).tensors.items()}
    assert kinds["blk.0.attn_q.weight"] == blocks.F16
    assert kinds["blk.0.ffn_down.weight"] == Q8_0
    assert kinds["blk.0.attn_norm.weight"] == blocks.F32
    load_gguf(path)


def test_further_settings_are_kept(path):
    more = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "é", "\udcff"],
        "tokenizer.ggml.scores": np.array([0.5, 1.5], np.float32),
        "tokenizer.ggml.token_type": np.array([1, 3], np.int32),
        "tokenizer.ggml.add_bos_token": False,
        "general.name": "mine",
        "x.count": -5,
        "x.flags": np.array([True, False]),
    }
    save_gguf(published("llama"), path, metadata=more)
    found = GGUFFile(path).metadata
    assert found["general.architecture"] == "llama"
    for key, value in more.items():
        assert np.array_equal(found[key], value), key
    load_gguf(path)
    with pytest.raises(CheckpointError, match=r"the setting x is a dict, which GGUF does not hold"):
        save_gguf(published("llama"), path, metadata={"x": {}})


def test_settings_can_be_given(path):
    save_gguf(published("llama"), path)
    config = load_gguf(path, dropout=0.1, block_size=5).config
    assert (config.dropout, config.block_size) == (0.1, 5)


def test_it_is_seen_what_a_file_is(path, tmp_path):
    save_gguf(published("gpt2"), path)
    assert is_gguf(path)
    assert not is_gguf(tmp_path)
    assert not is_gguf(tmp_path / "nowhere")
    (tmp_path / "text").write_text("GGU")
    assert not is_gguf(tmp_path / "text")


@pytest.mark.parametrize("name", ["mistral", "bert, pooler"])
def test_models_that_gguf_does_not_have_are_refused(name, path):
    with pytest.raises(CheckpointError, match=r"with these settings is no model that GGUF has"):
        save_gguf(published(name), path)
    with pytest.raises(CheckpointError, match=r"is no model that GGUF has"):
        save_gguf(build_model(GPTConfig(37, positions="alibi")), path)
    assert not path.exists()


def test_numbers_that_do_not_fit_are_refused(path):
    model = published("llama")
    model.head.weight.data[0, 0] = 1e30
    for dtype in ("float16", "q8_0"):
        with pytest.raises(CheckpointError, match=r"output.weight has numbers that the type does not hold; use"):
            save_gguf(model, path, dtype=dtype)
    with pytest.raises(CheckpointError, match=r"dtype='q4': weights are written as float32, float16, bfloat16, q8_0"):
        save_gguf(model, path, dtype="q4")
    save_gguf(model, path, dtype="bfloat16")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"general.architecture": "gemma"}, "the architecture 'gemma'; minitrain reads gpt2, llama"),
    ("llama", {"llama.expert_count": np.uint32(8)}, "expert_count = 8, and minitrain has 0 alone"),
    ("llama", {"llama.rope.scaling.type": "yarn"}, "rope.scaling.type = 'yarn'; minitrain has none and linear"),
    ("llama", {"llama.rope.dimension_count": np.uint32(4)}, "rope.dimension_count = 4, but the other settings say 8"),
    ("llama", {"llama.attention.value_length": np.uint32(4)}, "attention.value_length = 4"),
    ("llama", {"llama.vocab_size": np.uint32(99)}, "vocab_size = 99, but the other settings say 37"),
    (
        "llama",
        {"llama.attention.sliding_window": np.uint32(9)},
        "does not know what attention.sliding_window = 9 means",
    ),
    ("llama", {"llama.block_count": np.uint32(1)}, "arrays that its settings do not explain: blk.1"),
    ("llama", {"llama.block_count": np.uint32(10**9)}, "its settings say 1000000000 layers, but it has 21 arrays"),
    (
        "llama",
        {"llama.embedding_length": np.uint32(64)},
        "output_norm.weight has shape|token_embd.weight has shape|lies",
    ),
    (
        "llama",
        {"llama.attention.head_count": np.array([4, 4], np.int32)},
        "head_count must be one number for all layers",
    ),
    ("llama", {"llama.attention.head_count_kv": np.uint32(3)}, "n_kv_head = 3 does not divide n_head = 4"),
    ("llama", {"split.count": np.uint16(3)}, "is one part of several: join them with llama-gguf-split"),
    ("llama 3", {"llama.rope.freq_base": 9.0}, "rope_freqs.weight has factors of a scaling"),
    ("gpt2", {"gpt2.feed_forward_length": np.uint32(100)}, "feed_forward_length = 100; it can be 4"),
    ("gpt2", {"minitrain.gelu": "relu"}, "gelu = 'relu'"),
    ("bert", {"bert.pooling_type": np.uint32(4)}, "pooling_type = 4; known are 1, 2"),
    ("bert", {"bert.attention.causal": True}, "attention.causal = True"),
]


@pytest.mark.parametrize(("name", "more", "message"), REFUSED, ids=[f"{n} {next(iter(m))}" for n, m, _ in REFUSED])
def test_what_would_not_be_the_same_model_is_refused(name, more, message, path, monkeypatch):
    from minitrain.interop.gguf import model as module

    usual = module._metadata
    monkeypatch.setattr(module, "_metadata", lambda *given: usual(*given) | more)
    save_gguf(published(name), path)
    with pytest.raises(CheckpointError, match=message):
        load_gguf(path)


def test_types_of_other_packages_say_what_to_install(path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"x has a type that the package gguf unpacks: .*minitrain\[gguf\]"):
        dequantize(np.zeros(144, np.uint8), 12, "x")


# Files that nobody of ours wrote.

FUZZED = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = {}
    for name in IN_GGUF:
        place = tmp_path_factory.mktemp("good") / "model.gguf"
        save_gguf(published(name), place, dtype="q8_0", metadata={"tokenizer.ggml.tokens": ["a", "b"]})
        found[name] = place.read_bytes()
    return found


def load_bounded(path: Path) -> Any:
    """The model, after a look at the memory that it took: eight bits become 32."""
    tracemalloc.start()
    try:
        return load_gguf(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * path.stat().st_size + 4_000_000, peak


@FUZZED
@given(data=st.data())
def test_damaged_files_are_refused(data, good, path):
    """Bytes that change, and files that end early: another model, or a message; never anything else."""
    content = bytearray(good[data.draw(st.sampled_from(IN_GGUF))])
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, 2500) | st.integers(0, len(content) - 1))
        content[min(place, len(content) - 1)] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    path.write_bytes(content[:end])
    try:
        load_bounded(path)
    except MinitrainError as error:
        assert len(str(error)) < 2000


@FUZZED
@given(
    content=st.binary(max_size=200),
    counts=st.tuples(*[st.integers(0, 3) | st.sampled_from([2**31, 2**62, 2**64 - 1])] * 2),
)
@example(content=struct.pack("<QIIQ", 0, 9, 8, 2**60), counts=(0, 1))
@example(content=struct.pack("<QIIQ", 0, 9, 9, 2), counts=(0, 1))
@example(content=struct.pack("<QIQQQQQIQ", 0, 4, 2**62, 2**62, 2**62, 2**62, 0, 0, 0), counts=(1, 0))
@example(content=struct.pack("<QIIQ", 0, 0, 0, 0), counts=(1, 0))
def test_any_header_is_read_or_refused(content, counts, path):
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + content)
    with pytest.raises(MinitrainError):
        load_bounded(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends within its header"),
        (b"GGML" + bytes(20), "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "has version 1; versions 2 and 3 are read"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "it would have 1,099,511,627,776 things"),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 2)
            + 2 * (struct.pack("<Q", 1) + b"a" + struct.pack("<IB", 0, 1))
            + bytes(9),
            "'a' stands in it twice",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"\xff" + bytes(20), "a name is not UTF-8"),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 1, 0)
            + struct.pack("<Q", 1)
            + b"a"
            + struct.pack("<IIQ", 0, 99, 0)
            + bytes(20),
            "a has the unknown type 99",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 1, 0)
            + struct.pack("<Q", 1)
            + b"a"
            + struct.pack("<IQIQ", 1, 99, 0, 0)
            + bytes(99),
            "a lies outside of the file",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 1, 0)
            + struct.pack("<Q", 1)
            + b"a"
            + struct.pack("<IQIQ", 1, 31, 2, 0)
            + bytes(99),
            "no multiple of 32",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 1, 0)
            + struct.pack("<Q", 1)
            + b"a"
            + struct.pack("<IQIQ", 5, 31, 2, 0)
            + bytes(99),
            "would have 5 axes",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content, message, path):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        GGUFFile(path)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file"):
        GGUFFile(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"cannot be read"):
        GGUFFile(tmp_path)
