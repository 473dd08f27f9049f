"""What calls cost: products by their formulas, the rest as the readable code counts, bytes of all arrays once."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.ops import (
    SKIP,
    Into,
    attention_backward,
    attention_forward,
    conv2d_backward,
    conv2d_forward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    linear_backward,
    linear_forward,
    low_rank_backward,
    low_rank_forward,
    registry,
    residual_backward,
    residual_forward,
    split_forward,
)
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from minitrain.profiling.costs import COUNTED, PER_ELEMENT, arrays_in, cost_of
from minitrain.profiling.products import Call
from minitrain.random import Key
from tests.profiling.sized_calls import SIZED

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def cost(name: str, *args: Any, result: Any, **options: Any) -> Any:
    return cost_of(Call(name, args, options, result))


def test_bytes_are_those_of_arrays_read_and_written() -> None:
    x, w, bias, dout = normal(6, 3), normal(5, 3), normal(5), normal(6, 5)
    out, cache = linear_forward(x, w, bias)
    assert cost("linear_forward", x, w, bias, result=(out, cache)).nbytes == 4 * (18 + 15 + 5 + 30)
    read = 4 * (30 + 18 + 15 + 5)
    fresh = linear_backward(dout, cache)
    assert cost("linear_backward", dout, cache, result=fresh).nbytes == read + 4 * (18 + 15 + 5)
    into = (SKIP, Into(np.zeros_like(w), True), Into(np.zeros_like(bias)))
    some = linear_backward(dout, cache, into=into)
    assert cost("linear_backward", dout, cache, result=some, into=into).nbytes == read + 4 * (2 * 15 + 5)


def test_what_is_handed_on_costs_nothing() -> None:
    x = normal(4, 6)
    assert cost("dropout_forward", x, result=dropout_forward(x, p=0.5, key=None)) == (0, 0)
    out, cache = residual_forward(x, x.copy())
    assert cost("residual_backward", out, cache, result=residual_backward(out, cache)) == (0, 0)
    assert cost("split_forward", x, result=split_forward(x, at=2, axis=1)) == (0, 0)


def test_a_look_up_reads_the_rows_it_looks_up() -> None:
    tokens, table, dout = np.array([3, 1, 3]), normal(100, 4), normal(3, 4)
    out, cache = embedding_forward(tokens, table)
    assert cost("embedding_forward", tokens, table, result=(out, cache)).nbytes == tokens.nbytes + 2 * 48
    fresh = embedding_backward(dout, cache)
    assert cost("embedding_backward", dout, cache, result=fresh) == (12, tokens.nbytes + 48 + 1600)
    into = (None, Into(np.zeros_like(table), True))
    added = embedding_backward(dout, cache, into=into)
    assert cost("embedding_backward", dout, cache, result=added, into=into).nbytes == tokens.nbytes + 3 * 48


def test_an_update_reads_all_and_writes_all_but_the_gradient() -> None:
    arrays = [normal(10) for _ in range(4)]
    assert cost("adam_update", *arrays, result=None) == (150, 40 * (4 + 3))


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 4), st.booleans(), st.sampled_from([None, 1, 3]), st.booleans())
def test_attention_counts_the_pairs_that_attend(T: int, more: int, causal: bool, window: int | None, cut: bool) -> None:
    B, H, D, S = 2, 4, 3, T + more
    q, k, v = normal(B, T, H, D), normal(B, S, 2, D), normal(B, S, 2, D)
    lengths = np.array([S, max(S - 2, 0)]) if cut else None
    out, cache = attention_forward(q, k, v, causal=causal, window=window, key_lengths=lengths)
    pairs = 0
    for b in range(B):
        for t in range(T):
            for s in range(S if lengths is None else lengths[b]):
                ahead = s - (t + S - T)
                pairs += H * (not (causal and ahead > 0) and (window is None or abs(ahead) < window))
    assert cost("attention_forward", q, k, v, result=(out, cache)).flops == 4 * D * pairs
    assert cost("attention_backward", out, cache, result=attention_backward(out, cache)).flops == 8 * D * pairs


def test_skipped_gradients_need_no_product() -> None:
    x, w, dout = normal(6, 3), normal(5, 3), normal(6, 5)
    _, cache = linear_forward(x, w)
    for into, products in (((None,) * 3, 2), ((SKIP, None, None), 1), ((SKIP, SKIP, None), 0)):
        assert cost("linear_backward", dout, cache, result=(), into=into).flops == products * 2 * 6 * 3 * 5


def counted(function: Any, *args: Any, **options: Any) -> int:
    Counting.count = 0
    function.reference(*map(counting, args), **options)
    return Counting.count


def test_products_are_those_of_the_readable_code() -> None:
    x, a, b = normal(7, 5), normal(2, 5), normal(3, 2)
    low = low_rank_forward(x, a, b)
    image, kernels = normal(2, 4, 5, 6), normal(6, 2, 3, 3)
    conv = conv2d_forward(image, kernels, None, stride=2, padding=1, groups=2)
    Counting.products_only = True
    try:
        assert counted(low_rank_forward, x, a, b) == cost("low_rank_forward", x, a, b, result=low).flops
        back = low_rank_backward(low[0], low[1])
        assert counted(low_rank_backward, *low) == cost("low_rank_backward", *low, result=back).flops
        assert (
            counted(conv2d_forward, image, kernels, None, stride=2, padding=1, groups=2)
            == cost("conv2d_forward", image, kernels, None, result=conv).flops
        )
        back = conv2d_backward(conv[0], conv[1])
        assert counted(conv2d_backward, *conv) == cost("conv2d_backward", *conv, result=back).flops
        for shape in ((7, 5), (4, 9)):
            matrices = [normal(*shape) for _ in range(3)]
            update = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "ns_steps": 3, "coefficients": COEFFICIENTS}
            update |= {"eps": 1e-7, "scale": 1.0, "weight_decay": 0.1, "grad_scale": 0.5}
            products = cost("muon_update", *matrices, result=None, **update).flops
            assert counted(muon_update, *matrices, **update) == products
    finally:
        Counting.products_only = False


class Counting(np.ndarray[Any, Any]):
    """An array that counts the floating-point operations that NumPy does on it and on all that comes of it."""

    count = 0
    products_only = False

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*plain, **options)
        if any(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in plain):
            if ufunc is np.matmul:
                Counting.count += 2 * result.size * plain[0].shape[-1]
            elif not Counting.products_only:
                # of what comes out, of what a reduction takes in, of what `add.at` adds
                Counting.count += np.size(result if method == "__call__" else plain[-1 if method == "at" else 0])
        if out is not None:
            return out[0]
        return counting(result)


def counting(value: Any) -> Any:
    """Arrays, also those in a cache, as ``Counting``."""
    if isinstance(value, np.ndarray):
        return value.view(Counting)
    return type(value)(*map(counting, value)) if hasattr(value, "_fields") else value


SHAPE = (4, 32, 64)
IDS = RNG.integers(0, 64, SHAPE[:2])
INPUTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "cross_entropy": ((normal(*SHAPE), IDS), {}),
    "drop_path": ((normal(*SHAPE),), {"p": 0.5, "key": Key.from_seed(0)}),
    "dropout": ((normal(*SHAPE),), {"p": 0.5, "key": Key.from_seed(0)}),
    "embedding": ((IDS, normal(64, 64)), {}),
    "geglu": ((normal(*SHAPE), normal(*SHAPE)), {"approximate": "tanh"}),
    "gelu": ((normal(*SHAPE),), {"approximate": "tanh"}),
    "layer_norm": ((normal(*SHAPE), normal(64), normal(64)), {}),
    "relu": ((normal(*SHAPE),), {}),
    "residual": ((normal(*SHAPE), normal(*SHAPE)), {}),
    "residual_layer_norm": ((normal(*SHAPE), normal(*SHAPE), normal(64), normal(64)), {}),
    "residual_rms_norm": ((normal(*SHAPE), normal(*SHAPE), normal(64)), {}),
    "rms_norm": ((normal(*SHAPE), normal(64)), {}),
    "rope": ((normal(4, 32, 4, 16), np.arange(32)), {}),
    "silu": ((normal(*SHAPE),), {}),
    "softmax": ((normal(*SHAPE),), {}),
    "swiglu": ((normal(*SHAPE), normal(*SHAPE)), {}),
}
SIZES = {"B": 2, "C": 64, "E": 64, "G": 4, "K": 3, "M": 32, "N": 128, "R": 128, "S": 32, "T": 32, "V": 64}
for each in {name.rpartition("_")[0] for name in PER_ELEMENT} & SIZED.keys() - INPUTS.keys():
    INPUTS[each] = SIZED[each](**{size: SIZES[size] for size in inspect.signature(SIZED[each]).parameters})


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_operations_an_element_are_those_of_the_readable_code(name: str) -> None:
    pair, (args, options) = registry()[name], INPUTS[name]
    *outputs, cache = pair.forward(*args, **options)
    douts = [np.ones_like(out) if isinstance(out, np.ndarray) else 1.0 for out in outputs if not is_integers(out)]
    elements = max(x.size for x in arrays_in([args, douts]))
    assert round(counted(pair.forward, *args, **options) / elements) == PER_ELEMENT[f"{name}_forward"]
    if f"{name}_backward" not in COUNTED:
        assert round(counted(pair.backward, *douts, cache) / elements) == PER_ELEMENT[f"{name}_backward"]


def is_integers(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind in "iu"


def test_pooling_counts_each_element_of_each_window() -> None:
    x = normal(2, 3, 7, 9)
    for name, backward in (("avg_pool2d", 1), ("max_pool2d", 2)):
        pair = registry()[name]
        out, cache = pair.forward(x, kernel=3, stride=2)  # 3 x 4 windows that overlap
        elements = 2 * 3 * (3 * 4) * (3 * 3)
        assert cost(f"{name}_forward", x, result=(out, cache)).flops == elements
        assert cost(f"{name}_backward", out, cache, result=pair.backward(out, cache)).flops == backward * elements


def test_a_loss_reads_its_inputs_though_it_makes_no_array() -> None:
    logits, targets = normal(8, 5), abs(normal(8, 5))
    result = registry()["kl_divergence"].forward(logits, targets)
    assert cost("kl_divergence_forward", logits, targets, result=result) == (3 * 40, 2 * 4 * 40)


def test_operations_of_the_updates_are_those_of_the_readable_code() -> None:
    from minitrain.optim.clip import sum_of_squares
    from minitrain.optim.rules.adam import adam_update

    arrays = [abs(normal(1000)) for _ in range(4)]
    step = {"step": 1, "lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.1, "grad_scale": 0.5}
    assert counted(adam_update, *arrays, **step, decoupled=True) == 1000 * PER_ELEMENT["adam_update"]
    assert counted(sum_of_squares, normal(1000)) == 1000 * PER_ELEMENT["sum_of_squares"]


def test_every_counted_name_is_a_function() -> None:
    functions = {f"{name}_{way}" for name in registry() for way in ("forward", "backward")}
    updates = {"adam_update": "rules.adam", "muon_update": "rules.muon", "sum_of_squares": "clip"}
    for name in (COUNTED | PER_ELEMENT).keys() - functions:
        assert hasattr(importlib.import_module(f"minitrain.optim.{updates[name]}"), name)
    tested = {f"{name}_{way}" for name in INPUTS for way in ("forward", "backward")} | updates.keys()
    assert PER_ELEMENT.keys() <= tested
    assert functions <= COUNTED.keys() | PER_ELEMENT.keys(), "an operation whose cost is not known"


def test_operands_of_16_bits_are_counted_as_such() -> None:
    """What a cache keeps is written by the forward and read by the backward, in two bytes a number."""
    from minitrain import use_kernels
    from minitrain.backend import use_precision

    R, K, N = 70, 40, 30
    x, w, dout = normal(R, K), normal(N, K), normal(R, N)
    B, T, H, D = 2, 9, 3, 8
    q, k, v, dy = (normal(B, T, H, D) for _ in range(4))
    for kernels in ("auto", "reference"):
        with use_kernels(kernels), use_precision("bfloat16"):
            out, cache = linear_forward(x, w)
            gradients = linear_backward(dout, cache)
            y, kept = attention_forward(q, k, v, causal=True)
            back = attention_backward(dy, kept)
        weight = cache[1].itemsize  # the reference keeps a rounded copy of it, the kernels the float32 weight itself
        copied = 2 * N * K if weight == 2 else 0
        forward = cost("linear_forward", x, w, result=(out, cache))
        assert forward.nbytes == 4 * (R * K + N * K + R * N) + 2 * R * K + copied
        backward = cost("linear_backward", dout, cache, result=gradients)
        assert backward.nbytes == 4 * R * N + 2 * R * K + weight * N * K + 4 * (R * K + N * K)
        n, rows = q.size, 4 * kept.lse.size
        assert cost("attention_forward", q, k, v, result=(y, kept)).nbytes == 4 * 4 * n + 2 * 4 * n + rows
        assert cost("attention_backward", dy, kept, result=back).nbytes == 4 * n + 2 * 4 * n + rows + 3 * 4 * n
        assert forward.flops == 2 * R * K * N
