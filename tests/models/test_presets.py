"""Presets, and what ``minitrain info MODEL`` says of them: parameters, arithmetic, memory."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minitrain.benchmark.sizes import SIZES, step_flops
from minitrain.cli import main
from minitrain.errors import ConfigError
from minitrain.models.flops import TRAINING, visible_pairs
from minitrain.models.presets import PRESETS, build_model
from minitrain.models.summary import summarize
from minitrain.nn import PatchEmbedding
from minitrain.ops.attention import attention, pointer
from minitrain.ops.images import conv2d
from minitrain.ops.linear import gelu_linear, linear
from minitrain.runs import RunConfig, start_run
from tests.helpers.model_zoo import KINDS


class Counter:
    """Counts the operations of products with weights and of attention while a model runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.products = self.attention = 0
        for module, name in ((linear, "linear"), (gelu_linear, "gelu_linear")):
            self._watch(monkeypatch, module, f"{name}_forward", self._forward)
            self._watch(monkeypatch, module, f"{name}_backward", self._backward)
        self._watch(monkeypatch, conv2d, "conv2d_forward", self._convolution)
        self._watch(monkeypatch, conv2d, "conv2d_backward", self._convolution_backward)
        self._watch(monkeypatch, pointer, "pointer_forward", self._pointer)
        self._watch(monkeypatch, pointer, "pointer_backward", self._pointer_backward)
        self._watch(monkeypatch, attention, "attention_forward", self._attention)
        self._watch(monkeypatch, attention, "attention_backward", self._attention_backward)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, home: ModuleType, name: str, count: Any) -> None:
        """Let every module of minitrain that imported the function call ``count`` too."""
        function = getattr(home, name)

        def counted(*args: Any, **options: Any) -> Any:
            count(*args, **options)
            return function(*args, **options)

        for module in list(sys.modules.values()):
            ours = getattr(module, "__name__", "").startswith(("minitrain.nn", "minitrain.models"))
            if ours and hasattr(module, name):
                monkeypatch.setattr(module, name, counted)

    def _forward(self, x: Any, weight: Any, *_: Any, **__: Any) -> None:
        self.products += 2 * x.size * weight.shape[0]  # (R, K) by (K, N)

    def _backward(self, dout: Any, cache: Any, *, into: Any = None) -> None:
        products = 2 if into is None else sum(target is None or hasattr(target, "buffer") for target in into[:2])
        self.products += products * 2 * dout.size * cache.weight.shape[1]  # (R, N) by (N, K), and its transpose by x

    def _convolution(self, x: Any, weight: Any, *_: Any, stride: int, **__: Any) -> None:
        self.products += 2 * len(x) * math.prod(-(-side // stride) for side in x.shape[2:]) * weight.size

    def _convolution_backward(self, dout: Any, cache: Any, **_: Any) -> None:
        self.products += 2 * 2 * dout.size * cache.weight[0].size

    def _pointer(self, logits: Any, q: Any, k: Any, *_: Any, **__: Any) -> None:
        self.products += 2 * q.size * k.shape[1]  # (T, C) by (C, S)

    def _pointer_backward(self, dout: Any, cache: Any, **_: Any) -> None:
        self.products += 2 * 2 * cache.q.size * cache.k.shape[1]  # dq and dk

    def _attention(self, q: Any, k: Any, v: Any, *, causal: bool = False, window: Any = None, **_: Any) -> None:
        (B, T, H, D), S = q.shape, k.shape[1]
        pairs = visible_pairs_counted(T, S, causal, window)
        self.attention += B * H * pairs * (2 * D + 2 * D)  # Q K^T, and P V

    def _attention_backward(self, dout: Any, cache: Any, **_: Any) -> None:
        (B, T, H, D), S = cache.q.shape, cache.k.shape[1]
        pairs = visible_pairs_counted(T, S, cache.causal, cache.window)
        self.attention += B * H * pairs * 4 * 2 * D  # dV, dP, dQ and dK; that P is computed again does not count


def visible_pairs_counted(T: int, S: int, causal: bool, window: int | None) -> int:
    """Pairs (t, s) that may attend, counted one by one."""
    return sum(
        (not causal or s <= t + S - T) and (window is None or abs(t + S - T - s) < window)
        for t in range(T)
        for s in range(S)
    )


def longest(kind: Any, config: Any) -> Any:
    """A batch of the longest samples the model takes: what ``forward_flops`` counts."""
    batch = kind.batch(2)
    size = getattr(config, "block_size", None)
    rng = np.random.default_rng(0)
    if hasattr(batch, "source"):
        return type(batch)(rng.integers(1, 10, (2, size)), rng.integers(1, 10, (2, size + 1)))
    if hasattr(batch, "images"):
        return batch._replace(texts=rng.integers(1, 10, (2, size + 1)))
    if size is None:
        return batch
    targets = rng.integers(0, 5, (2, size) if batch.targets.ndim == 2 else 2)
    return type(batch)(rng.integers(0, 10, (2, size)), targets)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_flops_are_those_of_the_products_that_run(kind, monkeypatch):
    """Forward and backward of two samples, with every call of a product counted by its shapes."""
    model = kind.build(n_layer=3)
    flops, counter = summarize(model).flops, Counter(monkeypatch)
    _, cache = model.loss(longest(kind, model.config))
    assert (counter.products, counter.attention) == (2 * flops.products, 2 * flops.attention)
    model.loss_backward(cache)
    spared = 0
    if isinstance(getattr(model, "patch_emb", None), PatchEmbedding):  # images need no gradient
        spared = 2 * 2 * model.patches * model.patch_emb.project.weight.data.size
    assert counter.products == TRAINING * 2 * flops.products - spared
    assert counter.attention == TRAINING * 2 * flops.attention


def test_six_flops_a_weight_and_token():
    """Kaplan et al., 2020: 2 N a token forward, 6 N in a step, for the N weights of matrices that multiply."""
    model = build_model("gpt-char")
    N = sum(p.data.size for path, p in model.named_parameters() if p.data.ndim == 2 and path != "pos_emb.weight")
    flops = summarize(model).flops
    assert flops.products == 2 * N * flops.tokens
    assert flops.attention == 4 * (4 * 128 * 64 * 65 // 2)  # 4 layers, 4 C a pair


@pytest.mark.parametrize("size", ["char", "baby"])
def test_benchmarks_count_the_same_work(size):
    """They write the formula out for their models; a preset has each one's shape."""
    flops = summarize(build_model(f"gpt-{size}")).flops
    bench = SIZES[size]
    assert bench.model().items() <= vars(PRESETS[f"gpt-{size}"]).items()
    assert step_flops(bench) == (
        TRAINING * bench.batch_size * flops.products,
        TRAINING * bench.batch_size * flops.attention,
    )


def test_parameters_by_part():
    """GPT-2's numbers, by hand, for another size: every weight is in one part, the tied head in the embedding."""
    summary = summarize(build_model("gpt-char"))
    C, L, V, T = 128, 4, 65, 64
    assert summary.parameters == {
        "embedding": V * C + T * C,
        "attention": L * 4 * C * C,
        "feed-forward": L * 8 * C * C,
        "norms": (2 * L + 1) * C,
    }
    assert summary.training_bytes == 16 * summary.parameter_count
    parts = summarize(build_model("vit-digits")).parameters
    assert parts["head"] == 64 * 10 + 10
    assert parts["embedding"] == (16 * 64 + 64) + 64 + 5 * 64
    assert summarize(build_model("mlp-moons")).parameters == {"linear layers": 337}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_parts_are_all_of_the_model(kind):
    model = kind.build()
    summary = summarize(model)
    assert summary.parameter_count == model.parameter_count()
    assert all(summary.parameters.values())


# Published counts: DeiT's smallest (Touvron et al., 2020, table 1) and Karpathy's stories15M.
@pytest.mark.parametrize(("name", "millions"), [("vit-tiny", 5.7), ("llama-15m", 15.2)])
def test_presets_have_the_published_size(name, millions):
    assert round(build_model(name).parameter_count() / 1e6, 1) == millions


def test_a_preset_with_a_seed_and_a_dtype():
    model = build_model("gpt-nano", seed=3, dtype=np.float64)
    assert model.parameters()[0].data.dtype == np.float64
    other = build_model("gpt-nano", seed=4, dtype=np.float64)
    assert not np.array_equal(model.parameters()[0].data, other.parameters()[0].data)
    assert model.config is PRESETS["gpt-nano"]


def test_an_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="there is no preset 'gtp2'; did you mean gpt2"):
        build_model("gtp2")
    with pytest.raises(ConfigError, match="there are gpt-nano, gpt-char"):
        build_model("zzz")


def test_info_of_a_preset(capsys):
    assert main(["info", "vit-digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line[:28].strip(): line[28:].strip() for line in lines}
    assert rows["model"] == "vit-digits (ViT)"
    assert rows["parameters"] == "102,218"
    assert rows["feed-forward"] == "66,176 (64.7%)"
    assert rows["FLOPs per token"] == "201.06 k forward, 603.19 k in a training step"
    assert rows["FLOPs per sample"] == "1.01 M forward, of 5 tokens"
    assert rows["AdamW's moments"] == "818 kB"
    assert rows["memory of training"] == "1.6 MB, without activations"


def test_info_of_a_run(tmp_path, capsys, no_pictures):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    config = {
        "run_dir": str(tmp_path / "run"),
        "data": {"path": str(tmp_path / "text.txt"), "block_size": 8},
        "model": {"n_layer": 1, "n_head": 1, "n_embd": 8},
        "trainer": {"max_steps": 1, "batch_size": 2, "sample_tokens": 0},
        "scheduler": {"warmup_steps": 0},
    }
    run = start_run(RunConfig.from_dict(config))
    run.train()
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run")]) == 0
    assert f"{run.trainer.model.parameter_count():,}" in capsys.readouterr().out.splitlines()[1]


def test_info_of_something_unknown(tmp_path, capsys):
    assert main(["info", "gpt-chra"]) == 2
    said = capsys.readouterr().err
    assert "'gpt-chra' is neither a preset, the folder of a run, nor a published model; did you mean gpt-char?" in said
    assert main(["info", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_pairs_of_a_window():
    for length in range(7):
        assert visible_pairs(length) == visible_pairs_counted(length, length, True, None)
        for window in range(1, 8):
            assert visible_pairs(length, window) == visible_pairs_counted(length, length, True, window)
