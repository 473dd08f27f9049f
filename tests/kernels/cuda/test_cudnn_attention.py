"""Attention by cuDNN, here a stand-in: results, what is left to our kernels, rules, graphs; and the real package."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.backend.precision import half_dtype, use_precision
from minitrain.backend.targets import SKIP, Into
from minitrain.errors import ConfigError, DeviceError
from minitrain.kernels.cuda.attention import cudnn_graphs
from minitrain.kernels.cuda.attention.engine import attention_library, use_attention_engine
from minitrain.ops import attention_backward, attention_forward
from minitrain.random import Key
from minitrain.testing.cuda.cudnn import FakeCudnn, FakeCudnnError
from minitrain.testing.cuda.fake import EmulatedDevice, emulated_device
from minitrain.testing.cuda.fake.products import emulated_cudnn as library
from tests.helpers.cuda import needs_compiler

pytestmark = needs_compiler
SIZES = {"self": (2, 9, 9, 4, 4, 16), "groups": (1, 6, 6, 4, 2, 8), "cross": (2, 5, 11, 2, 2, 24)}


class Place(SimpleNamespace):
    device: EmulatedDevice
    library: FakeCudnn


@pytest.fixture
def place() -> Iterator[Place]:
    with emulated_device() as device:
        fake = library()
        with use_attention_engine("cudnn", fake), use_precision("bfloat16"):
            yield Place(device=device, library=fake)
            cudnn_graphs.close_engines()
        assert not any(handle.alive for handle in fake.handles)


def arrays(name: str, seed: int = 0) -> list[np.ndarray]:
    B, T, S, H, G, D = SIZES[name]
    rng = np.random.default_rng(seed)
    shapes = ((B, T, H, D), (B, S, G, D), (B, S, G, D), (B, T, H, D))
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def close(found: Any, expected: np.ndarray, gap: float = 2e-2) -> None:
    """Both round operands to bfloat16; cuDNN rounds its results too."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=gap * np.abs(expected).max())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_results_are_those_of_the_reference(place: Place, name: str, causal: bool) -> None:
    if causal and name == "cross":
        pytest.skip("left to our kernels")
    q, k, v, dout = arrays(name)
    expected, kept = attention_forward.reference(q, k, v, causal=causal, scale=0.3)
    there = [place.device.cupy.asarray(x) for x in (q, k, v)]
    with place.device.counting() as counts:
        out, cache = attention_forward(*there, causal=causal, scale=0.3)
    assert (counts.synchronisations, counts.to_host) == (0, 0), counts.where
    close(out, expected)
    np.testing.assert_allclose(cache.lse.get(), kept.lse, rtol=1e-4, atol=1e-4)
    assert cache.out.dtype == cache.q.dtype == half_dtype("bfloat16")
    gradients = attention_backward(place.device.cupy.asarray(dout), cache)
    for found, wanted in zip(gradients[:3], attention_backward.reference(dout, kept)[:3], strict=True):
        close(found, wanted)
    assert place.library.executed == ["sdpa", "sdpa_backward"]


def test_views_of_one_packed_array_are_read_in_place(place: Place) -> None:
    packed = np.random.default_rng(0).standard_normal((2, 6, 3, 4, 16), np.float32)
    half = place.device.cupy.asarray(packed.astype(half_dtype("bfloat16")))
    q, k, v = (half[:, :, i] for i in range(3))
    out, _ = attention_forward(q, k, v)
    wide = packed.astype(half_dtype("bfloat16")).astype(np.float32)
    expected, _ = attention_forward.reference(*(wide[:, :, i] for i in range(3)))
    close(out, expected)


def test_gradients_go_where_targets_say(place: Place) -> None:
    cp = place.device.cupy
    *inputs, dout = (cp.asarray(x) for x in arrays("self"))
    _, cache = attention_forward(*inputs, causal=True)
    plain = [x.get() for x in attention_backward(dout, cache)[:3]]
    added = cp.asarray(np.full(inputs[1].shape, 2.0, np.float32))
    found = attention_backward(dout, cache, into=(SKIP, Into(added, accumulate=True), None, SKIP))
    assert found[0] is None
    np.testing.assert_array_equal(added.get(), plain[1] + np.float32(2))
    np.testing.assert_array_equal(found[2].get(), plain[2])


