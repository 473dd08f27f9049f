"""Files that nobody of ours wrote: readers raise our own errors, and take no more memory than their size explains."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minitrain.checkpoint import Contents, read_checkpoint, verify_checkpoint
from minitrain.checkpoint.format import write_checkpoint
from minitrain.checkpoint.manifest import CONTENTS
from minitrain.checkpoint.tensors import read_tensors
from minitrain.errors import CheckpointError, ConfigError, MinitrainError
from minitrain.records import read_metrics
from minitrain.runs import RunConfig
from tests.helpers.small_trainers import make

DEEP = 100_000  # levels


def within_memory(read: Callable[[], Any], size: int) -> Any:
    """What ``read`` returns, after a look at the memory it took.

    Parsed JSON may take 100 times its text. Imports at the first call take a megabyte; what is declared falsely in
    these files are gigabytes.
    """
    tracemalloc.start()
    try:
        return read()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * size + 4_000_000, (peak, size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

# Arrays.

sizes = st.integers(0, 6) | st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**30, True, 1.0, None, "2"])
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "U8", "BOOL", "BF16", "F8_E4M3", "f4", "object", ""]) | json_values,
        "shape": st.lists(sizes, max_size=4) | st.just([1] * 70) | json_values,
        "data_offsets": st.tuples(sizes, sizes).map(list) | json_values,
    }
)
good_entries = st.integers(0, 3).map(lambda n: {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]})
headers = st.dictionaries(
    st.text(max_size=4) | st.just("__metadata__"), good_entries | entries | json_values, max_size=3
)
texts = (
    (headers | json_values).map(lambda header: json.dumps(header).encode())
    | st.binary(max_size=60)
    | st.sampled_from(
        [b"[" * DEEP, b'{"a":' * DEEP, b'{"a":{},"a":{}}', b'{"w":{"dtype":"F32","shape":[],"data_offsets":[]}}']
    )
)
lengths = st.none() | st.integers(0, 80) | st.sampled_from([2**31, 2**62, 2**64 - 1, 100_000_001])
data = st.integers(0, 24).map(bytes)


def tensor_file(text: bytes, length: int | None, data: bytes) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


tensor_files = st.builds(tensor_file, texts, lengths, data) | st.binary(max_size=40)


@settings(max_examples=200)
@given(content=tensor_files)
@example(content=b"")
@example(content=tensor_file(b'{"w":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}}', None, b""))
@example(
    content=tensor_file(b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}', None, b"")
)
def test_arrays(folder: Path, content: bytes) -> None:
    path = folder / "any.safetensors"
    path.write_bytes(content)
    try:
        arrays = within_memory(lambda: read_tensors(path), len(content))
    except CheckpointError as error:
        assert str(path) in str(error)
        assert len(str(error)) < 1000
    else:
        assert sum(array.nbytes for array in arrays.values()) <= len(content)


W, DATA = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, bytes(16)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": W, "b": W}, "invalid offset for tensor"),
        ({"a": W, "b": W | {"data_offsets": [9, 17]}}, "invalid offset for tensor"),
        ({"a": W}, "not fully covered"),
        ({"a": W | {"data_offsets": [0, 16]}}, "shape, data type, or offset"),
        ({"a": W | {"shape": [-2]}}, "expected usize"),
        ({"a": W | {"shape": [2**64]}}, "expected usize"),
        ({"a": W | {"dtype": "BF16"}}, "a has the type 'BF16', which NumPy does not have"),
        ([], "its header describes no arrays"),
    ],
)
def test_what_is_wrong_with_arrays_is_said(tmp_path: Path, header: Any, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_file(json.dumps(header).encode(), None, DATA))
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert f"{path} is damaged: " in str(caught.value)
    assert words in str(caught.value)


def test_a_header_longer_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(CheckpointError, match="its header would be longer than the file"):
        within_memory(lambda: read_tensors(path), 10)


# Checkpoints whose manifest vouches for every file: parsing is reached.


def checkpoint(folder: Path, version: Any, files: dict[str, bytes], manifest: Any = "good") -> Path:
    path = folder / "mine"
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    for name, content in files.items():
        (path / name).write_bytes(content)
    entries = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    if manifest == "good":
        manifest = {"format": "minitrain checkpoint", "version": version, "step": 3, "files": entries}
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest, indent=2).encode() + b"\n"
    (path / "manifest.json").write_bytes(text)
    return path


places = st.sampled_from(["w", "", "nowhere"]) | json_values
references = places.map(lambda place: {"__array__": place})
states = st.fixed_dictionaries(
    {"step": st.just(3) | json_values, "optimizer": json_values, "state": json_values},
    optional={"metrics": st.dictionaries(st.text(max_size=3), st.floats() | json_values, max_size=2) | json_values},
) | st.fixed_dictionaries(
    {
        "step": st.just(3),
        "optimizer": st.just({}),
        "state": st.dictionaries(st.text(max_size=3), references | st.lists(references) | json_values, max_size=3),
    }
)
state_files = (
    (states | json_values).map(lambda state: json.dumps(state).encode())
    | st.binary(max_size=50)
    | st.sampled_from(
        [
            b'{"step":3,"optimizer":{},"state":{"a":' + b"[" * depth + b"]" * depth + b"}}"
            for depth in (300, 900, 990, 2000, DEEP)
        ]
    )
)
GOOD = tensor_file(json.dumps({"w": W}).encode(), None, bytes(8))


@settings(max_examples=150)
@given(version=st.sampled_from([1, 2]), state=state_files, arrays=st.just(GOOD) | tensor_files)
def test_checkpoints(folder: Path, version: int, state: bytes, arrays: bytes) -> None:
    files = {name: arrays if name == "extra.safetensors" else GOOD for name in CONTENTS[version]} | {
        "state.json": state
    }
    path = checkpoint(folder, version, files)
    assert verify_checkpoint(path) == 3
    try:
        found = within_memory(lambda: read_checkpoint(path), sum(map(len, files.values())))
    except CheckpointError as error:
        assert len(str(error)) < 1000
    else:
        assert found.step == 3
        assert all(isinstance(value, int | float) for value in found.metrics.values())


entry = st.fixed_dictionaries({"size": st.integers() | json_values, "sha256": st.text(max_size=64) | json_values})
manifests = st.fixed_dictionaries(
    {
        "format": st.just("minitrain checkpoint") | json_values,
        "version": st.integers(0, 4) | json_values,
        "step": st.integers(0, 9) | json_values,
        "files": st.sampled_from([1, 2]).flatmap(lambda v: st.fixed_dictionaries(dict.fromkeys(CONTENTS[v], entry)))
        | json_values,
    }
)


@pytest.mark.parametrize("depth", range(300, 1000, 40))
@pytest.mark.parametrize("file", ["state.json", "manifest.json"])
def test_deep_nesting_that_json_itself_can_read(tmp_path: Path, file: str, depth: int) -> None:
    """Whatever walks over it afterwards may need more of the stack than the parser did."""
    deep = b"[" * depth + b"]" * depth
    state = deep if file == "state.json" else b"1"
    files = dict.fromkeys(CONTENTS[2], GOOD) | {"state.json": b'{"step":3,"optimizer":{},"state":{"a":' + state + b"}}"}
    path = checkpoint(tmp_path, 2, files)
    if file == "manifest.json":
        text = (path / file).read_bytes()
        (path / file).write_bytes(text[:-3] + b',\n  "more": ' + deep + b"\n}\n")
    try:
        found = read_checkpoint(path)
    except CheckpointError as error:
        assert file in str(error)
    else:
        assert (file, found.step) == ("state.json", 3)


@settings(max_examples=150)
@given(manifest=manifests | json_values | st.sampled_from([b"[" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP]))
def test_manifests(folder: Path, manifest: Any) -> None:
    path = checkpoint(folder, 2, dict.fromkeys(CONTENTS[2], GOOD), manifest)
    size = (path / "manifest.json").stat().st_size
    with pytest.raises(CheckpointError):
        within_memory(lambda: verify_checkpoint(path), size + 10_000)


names = st.sampled_from(
    ["trainer", "callbacks", "metrics", "random", "data", "scheduler", "scaler", "step", "JsonlLogger"]
)
trainer_states = st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=6)


@settings(max_examples=60)
@given(changes=trainer_states, numbers=st.none() | st.dictionaries(st.sampled_from(["step", "lr", "x"]), json_values))
def test_states_that_a_trainer_takes_up(folder: Path, changes: dict[str, Any], numbers: Any) -> None:
    trainer = make(None)
    if not (folder / "whole").exists():
        trainer.save_checkpoint(folder / "whole")
    whole = read_checkpoint(folder / "whole")
    path = folder / "taken up"
    path.mkdir(exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    optimizer = whole.optimizer if numbers is None else {**numbers, "moments": whole.optimizer["moments"]}
    write_checkpoint(path, Contents(0, whole.model, optimizer, {**whole.state, **changes}))
    trainer.model.state_dict()["tok_emb.weight"][...] = 7
    before = {name: array.tobytes() for name, array in trainer.model.state_dict().items()}
    state = trainer.state
    try:
        trainer.load_checkpoint(path)
    except MinitrainError:
        assert {name: array.tobytes() for name, array in trainer.model.state_dict().items()} == before
        assert trainer.state is state
    else:
        assert {name: array.tobytes() for name, array in trainer.model.state_dict().items()} != before


# Other files of a run.

lines = st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode())


@settings(max_examples=200)
@given(content=st.lists(lines, max_size=6).map(b"\n".join))
@example(content=b"[" * DEEP)
@example(content=b'{"a": ' + b"9" * 5000 + b"}")
@example(content=b"\xef\xbb\xbf{}\n\x00{\n\xff\xfe")
def test_metrics(folder: Path, content: bytes) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(content)
    records = within_memory(lambda: read_metrics(path), len(content))
    assert all(isinstance(record, dict) for record in records)


LAUGHS = "[&a [x,x,x,x,x,x,x,x,x,x]" + "".join(  # 300 bytes that stand for ten billion entries
    f", &{name} [{','.join(['*' + before] * 10)}]" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
) + "]"  # fmt: skip
known = st.sampled_from(["seed", "run_dir", "device", "model", "data", "trainer", "optimizer", "scheduler"])
settings_values = json_values | st.dictionaries(
    st.sampled_from(["name", "n_layer", "max_steps", "dropout"]), json_values
)
configs = (
    st.dictionaries(known | st.text(max_size=5), settings_values, max_size=4).map(lambda v: yaml.safe_dump(v).encode())
    | st.text(alphabet="ab:- \n\t[]{}&*!|>'\"%@`?,#0", max_size=40).map(str.encode)
    | st.binary(max_size=40)
)


@settings(max_examples=200)
@given(content=configs)
@example(content=b"[" * 600)
@example(content=b"- " * 5000)
@example(content=f"seed: {LAUGHS}".encode())
@example(content=f"model: {LAUGHS}".encode())
@example(content=f"optimizer: {{name: {LAUGHS}}}".encode())
@example(content=f"? {LAUGHS}\n: 1\n".encode())
@example(content=LAUGHS.encode())
@example(content=b"seed: 2001-99-99\n")
@example(content=b"seed: 0x" + b"f" * 9000)
@example(content=b"seed: " + b"9" * 9000)
@example(content=b"seed: 9:9:9:9:9:9:9:9\n")
@example(content=b"model: {n_layer: .nan, dropout: -.inf}\n")
@example(content=b"seed: !!binary ////\n")
@example(content=b"seed: !!python/object/apply:os.system [ls]\n")
@example(content=b"? [a, b]\n: 1\n")
@example(content=b"2: 1\nnull: 3\n")
def test_configs(folder: Path, content: bytes) -> None:
    path = folder / "config.yaml"
    path.write_bytes(content)
    try:
        config = within_memory(lambda: RunConfig.load(path), 20 * len(content) + 100_000)
    except ConfigError as error:
        assert len(str(error)) < 2000
    else:
        assert RunConfig.from_dict(config.to_dict()) == config


def test_a_file_of_ours_passes_the_same_checks(tmp_path: Path) -> None:
    arrays = {"w": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 5)), "scalar": np.array(3, np.int8)}
    path = tmp_path / "c"
    path.mkdir()
    write_checkpoint(path, Contents(1, arrays, {"moments": {}}, {}))
    found = read_tensors(path / "model.safetensors")
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()
    }
