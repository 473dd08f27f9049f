"""Files: written whole, checked first, with large weights beside them; what cannot be exported is refused by name."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from minitrain.errors import ConfigError, MinitrainError
from minitrain.files import FileError
from minitrain.interop.onnx import check_onnx, export, export_onnx, writing
from minitrain.models import GPT, DualEncoder, GPTConfig, Llama, LlamaConfig
from minitrain.nn import FeedForward, Linear, MixtureOfExperts, add_lora, merge_lora
from tests.helpers.interop.onnx_graphs import assert_near, in_runtime
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


CONFIG = GPTConfig(vocab_size=13, block_size=9, n_layer=2, n_head=2, n_embd=8)
TOKENS = np.random.default_rng(0).integers(0, 13, (2, 9))


@pytest.fixture
def model():
    return stir(GPT(CONFIG))


@pytest.fixture
def beside(monkeypatch):
    """All but small constants lie in a second file."""
    monkeypatch.setattr(writing, "LARGEST_INSIDE", 0)
    monkeypatch.setattr(writing, "SMALL", 100)


@pytest.mark.parametrize("opset", [23, 17])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "seq2seq, pointer"])
def test_every_kind_of_model_is_exported_and_checked(name, cache, opset, tmp_path):
    model = stir(KINDS[name].build())
    paths = export_onnx(model, tmp_path / "new" / "model.onnx", opset=opset, cache=cache)
    parts = ["model.onnx"]
    if "clip" in name:
        parts = ["model.image.onnx", "model.text.onnx"]
    elif cache and ("seq2seq" in name or "captioner" in name):
        parts = ["model.encoder.onnx", "model.decoder.onnx"]
    assert [path.name for path in paths] == parts
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(parts)
    for reference in (False, True):
        assert check_onnx(model, tmp_path / "new" / "model.onnx", cache=cache, opset=opset, reference=reference) < 1e-5


@pytest.mark.parametrize("cache", [True, False])
def test_a_pointer_is_refused(cache, tmp_path):
    model = KINDS["seq2seq, pointer"].build()
    with pytest.raises(ConfigError, match=r"pointer, a PointerHead, cannot be exported to ONNX: .* pointer=False"):
        export_onnx(model, tmp_path / "model.onnx", cache=cache)
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_says_of_itself(model, tmp_path):
    for opset, version in ((23, 11), (17, 8)):
        (path,) = export_onnx(model, tmp_path / "model.onnx", opset=opset)
        loaded = onnx.load(path)
        assert loaded.ir_version == version
        assert [(one.domain, one.version) for one in loaded.opset_import] == [("", opset)]
        texts = {entry.key: entry.value for entry in loaded.metadata_props}
        assert texts["model"] == "GPT"
        assert GPTConfig(**json.loads(texts["config"])) == CONFIG


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    first = export_onnx(model, tmp_path / "a.onnx")[0].read_bytes()
    assert export_onnx(model, tmp_path / "b.onnx")[0].read_bytes() == first


@pytest.mark.usefixtures("beside")
def test_large_weights_lie_in_a_second_file(model, tmp_path):
    (path,) = export_onnx(model, tmp_path / "model.onnx", cache=False)
    (second,) = tmp_path.glob("model.onnx.*.data")
    assert path.stat().st_size < second.stat().st_size
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (path, second):
        file.rename(moved / file.name)
    found = in_runtime(str(moved / "model.onnx"))({"input_ids": TOKENS})["logits"]
    assert_near(found, model.forward(TOKENS)[0])
    model.tok_emb.weight.data[0] += 1
    with pytest.raises(MinitrainError, match=r"differs from the model: 7 tokens, batch 1: by .* of the largest"):
        check_onnx(model, moved / "model.onnx", cache=False)


@pytest.mark.usefixtures("beside")
def test_a_new_export_takes_the_place_of_both_files(model, tmp_path):
    export_onnx(model, tmp_path / "model.onnx")
    (tmp_path / "other.onnx.0123456789abcdef.data").write_text("of another model")
    before = {path.name for path in tmp_path.iterdir()}
    model.tok_emb.weight.data[0] += 1
    export_onnx(model, tmp_path / "model.onnx")
    after = {path.name for path in tmp_path.iterdir()}
    assert len(before) == len(after) == 3
    assert len(before & after) == 2
    assert check_onnx(model, tmp_path / "model.onnx") < 1e-5


@pytest.mark.usefixtures("beside")
def test_an_export_that_fails_its_check_leaves_the_older_one(model, tmp_path, monkeypatch):
    export_onnx(model, tmp_path / "model.onnx")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for scale in (1.0, 2.0):  # with the same weights, and with others
        model.tok_emb.weight.data *= scale
        with monkeypatch.context() as patch, pytest.raises(MinitrainError, match="differs from the model"):
            patch.setattr(type(model.blocks[0].feed_forward), "forward", lambda self, x, key=None: (x, None))
            patch.delattr(type(model.blocks[0].feed_forward), "forget_input")
            export_onnx(model, tmp_path / "model.onnx")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_file_is_not_valid(model, tmp_path):
    (path,) = export_onnx(model, tmp_path / "model.onnx")
    loaded = onnx.load(path)
    del loaded.graph.node[3]
    path.write_bytes(loaded.SerializeToString())
    with pytest.raises(MinitrainError, match="is not valid ONNX"):
        check_onnx(model, path)


def test_a_place_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        export_onnx(model, tmp_path / "file" / "model.onnx")


def test_adapters_have_to_be_merged(model, tmp_path):
    add_lora(model, rank=2, alpha=4)
    with pytest.raises(ConfigError, match=r"blocks.0.attention.qkv, a LoRALinear, cannot .*merge_lora\(model\)"):
        export_onnx(model, tmp_path / "model.onnx")
    merge_lora(model)
    export_onnx(model, tmp_path / "model.onnx")


def test_a_mixture_of_experts_is_refused(model, tmp_path):
    rng = np.random.default_rng(0)
    model.blocks[1].feed_forward = MixtureOfExperts(8, [FeedForward(8, 8, rng)] * 2, rng, k=1)
    with pytest.raises(ConfigError, match=r"blocks.1.feed_forward, a MixtureOfExperts, cannot .* routing"):
        export_onnx(model, tmp_path / "model.onnx")


def test_other_parts_and_models_are_refused(model, tmp_path):
    class Doubled(Linear):
        def forward(self, x, *, key=None):
            out, cache = super().forward(x, key=key)
            return 2 * out, cache

    class Twice(GPT):
        def forward_hidden(self, tokens, *, key=None):
            x, cache = super().forward_hidden(tokens, key=key)
            return 2 * x, cache

    path, rng = tmp_path / "model.onnx", np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"Twice cannot .* it has a forward_hidden of its own, and only that of"):
        export_onnx(Twice(CONFIG), path)
    with pytest.raises(ConfigError, match=r"Linear cannot be exported to ONNX: only Decoder or Seq2Seq or .*MLP can"):
        export_onnx(Linear(2, 2, rng), path)
    with pytest.raises(ConfigError, match=r"tok_emb.weight is float64, .*dtype=np.float32"):
        export_onnx(GPT(CONFIG, dtype=np.float64), path)
    both = DualEncoder(KINDS["vit"].build(), KINDS["encoder"].build())
    with pytest.raises(ConfigError, match=r"export its encoders, model.image and model.text"):
        export_onnx(both, path)
    llama = Llama(LlamaConfig(vocab_size=13, n_embd=16))
    llama.blocks[0].attention.softcap = 5.0
    with pytest.raises(ConfigError, match=r"softcap = 5.0: only softcap = None can"):
        export_onnx(llama, path)
    model.blocks[0].feed_forward.up = Doubled(8, 32, rng)
    with pytest.raises(ConfigError, match=r"blocks.0.feed_forward.up, a Doubled, cannot .*only Linear can"):
        export_onnx(model, path)
    with pytest.raises(ConfigError, match=r"opset = 20: use 23, or 17"):
        export_onnx(GPT(CONFIG), path, opset=20)
    assert not list(tmp_path.iterdir())


def test_without_the_package_a_message_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[onnx\]'"):
        export_onnx(model, tmp_path / "model.onnx")


def test_without_a_runtime_the_evaluator_of_onnx_checks(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    export_onnx(model, tmp_path / "model.onnx")
    found = check_onnx(model, tmp_path / "model.onnx", reference=True)
    assert found == check_onnx(model, tmp_path / "model.onnx") < 1e-5


def test_a_check_can_be_left_out(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_check", lambda *_, **__: pytest.fail("it ran"))
    assert export_onnx(model, tmp_path / "model.onnx", check=False)[0].exists()
