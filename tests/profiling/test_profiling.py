"""Recording what runs: the accounting adds up, work is counted once, and nothing stays behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.benchmark.sizes import Size, step_flops
from minitrain.errors import ConfigError, MinitrainError
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.models.common.decoder import Decoder
from minitrain.nn import Linear, pack
from minitrain.nn.blocks.recompute import checkpoint_activations
from minitrain.ops import linear_cross_entropy_backward, linear_cross_entropy_forward, linear_forward
from minitrain.ops.contract import op as contract
from minitrain.optim import AdamW
from minitrain.profiling import Machine, Profile, Report, Row, recorder
from minitrain.profiling.costs import Cost
from minitrain.profiling.products import PRODUCTS, Call
from minitrain.profiling.report import REST
from minitrain.profiling.steps import steps_of_preset
from minitrain.training.loop import train_step

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def recorded(work: Callable[[], object], steps: int = 1) -> Report:
    with Profile() as found:
        for _ in range(steps):
            work()
            found.step()
    return found.report()


def row(report: Report, op: str, direction: str) -> Row:
    (found,) = [r for r in report.by_op() if (r.op, r.direction) == (op, direction)]
    return found


def model_step(model: Decoder, size: Size) -> Callable[[], object]:
    """A training step on random tokens, the same for every model."""
    pack(model)
    optimizer = AdamW(model, weight_decay=0.1)
    tokens = np.random.default_rng(0).integers(0, size.vocab_size, (2, size.batch_size, size.block_size))

    class Batch:
        inputs, targets = tokens

    return lambda: train_step(model, optimizer, [(0, Batch)], lr=1e-3, max_grad_norm=1.0)


SIZES = {
    "gpt": Size(3, 2, 16, 10, 3, 37, steps=1, rounds=1),
    "llama": Size(2, 4, 16, 7, 2, 37, steps=1, rounds=1, family="llama", n_kv_head=2),
}


def build(size: Size) -> Decoder:
    if size.family == "gpt":
        return GPT(GPTConfig(**size.model()))
    return Llama(LlamaConfig(**size.model(), n_hidden=size.hidden))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_a_whole_step_has_the_operations_of_the_formula(size: Size, kernels: str) -> None:
    from minitrain import use_kernels

    with use_kernels(kernels):
        report = recorded(model_step(build(size), size))
    products = {r.name: r.flops or 0.0 for r in report.by_op() if f"{r.op}_{r.direction}" in PRODUCTS}
    attention = sum(flops for name, flops in products.items() if name.startswith("attention"))
    assert attention == step_flops(size).attention
    assert sum(products.values()) - attention == step_flops(size).products


def test_a_loss_in_chunks_has_the_operations_of_one_without() -> None:
    size = SIZES["gpt"]
    model = GPT(GPTConfig(**size.model(), loss_chunk=4))
    report = recorded(model_step(model, size))
    assert sum(r.flops or 0.0 for r in report.by_op() if f"{r.op}_{r.direction}" in PRODUCTS) == (
        # Without a key the gradients are left to the backward, which computes the logits again.
        step_flops(size).total + 2 * size.vocab_size * size.n_embd * size.tokens
    )


def test_times_add_up_to_the_step() -> None:
    size = SIZES["gpt"]
    work = model_step(build(size), size)
    work()
    report = recorded(work, steps=3)
    assert report.steps == 3
    assert math.isclose(sum(r.seconds for r in report.rows), report.seconds, rel_tol=1e-9)
    assert math.isclose(report.total.seconds, report.seconds)
    rest = row(report, REST, "")
    assert math.isclose(report.coverage + rest.seconds / report.seconds, 1.0)
    assert 0 < report.coverage < 1
    assert {r.direction for r in report.by_op()} == {"forward", "backward", "optimizer", "clip", ""}
    assert row(report, "adam", "optimizer").calls == 2  # with decay and without
    assert row(report, "sum_of_squares", "clip").calls == 2
    assert row(report, "attention", "forward").calls == size.n_layer


def test_the_recording_itself_is_not_a_part_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    def dear_cost_of(call: Call) -> Cost:
        wait(100.0)
        return Cost(7, 8)

    monkeypatch.setattr(recorder, "cost_of", dear_cost_of)
    monkeypatch.setattr(recorder.time, "perf_counter", lambda: now)
    work = contract.with_twin(wait)
    with Profile() as found:
        for _ in range(2):
            work(1.0)
            wait(3.0)
            found.step()
    report = found.report()
    assert report.seconds == 4
    assert row(report, "wait", "optimizer") == Row("wait", "optimizer", "", 1, 1.0, 7, 8)
    assert row(report, REST, "").seconds == 3
    assert report.coverage == 0.25


def test_what_an_operation_calls_is_a_part_of_it() -> None:
    hidden, weight, targets = normal(6, 4), normal(9, 4), RNG.integers(0, 9, 6)

    def work() -> None:
        _, cache = linear_cross_entropy_forward(hidden, weight, targets, chunk=2)  # calls four others for each chunk
        linear_cross_entropy_backward(1.0, cache)

    report = recorded(work)
    assert {r.name for r in report.by_op()} == {
        "linear_cross_entropy forward",
        "linear_cross_entropy backward",
        REST,
    }
    assert row(report, "linear_cross_entropy", "forward").flops == 3 * 2 * 6 * 4 * 9
    assert row(report, "linear_cross_entropy", "backward").flops == 0


def test_the_hook_is_gone_afterwards() -> None:
    x, w = normal(2, 3), normal(4, 3)
    with Profile() as found:
        linear_forward(x, w)
    linear_forward(x, w)
    assert contract._observer is None
    assert row(found.report(), "linear", "forward").calls == 1


def test_the_hook_is_gone_after_an_error() -> None:
    x, w = normal(2, 3), normal(4, 3)
    model = Linear(3, 4, RNG)
    with pytest.raises(MinitrainError, match="K"), Profile(model) as found:
        linear_forward(x, w)
        linear_forward(normal(2, 5), w)  # refused inside the operation
    assert contract._observer is None
    assert "forward" not in vars(model)
    assert row(found.report(), "linear", "forward").calls == 1


def test_an_operation_that_fails_inside_does_not_end_the_recording() -> None:
    x, w = normal(2, 3), normal(4, 3)
    with Profile() as found:
        with pytest.raises(MinitrainError):
            linear_forward(normal(2, 5), w)
        linear_forward(x, w)
    assert row(found.report(), "linear", "forward").calls == 1


def test_a_model_whose_layers_cannot_be_found_is_refused_before_anything_is_recorded() -> None:
    model, inner = Linear(3, 4, RNG), Linear(3, 4, RNG)
    model.inner, model.hidden = inner, (Linear(3, 4, RNG),)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="put layers and parameters into attributes or lists"), Profile(model):
        raise AssertionError
    assert contract._observer is None
    assert "forward" not in vars(model) | vars(inner)


def test_a_profile_goes_on_when_it_is_entered_again() -> None:
    found = Profile()
    for _ in range(2):
        with found:
            linear_forward(normal(2, 3), normal(4, 3))
        linear_forward(normal(2, 3), normal(4, 3))
    assert row(found.report(), "linear", "forward").calls == 2


def test_two_profiles_at_once_are_refused() -> None:
    with Profile() as found:
        with pytest.raises(MinitrainError, match="recorded already"), Profile():
            raise AssertionError
        linear_forward(normal(2, 3), normal(4, 3))  # the first one goes on
    assert row(found.report(), "linear", "forward").calls == 1


def test_results_are_those_of_a_step_without_a_profile() -> None:
    size = SIZES["gpt"]
    plain, watched = build(size), build(size)
    model_step(plain, size)()
    work = model_step(watched, size)
    with Profile(watched):
        work()
    for path, value in plain.state_dict().items():
        np.testing.assert_array_equal(value, watched.state_dict()[path])


def test_layers_are_told_apart() -> None:
    size = SIZES["gpt"]
    model = build(size)
    work = model_step(model, size)
    with Profile(model) as found:
        work()
    report = found.report()
    calls = {(r.path, r.direction): r.calls for r in report.by_layer() if r.op != REST}
    assert calls["blocks.*.attention.qkv", "forward"] == size.n_layer
    assert calls["blocks.*.feed_forward.up", "backward"] == size.n_layer
    assert calls["tok_emb", "forward"] == 1
    assert calls["", "optimizer"] == 2
    by_op, by_layer = report.by_op(), report.by_layer()
    assert math.isclose(sum(r.seconds for r in by_op), sum(r.seconds for r in by_layer))
    assert sum(r.calls for r in by_op) == sum(r.calls for r in by_layer)


def test_recomputed_forwards_are_counted_as_often_as_they_run() -> None:
    size = SIZES["gpt"]
    model = build(size)
    checkpoint_activations(model)
    assert row(recorded(model_step(model, size)), "attention", "forward").calls == 2 * size.n_layer


def test_the_bound_is_the_slower_of_arithmetic_and_memory() -> None:
    machine = Machine(flops=100.0, bandwidth=10.0, threads=1)
    rows = (
        Row("product", "forward", "", 1, 4.0, 200.0, 10.0),  # 2 s of arithmetic, 1 s of memory
        Row("sum", "forward", "", 1, 6.0, 30.0, 30.0),  # 0.3 s and 3 s
        Row("unknown", "forward", "", 1, 4.0, None, 10.0),  # 1 s of memory
        Row(REST, "", "", 0, 6.0, None, 0.0),
    )
    report = Report(rows, 1, 20.0, None, 0, machine)
    assert machine.ridge == 10
    assert [report.share_of_bound(r) for r in rows] == [0.5, 0.5, 0.25, None]
    assert report.share_of_bound(report.total) == 0.3  # 2 + 3 + 1 of 20 s
    assert report.total.flops == 230
    assert report.coverage == 0.7
    assert [r.op for r in report.by_op()] == ["sum", REST, "product", "unknown"]


def test_a_preset_runs_on_random_tokens() -> None:
    steps = steps_of_preset("gpt-nano", batch_size=2, length=5)
    assert "2 sequences of 5 tokens" in steps.title
    report = recorded(lambda: steps.train(0))
    assert row(report, "attention", "forward").flops == 3 * 4 * 48 * 2 * 15


@pytest.mark.parametrize(
    ("product", "flops", "nbytes", "seconds", "limit"),
    [
        (True, 800.0, 10.0, 2.0, "arithmetic"),  # at 400 of products
        (False, 800.0, 10.0, 8.0, "arithmetic"),  # at 100 of everything else
        (True, 800.0, 30.0, 3.0, "memory"),
        (True, 0.0, 30.0, 3.0, "memory"),
    ],
)
def test_products_have_a_peak_of_their_own(
    product: bool, flops: float, nbytes: float, seconds: float, limit: str
) -> None:
    machine = Machine(400.0, 10.0, 1, "bfloat16", 100.0)
    assert machine.bound(flops, nbytes, product=product) == seconds
    found = Row("linear" if product else "gelu", "forward", "", 1, 16.0, flops, nbytes)
    report = Report((found,), 1, 20.0, None, 0, machine)
    assert found.product == product
    assert (report.least_seconds(found), report.limit(found)) == (seconds, limit)
    assert report.share_of_bound(found) == seconds / 16


def test_a_sum_of_rows_needs_the_sum_of_their_limits() -> None:
    """A product in one layer and a copy in another do not overlap, though together they would balance."""
    machine = Machine(flops=100.0, bandwidth=10.0, threads=1)
    rows = (
        Row("linear", "forward", "a", 1, 5.0, 400.0, 1.0),  # 4 s of arithmetic
        Row("linear", "forward", "b", 1, 5.0, 10.0, 40.0),  # 4 s of memory
        Row("linear", "backward", "b", 1, 5.0, 300.0, 1.0),
        Row("gelu", "forward", "a", 1, 5.0, 10.0, 10.0),  # 1 s of memory
        Row(REST, "", "", 0, 5.0, None, 0.0),
    )
    report = Report(rows, 1, 25.0, None, 0, machine)
    by_op = {(r.op, r.direction): report.least_seconds(r) for r in report.by_op()}
    assert by_op == {("linear", "forward"): 8, ("linear", "backward"): 3, ("gelu", "forward"): 1, (REST, ""): None}
    by_layer = {(r.path, r.direction): report.least_seconds(r) for r in report.by_layer() if r.op != REST}
    assert by_layer == {("a", "forward"): 5, ("b", "forward"): 4, ("b", "backward"): 3}
    assert report.least_seconds(report.total) == 12
    assert report.limit(report.total) == "arithmetic"
    numbers = report.to_dict()["total"]
    assert (numbers["least_seconds"], numbers["share_of_bound"]) == (12, 12 / 25)


def test_a_preset_in_bfloat16() -> None:
    steps = steps_of_preset("gpt-nano", batch_size=2, length=5, precision="bfloat16")
    assert steps.precision == "bfloat16"
    assert steps.title.endswith("a step, bfloat16")
    plain, half = (
        recorded(lambda s=s: s.train(0)) for s in (steps_of_preset("gpt-nano", batch_size=2, length=5), steps)
    )
    for direction in ("forward", "backward"):
        assert row(half, "linear", direction).flops == row(plain, "linear", direction).flops
    assert row(half, "attention", "backward").nbytes < row(plain, "attention", "backward").nbytes