def test_two_runs_have_the_same_bytes_and_one_graph(place: Place) -> None:
    *inputs, dout = (place.device.cupy.asarray(x) for x in arrays("self"))
    runs = []
    for _ in range(2):
        out, cache = attention_forward(*inputs, causal=True)
        runs.append([x.get().tobytes() for x in (out, *attention_backward(dout, cache)[:3])])
    assert runs[0] == runs[1]
    assert place.library.built == ["sdpa", "sdpa_backward"]


LEFT: dict[str, Any] = {
    "a window": {"causal": True, "window": 3},
    "key lengths": {"key_lengths": np.array([4, 9])},
    "dropout": {"dropout": 0.5, "key": Key.from_seed(0)},
}


@pytest.mark.parametrize("what", LEFT)
def test_what_cudnn_does_not_take_is_not_asked_of_it(what: str) -> None:
    options = LEFT[what] | {}
    q, k, _, _ = (x.astype(half_dtype("bfloat16")) for x in arrays("self"))
    drops = options.get("dropout", 0) > 0
    wanted = {"causal": options.get("causal", False), "window": options.get("window"), "drops": drops}
    assert not cudnn_graphs.takes(q, k, key_lengths=options.get("key_lengths"), **wanted)
    plain: Any = {"causal": True, "window": None, "key_lengths": None, "drops": False}
    assert cudnn_graphs.takes(q, k, **plain)
    assert not cudnn_graphs.takes(q.astype(np.float32), k, **plain)
    assert not cudnn_graphs.takes(q[..., :12], k[..., :12], **plain)
    assert not cudnn_graphs.takes(q[:, :5], k, **plain)  # causal, and more keys than queries
    assert not cudnn_graphs.takes(q[:, :1], k[:, :1], **plain)  # one query: decoding has kernels of its own


def test_what_cudnn_declines_goes_on_without_it() -> None:
    with emulated_device() as device, use_precision("bfloat16"):
        fake = library(unsupported=lambda operation: operation == "sdpa")
        x = [device.cupy.asarray(a) for a in arrays("self")[:3]]
        half = [a.astype(half_dtype("bfloat16")) for a in x]
        assert cudnn_graphs.forward(fake, *half, causal=True, scale=0.25) is None
        assert cudnn_graphs.forward(fake, *half, causal=True, scale=0.25) is None  # asked once
        assert fake.executed == []
        cudnn_graphs.close_engines()


def test_a_graph_of_the_step_has_the_same_bytes(place: Place) -> None:
    cp = place.device.cupy
    inputs = [cp.asarray(x).astype(half_dtype("bfloat16")) for x in arrays("self")[:3]]
    stream = cp.cuda.Stream(non_blocking=True)
    cp.cuda.get_current_stream().synchronize()
    with stream:
        plain, lse = cudnn_graphs.forward(place.library, *inputs, causal=True, scale=0.25)
        stream.begin_capture()
        again, _ = cudnn_graphs.forward(place.library, *inputs, causal=True, scale=0.25)
        graph = stream.end_capture()
        again[...] = 0
        graph.launch(stream)
        stream.synchronize()
    assert again.get().tobytes() == plain.get().tobytes()
    assert lse.dtype == np.float32


def test_a_form_that_is_new_in_a_capture_is_refused(place: Place) -> None:
    cp = place.device.cupy
    inputs = [cp.asarray(x).astype(half_dtype("bfloat16")) for x in arrays("self")[:3]]
    stream = cp.cuda.Stream(non_blocking=True)
    cp.cuda.get_current_stream().synchronize()
    with stream:
        stream.begin_capture()
        with pytest.raises(DeviceError, match="new for cuDNN while a graph is captured, and its graph must be built"):
            cudnn_graphs.forward(place.library, *inputs, causal=True, scale=0.25)
        stream.end_capture()


class Saboteur(FakeCudnn):
    """A stand-in that is called wrongly in one way."""

    def __init__(self, mistake: str, **options: Any) -> None:
        super().__init__(**options)
        self.mistake = mistake

    def set_stream(self, *, handle: Any, stream: int) -> None:
        super().set_stream(handle=handle, stream=stream + (self.mistake == "another stream"))

    def pygraph(self, **options: Any) -> Any:
        graph, mistake = super().pygraph(**options), self.mistake
        whole: Any = {name: getattr(graph, name) for name in ("tensor", "sdpa_backward", "validate", "execute", "sdpa")}

        def tensor(**given: Any) -> Any:
            if mistake == "strides are not told" and given["name"] == "q":
                _, H, T, D = given["dim"]
                given["stride"] = [H * T * D, T * D, D, 1]
            if mistake == "sums in 16 bits" and given["name"] == "stats":
                given["data_type"] = options["io_data_type"]
            return whole["tensor"](**given)

        def execute(pack: Any, workspace: int, handle: Any) -> None:
            if mistake == "a tensor is left out":
                pack = dict(list(pack.items())[1:])
            if mistake == "an address is off":
                pack = {x: address + 2 for x, address in pack.items()}
            if mistake == "keys and values are swapped":
                by_name = {x.name: x for x in pack}
                pack[by_name["k"]], pack[by_name["v"]] = pack[by_name["v"]], pack[by_name["k"]]
            whole["execute"](pack, 0 if mistake == "no workspace" else workspace, handle=handle)

        graph.tensor, graph.execute = tensor, execute
        if mistake == "not deterministic":
            graph.sdpa_backward = lambda use_deterministic_algorithm, **given: whole["sdpa_backward"](**given)
        if mistake == "no validation":
            graph.validate = lambda: None
        if mistake == "not causal":
            graph.sdpa = lambda use_causal_mask, **given: whole["sdpa"](use_causal_mask=False, **given)
        return graph


MISTAKES = (
    "another stream", "strides are not told", "sums in 16 bits", "a tensor is left out", "an address is off",
    "keys and values are swapped", "no workspace", "not deterministic", "no validation", "not causal",
)  # fmt: skip


@pytest.mark.parametrize("mistake", ["", *MISTAKES])
def test_mistakes_are_noticed(mistake: str) -> None:
    """By an error that names the rule, or by wrong numbers."""
    q, k, v, dout = arrays("self")
    expected, kept = attention_forward.reference(q, k, v, causal=True, scale=0.3)
    gradients = attention_backward.reference(dout, kept)[:3]
    noticed = False
    with emulated_device() as device, use_precision("bfloat16"):
        there = [device.cupy.asarray(x) for x in (q, k, v)]
        with use_attention_engine("cudnn", library(Saboteur, mistake=mistake)):
            try:
                out, cache = attention_forward(*there, causal=True, scale=0.3)
                close(out, expected)
                runs = [attention_backward(device.cupy.asarray(dout), cache)[:3] for _ in range(2)]
                for found, wanted in zip(runs[0], gradients, strict=True):
                    close(found, wanted)
                assert [x.get().tobytes() for x in runs[0]] == [x.get().tobytes() for x in runs[1]]
            except (FakeCudnnError, AssertionError):
                noticed = True
            finally:
                cudnn_graphs.close_engines()
    assert noticed is bool(mistake)


def test_the_choice_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention_library() is None
    monkeypatch.setenv("MINITRAIN_GPU_ATTENTION", "cudnnn")
    with pytest.raises(ConfigError, match="MINITRAIN_GPU_ATTENTION='cudnnn' is unknown: use own or cudnn"):
        attention_library()
    with pytest.raises(ConfigError, match="attention engine 'flash' is unknown"), use_attention_engine("flash"):
        pass
    monkeypatch.setenv("MINITRAIN_GPU_ATTENTION", "cudnn")
    with use_attention_engine("own"):
        assert attention_library() is None


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setenv("MINITRAIN_GPU_ATTENTION", "cudnn")
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(DeviceError, match=r"pip install 'minitrain\[cudnn\]'"):
        attention_library()


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_the_real_package_takes_our_graphs(name: str, is_backward: bool) -> None:
    """It builds and checks a graph without a GPU and without cuDNN itself: names, sizes, strides and types."""
    cudnn = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed", exc_type=ImportError)
    q, k, v, _ = (x.astype(half_dtype("bfloat16")) for x in arrays(name))
    lse = np.zeros((q.shape[0], q.shape[2], q.shape[1]), np.float32)
    given = (q, k, v, q, q, lse, q, k, v) if is_backward else (q, k, v, q, lse)
    form = cudnn_graphs._form(is_backward, given, name != "cross", 0.25)
    try:
        graph, tensors = cudnn_graphs.described(cudnn, form, None)
        graph.validate()
    except RuntimeError as error:
        if "Unable to find symbol" not in str(error):
            raise
        pytest.skip(f"nvidia-cudnn-frontend {cudnn.__version__} needs cuDNN itself, 1.32 does not")
    for tensor, (sizes, steps) in zip(tensors, form.layouts, strict=True):
        assert (tuple(tensor.get_dim()), tuple(tensor.get_stride())) == (sizes, steps)
