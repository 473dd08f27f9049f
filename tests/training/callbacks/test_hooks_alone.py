"""Hooks of callbacks called by hand: limits, states, and what they ask of a training. No training runs here."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.precision import current_precision, use_precision
from minitrain.data import UnwantedTexts
from minitrain.errors import CheckpointError, ConfigError, NonFiniteError
from minitrain.losses import MeanSquaredError
from minitrain.measures.unwanted import UnwantedCount
from minitrain.nn import Linear
from minitrain.ops.contract.loss import Loss
from minitrain.optim import Clip, ExponentialAverage, StochasticWeightAverage
from minitrain.states import ListOf, Maybe, Number, Whole, checked
from minitrain.training import (
    EMA,
    SWA,
    ActivationStatistics,
    EarlyStopping,
    Gradient,
    Histograms,
    NaNGuard,
    RunContext,
    Sharpness,
    SpikeGuard,
    TimeLimit,
    Update,
    WeightStatistics,
)
from minitrain.training.callbacks.monitors import count_unwanted as counting
from minitrain.training.callbacks.monitors import curvature
from minitrain.training.setup import StepView
from minitrain.training.state import Control, TrainerState

NOTHING: Any = None


def a_view(step: int = 0, *, total: int = 1000, seconds: float = 0.0, told: list[str] | None = None) -> StepView:
    state = TrainerState(step=step)
    state.clock = lambda: seconds  # type: ignore[method-assign]
    return StepView(state, Control(), total, log_every=10, warn=[].append if told is None else told.append)


def a_model() -> Any:
    return Linear(3, 2, np.random.default_rng(0))


def a_setup(model: Any = None, **more: Any) -> Any:
    return SimpleNamespace(model=a_model() if model is None else model, device="cpu", **more)


def an_update(*, loss: float = 1.0, skipped: bool = False, norm: float = 1.0) -> Update:
    return Update(4 * loss, 4.0, 0.1, norm, skipped=skipped)


# Averages of weights.


@pytest.mark.parametrize(("kind", "average"), [(EMA, ExponentialAverage), (SWA, StochasticWeightAverage)])
def test_an_average_follows_every_update_that_was_made(kind: Any, average: Any) -> None:
    setup, callback = a_setup(), kind()
    callback.on_step_end(a_view(), an_update())  # before the training has begun
    assert callback.state_dict() == {}
    expected = average(setup.model).state_dict()
    checked("average", expected, callback.state_kinds(setup.model))
    callback.on_train_begin(a_view(), setup, RunContext())
    assert isinstance(callback.average, average)
    checked("average", expected, callback.state_kinds(NOTHING))
    before = {path: array.copy() for path, array in callback.state_dict().items()}
    assert set(before) == set(average(setup.model).state_dict())
    for one in setup.model.parameters():
        one.data += 1
    callback.on_step_end(a_view(), an_update(skipped=True))
    assert all(np.array_equal(callback.state_dict()[path], before[path]) for path in before)
    callback.on_step_end(a_view(), an_update())
    assert not all(np.array_equal(callback.state_dict()[path], before[path]) for path in before)


def test_an_average_begins_once_and_takes_up_what_was_saved() -> None:
    setup = a_setup()
    first = EMA(0.5)
    first.on_train_begin(a_view(), setup, RunContext())
    average = first.average
    first.on_train_begin(a_view(), setup, RunContext())
    assert first.average is average
    fresh = {path: array.copy() for path, array in first.state_dict().items()}
    saved = {path: array + 3 for path, array in fresh.items()}
    for begun in (False, True):
        second = EMA(0.5)
        if begun:
            second.on_train_begin(a_view(), setup, RunContext())
            second.load_state_dict({})
            assert all(np.array_equal(second.state_dict()[path], fresh[path]) for path in fresh)
        second.load_state_dict(saved)
        second.on_train_begin(a_view(), setup, RunContext())
        assert second.average is not None
        assert second.average.decay == 0.5  # type: ignore[attr-defined]
        assert all(np.array_equal(second.state_dict()[path], saved[path]) for path in saved)


@pytest.mark.parametrize(("name", "expected"), [("", "SWA"), ("mine", "mine")])
def test_evaluations_take_the_average_if_they_should(name: str, expected: str) -> None:
    for evaluate in (True, False):
        run, callback = RunContext(), SWA(2, 3, evaluate=evaluate)
        callback.name = name
        callback.on_train_begin(a_view(), a_setup(), run)
        assert run.weights.name == (expected if evaluate else "")
        assert callback.average is not None
        assert (callback.average.start, callback.average.every) == (2, 3)  # type: ignore[attr-defined]
        if evaluate:
            assert run.weights._applied == callback.average.applied


# Early stopping and time.


def test_a_metric_that_is_not_there_and_a_training_that_is_over_stop_nothing() -> None:
    stopping, view = EarlyStopping(patience=None, target=9.0), a_view()
    stopping.on_evaluate(view, {"other": 1.0})
    assert view.control.stop == ""
    over = a_view(1000)
    stopping.on_evaluate(over, {"val_loss": 1.0})
    assert (over.control.stop, stopping.best) == ("", None)
    asked = a_view()
    asked.control.stop = "it rains"
    stopping.on_log(asked, {"val_loss": 1.0})
    assert asked.control.stop == "it rains"
    stopping.on_log(view, {"val_loss": 1.0})
    assert view.control.stop == "val_loss is 1, the target 9 is reached"


def test_the_state_of_early_stopping() -> None:
    stopping = EarlyStopping(patience=9, min_delta=0.0)
    assert stopping.state_dict() == {"best": None, "waited": 0}
    assert stopping.state_kinds(NOTHING) == {"best": Maybe(Number()), "waited": Whole()}
    stopping.on_evaluate(a_view(), {"val_loss": 3.0})
    stopping.on_evaluate(a_view(), {"val_loss": 4.0})
    assert stopping.state_dict() == {"best": 3.0, "waited": 1}
    stopping.load_state_dict({})
    assert stopping.state_dict() == {"best": None, "waited": 0}


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_a_time_limit_is_a_number_above_0(seconds: float) -> None:
    with pytest.raises(ConfigError, match="TimeLimit: seconds="):
        TimeLimit(seconds)


def test_a_time_limit_is_reached_at_its_second() -> None:
    for seconds, step, expected in [(0.4, 3, ""), (0.5, 3, "the time limit of 0.5 s is over"), (0.5, 1000, "")]:
        view = a_view(step, seconds=seconds)
        TimeLimit(0.5).on_step_end(view, an_update())
        assert view.control.stop == expected


# Guards.


def asked(view: StepView) -> tuple[bool, bool]:
    return view.control.skip, view.control.rollback


ERROR = NonFiniteError("the loss is nan")


def test_a_nan_guard_asks_for_what_its_policy_says() -> None:
    for policy, expected, says in [
        ("stop", (False, False), []),
        ("skip", (True, False), ["step 8: the loss is nan; this batch is skipped"]),
        ("rollback", (False, True), ["step 8: the loss is nan; rolling back"]),
    ]:
        told: list[str] = []
        view, guard = a_view(7, told=told), NaNGuard(policy, most=1)
        guard.on_train_begin(view, a_setup(), RunContext())
        guard.on_nan(view, ERROR)
        assert (asked(view), told) == (expected, says)
        assert guard.count == 1
        again = a_view(8)
        guard.on_nan(again, ERROR)
        assert (asked(again), guard.count) == ((False, False), 1)


@pytest.mark.parametrize(("policy", "expected"), [("skip", (False, False)), ("rollback", (False, True))])
def test_a_parameter_that_is_not_finite_can_be_rolled_back_and_not_skipped(policy: str, expected: Any) -> None:
    view, guard, setup = a_view(), NaNGuard(policy), a_setup()
    setup.model.weight.data[0] = np.nan
    guard.on_train_begin(view, setup, RunContext())
    guard.on_nan(view, ERROR)
    assert asked(view) == expected
    assert guard.count == int(policy == "rollback")


@pytest.mark.parametrize("kind", [NaNGuard, SpikeGuard])
def test_the_counts_of_guards_never_fall(kind: Any) -> None:
    guard = kind()
    guard.load_state_dict({})
    assert guard.count == 0
    guard.load_state_dict({"count": 4})
    guard.load_state_dict({"count": 3})
    assert guard.state_dict()["count"] == 4
    guard.load_state_dict({"count": 5})
    assert guard.count == 5
    assert guard.state_kinds(NOTHING)["count"] == Whole()


def test_guards_check_policies_and_numbers() -> None:
    for kind in (NaNGuard, SpikeGuard):
        assert kind("rollback", most=0).most == 0
        for wrong in ({"policy": "pray"}, {"most": -1}):
            with pytest.raises(ConfigError, match=f"{kind.__name__}: policy="):
                kind(**wrong)
    good: dict[str, Any] = {"threshold": 0.25, "decay": 0.5, "warmup": 2, "monitor": "grad_norm"}
    assert SpikeGuard(**good).warmup == 2
    for changes in (
        {"threshold": 0.0},
        {"threshold": -1.0},
        {"decay": 0.0},
        {"decay": 1.0},
        {"decay": -0.5},
        {"decay": 1.5},
        {"warmup": 1},
        {"monitor": "x"},
    ):
        with pytest.raises(ConfigError, match="SpikeGuard: monitor="):
            SpikeGuard(**good | changes)


def gradient(*, loss: float, norm: float = 0.0) -> Gradient:
    return Gradient(Loss(4 * loss, 4.0), Clip(norm, 1.0))


def usual(policy: str = "skip", **changes: Any) -> SpikeGuard:
    """A guard that has seen values of 2 with a standard deviation of a half: up to 4 is usual."""
    guard = SpikeGuard(policy, threshold=4.0, warmup=50, **changes)
    guard.load_state_dict({"count": 0, "seen": 50, "mean": 2.0, "variance": 0.25})
    return guard


@pytest.mark.parametrize("monitor", ["loss", "grad_norm"])
def test_what_is_usual_is_no_spike_and_more_is(monitor: str) -> None:
    for value, seen, spikes in [(4.0, 50, False), (4.01, 50, True), (4.01, 49, False), (math.inf, 51, True)]:
        told: list[str] = []
        view, guard = a_view(6, told=told), usual(monitor=monitor)
        guard.seen = seen
        other = 1.0
        loss, norm = (value, other) if monitor == "loss" else (other, value)
        guard.on_before_optimizer_step(view, gradient(loss=loss, norm=norm))
        assert asked(view) == (spikes, False)
        assert guard.count == int(spikes)
        if value == 4.01 and spikes:
            assert told == [f"step 7: {monitor} 4.01 is a spike, usual are up to 4; this batch is skipped"]


def test_a_spike_is_rolled_back_or_ends_the_training() -> None:
    view, guard = a_view(), usual("rollback", most=1)
    guard.on_before_optimizer_step(view, gradient(loss=9.0))
    assert (asked(view), guard.count) == ((False, True), 1)
    for one in (guard, usual("stop")):
        with pytest.raises(NonFiniteError, match=r"^loss 9 is a spike, usual are up to 4$"):
            one.on_before_optimizer_step(a_view(), gradient(loss=9.0))


@settings(max_examples=20)
@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    decay=st.sampled_from([0.5, 0.8, 0.9]),
    monitor=st.sampled_from(["loss", "grad_norm"]),
)
def test_the_running_mean_and_variance_are_those_of_weighted_values(
    values: list[float], decay: float, monitor: str
) -> None:
    """Equal weights at first, then those of ``decay``; an update that was skipped counts for nothing."""
    guard, weights = SpikeGuard(decay=decay, monitor=monitor), np.zeros(0)
    assert guard.state_dict() == {"count": 0, "seen": 0, "mean": 0.0, "variance": 0.0}
    for number, value in enumerate(values, 1):
        guard.on_step_end(a_view(), an_update(loss=99.0, norm=99.0, skipped=True))
        loss, norm = (value, 77.0) if monitor == "loss" else (77.0, value)
        guard.on_step_end(a_view(), an_update(loss=loss, norm=norm))
        new = max(1 - decay, 1 / number)
        weights = np.append(weights * (1 - new), new)
    mean = float(weights @ values)
    state = guard.state_dict()
    assert state["seen"] == len(values)
    assert state["mean"] == pytest.approx(mean, abs=1e-9)
    assert state["variance"] == pytest.approx(float(weights @ (np.array(values) - mean) ** 2), abs=1e-9)
    copy = SpikeGuard()
    copy.load_state_dict(state)
    assert copy.state_dict() == state
    copy.load_state_dict({})
    assert copy.state_dict() == {"count": 0, "seen": 0, "mean": 0.0, "variance": 0.0}


def test_the_kinds_of_a_spike_guards_state() -> None:
    kinds = {"count": Whole(), "seen": Whole(), "mean": Number(), "variance": Number(low=0.0)}
    assert SpikeGuard().state_kinds(NOTHING) == kinds


# Sharpness.


def test_the_settings_of_sharpness() -> None:
    assert Sharpness(every=1, tolerance=0.5).every == 1
    for wrong in ({"every": 0}, {"tolerance": 0.0}, {"tolerance": 1.0}, {"tolerance": -0.5}, {"tolerance": 1.5}):
        with pytest.raises(ConfigError, match="Sharpness: every="):
            Sharpness(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("found", "rate"), [(4.0, 0.5), (0.5, 4.0), (0.0, None), (-0.5, None)])
def test_sharpness_is_of_the_batch_it_was_given(monkeypatch: pytest.MonkeyPatch, found: float, rate: Any) -> None:
    batch = (np.ones((2, 3), np.float32), np.ones((2, 2), np.float32))
    measured = []
    monkeypatch.setattr(curvature, "HessianProducts", lambda *arguments: arguments)
    monkeypatch.setattr(
        curvature, "sharpness", lambda products, *, tolerance: measured.append((*products, tolerance)) or found
    )
    objective, sharpness = MeanSquaredError(), Sharpness(batch, every=3, tolerance=0.25)
    setup = a_setup(objective=objective)
    sharpness.on_train_begin(a_view(), setup, RunContext())
    for step in range(7):
        view, record = a_view(step), dict[str, Any]()
        sharpness.on_step_end(view, an_update())
        sharpness.on_log(view, record)
        assert view.control.log is (step % 3 == 0)
        expected = {"sharpness": found} | ({} if rate is None else {"stable_lr": rate})
        assert record == (expected if step % 3 == 0 else {})
    assert len(measured) == 3
    model, objective_seen, seen, tolerance = measured[0]
    assert (model, objective_seen, tolerance) == (setup.model, objective, 0.25)
    assert all(np.array_equal(a, b) for a, b in zip(seen, batch, strict=True))


# Unwanted texts.

ENTRIES = [UnwantedTexts("a", ("b",))]


def counted(monkeypatch: pytest.MonkeyPatch, counts: list[UnwantedCount]) -> list[Any]:
    calls: list[Any] = []

    def count(*arguments: Any, **more: Any) -> UnwantedCount:
        calls.append((arguments, more, current_precision()))
        return counts[len(calls) - 1]

    monkeypatch.setattr(counting, "count_unwanted", count)
    return calls


def test_counts_come_with_every_evaluation_and_the_first_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = UnwantedCount(4, 2, 3, 6), UnwantedCount(4, 1, 3, 3)
    calls, inside = counted(monkeypatch, [first, second]), list[str]()

    @contextlib.contextmanager
    def applied() -> Any:
        inside.append("in")
        yield
        inside.append(f"out after {len(calls)}")

    callback = counting.CountUnwanted(iter(ENTRIES), samples=3, tokens=7, seed=5)  # type: ignore[arg-type]
    assert (callback.result(), callback.state_dict(), callback.before, callback.latest) == ("", {}, None, None)
    setup = a_setup(arithmetic=SimpleNamespace(precision="float32"))
    run = RunContext(tokenizer="letters", evaluator=SimpleNamespace())  # type: ignore[arg-type]
    run.weights.use("average", applied)
    begin = a_view()
    callback.on_train_begin(begin, setup, run)
    assert begin.control.evaluate is True
    metrics: dict[str, Any] = {"val_loss": 1.0}
    callback.on_evaluate(begin, metrics)
    assert metrics == {"val_loss": 1.0, "val_unwanted_greedy": 0.5, "val_unwanted_sampled": 0.5}
    callback.on_evaluate(a_view(6), metrics := {})
    assert metrics == {"val_unwanted_greedy": 0.25, "val_unwanted_sampled": 0.25}
    assert run.history.get_steps("val_unwanted_greedy") == [0, 6]
    assert run.history.get_metric("val_unwanted_sampled") == [0.5, 0.25]
    assert (callback.before, callback.latest) == (first, second)
    assert inside == ["in", "out after 1", "in", "out after 2"]
    arguments, more, _ = calls[0]
    assert arguments == (setup.model, "letters", ENTRIES)
    assert more == {"samples": 3, "tokens": 7, "device": "cpu", "seed": 5}
    assert callback.result().splitlines() == [
        "unwanted continuations, with 95 % intervals",
        f"  before  {first.describe()}",
        f"  after   {second.describe()}",
    ]


def test_counts_have_the_precision_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("bfloat16", "float32"):
        calls = counted(monkeypatch, [UnwantedCount(1, 0, 0, 0)])
        callback = counting.CountUnwanted(ENTRIES, samples=0)
        callback.on_train_begin(
            a_view(3),
            a_setup(arithmetic=SimpleNamespace(precision=precision)),
            RunContext(tokenizer="letters", evaluator=SimpleNamespace()),  # type: ignore[arg-type]
        )
        with use_precision("float16"):
            callback.on_evaluate(a_view(3), metrics := {})
        assert calls[0][2] == precision
        assert metrics == {"val_unwanted_greedy": 0.0}, "nothing was sampled"
        assert callback.before is None


def test_a_resumed_training_asks_for_no_evaluation_and_what_lacks_is_told() -> None:
    callback = counting.CountUnwanted(ENTRIES)
    assert isinstance(callback._run, RunContext)
    evaluator: Any = SimpleNamespace()
    view = a_view(3)
    callback.on_train_begin(view, a_setup(), RunContext(tokenizer="letters", evaluator=evaluator))
    assert view.control.evaluate is False
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        callback.on_train_begin(a_view(), a_setup(), RunContext(evaluator=evaluator))
    with pytest.raises(ConfigError, match="needs val_data"):
        callback.on_train_begin(a_view(), a_setup(), RunContext(tokenizer="letters"))


def test_the_state_of_counts() -> None:
    first, second = counting.CountUnwanted(ENTRIES), counting.CountUnwanted(ENTRIES)
    assert first.state_kinds(NOTHING) == {"before": ListOf(Whole(), 4)}
    first.before = UnwantedCount(5, 2, 3, 7)
    assert first.state_dict() == {"before": [5, 2, 3, 7]}
    second.load_state_dict(first.state_dict())
    assert second.before == first.before
    for most in ([5, 5, 3, 15], [5, 0, 0, 0]):
        second.load_state_dict({"before": most})
        assert second.state_dict() == {"before": most}
    for wrong in ([0, 0, 3, 0], [5, 6, 3, 7], [5, 5, 3, 16], [5, 2, 0, 1], [1, 1, 3, 4]):
        with pytest.raises(CheckpointError, match=r"CountUnwanted: \[.*\] are not counts"):
            second.load_state_dict({"before": wrong})
    second.load_state_dict({})
    assert second.before is None
    assert second.result() == ""


# Statistics.


def test_a_weight_of_zeros_and_one_that_is_frozen() -> None:
    setup, statistics = a_setup(), WeightStatistics()
    weight, bias = setup.model.weight, setup.model.bias
    weight.data[...], bias.data[...] = 0.125, 0
    statistics.on_train_begin(a_view(), setup, RunContext())
    statistics.on_before_optimizer_step(a_view(9), gradient(loss=1.0))
    weight.data += 0.125
    bias.trainable = False
    statistics.on_log(a_view(10), record := {})
    size = math.sqrt(6) / 4
    assert record == pytest.approx({"weight_norm.weight": size, "update_ratio.weight": 0.5, "weight_norm.bias": 0})
    statistics.on_log(a_view(11), record := {})  # nothing was kept in a step that was not to be logged
    assert record == pytest.approx({"weight_norm.weight": size, "weight_norm.bias": 0})
    bias.trainable = True
    statistics.on_before_optimizer_step(a_view(9), gradient(loss=1.0))
    statistics.on_log(a_view(10), record := {})
    assert record["update_ratio.bias"] == 0  # 0 of 0


def test_activations_are_float_arrays_of_units_without_the_weights() -> None:
    """The last axis counts units: of four, one is 0 in all 2 x 3 places, and another in most."""
    units = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    units[..., 1] = units[0, :, 2] = 0
    setup = a_setup(arithmetic=SimpleNamespace(precision="float32"))
    cache = {
        "units": units,
        "table": units[0],
        "ids": np.zeros((2, 3), np.int64),
        "row": np.zeros(4, np.float32),
        "number": np.float32(3) * np.ones((), np.float32),
        "weight": setup.model.weight.data,
    }
    setup.objective = SimpleNamespace(loss=lambda batch: (None, cache))
    for pattern, names in (("*", ["units", "table"]), ("u*", ["units"])):
        statistics = ActivationStatistics((np.zeros(1),), pattern)
        statistics.on_train_begin(a_view(), setup, RunContext())
        statistics.on_log(a_view(), record := {})
        assert set(record) == {f"{kind}.{name}" for kind in ("activation_std", "dead") for name in names}
        assert record["activation_std.units"] == pytest.approx(units.std(), rel=1e-6)
        assert record["dead.units"] == 0.25
        assert record.get("dead.table", 0.5) == 0.5


GOOD: dict[str, Any] = {"every": 1, "most": 1, "bins": 2, "reach": 0.5}


@pytest.mark.parametrize("wrong", [{"every": 0}, {"most": 0}, {"bins": 1}, {"reach": 0.0}, {"reach": -1.0}])
def test_the_settings_of_histograms(wrong: dict[str, Any]) -> None:
    made = Histograms(**GOOD, parameters="*.bias")
    assert {name: getattr(made, name) for name in GOOD} == GOOD
    assert made.parameters == "*.bias"
    with pytest.raises(ConfigError, match="Histograms: every="):
        Histograms(**GOOD | wrong)


def test_histograms_are_those_of_numpy_with_what_lies_outside_at_the_ends() -> None:
    setup, histograms = a_setup(), Histograms(every=2, parameters="*", most=5, bins=7, reach=1.5)
    weight = setup.model.weight.data
    weight[...] = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 10.0]).reshape(weight.shape)
    setup.model.bias.data[...] = 0.25  # all alike: the width is that of a thousandth
    histograms.on_train_begin(a_view(), setup, RunContext())
    first = weight.reshape(-1).astype(np.float64)
    edges = first.mean() + np.linspace(-1.5 * first.std(), 1.5 * first.std(), 8)
    np.testing.assert_allclose(histograms.edges["weight"], edges, rtol=1e-6)
    np.testing.assert_allclose(histograms.edges["bias"], 0.25 + np.linspace(-1.5e-3, 1.5e-3, 8), rtol=1e-6)
    for step in (1, 2, 3, 4):
        weight += {2: 100, 4: -200}.get(step, 0)
        histograms.on_step_end(a_view(step), an_update())
    assert histograms.steps == [0, 2, 4]
    inside = np.clip(first, edges[0], edges[-1])
    assert [counts.tolist() for counts in histograms.counts["weight"]] == [
        np.histogram(inside, edges)[0].tolist(),
        [0] * 6 + [6],
        [6] + [0] * 6,
    ]
    assert histograms.counts["bias"][0].sum() == 2


def test_the_state_of_histograms() -> None:
    histograms, setup = Histograms(parameters="*", bins=4), a_setup()
    histograms.on_train_begin(a_view(3), setup, RunContext())
    histograms.on_train_begin(a_view(3), setup, RunContext())
    assert histograms.steps == [3]
    state = histograms.state_dict()
    assert {name: array.shape for name, array in state["counts"].items()} == {"weight": (1, 4), "bias": (1, 4)}
    other, kinds = Histograms(parameters="*", bins=4), histograms.state_kinds(NOTHING)
    edges, counts = state["edges"], state["counts"]
    checked("histograms", state, kinds)
    for damaged in (
        {"steps": [-1]},
        {"edges": edges | {"bias": np.zeros(4)}},
        {"edges": edges | {"bias": np.zeros(6)}},
        {"counts": counts | {"bias": np.zeros((1, 5), np.int64)}},
        {"counts": counts | {"bias": np.zeros((1, 4))}},
    ):
        with pytest.raises(CheckpointError):
            checked("histograms", state | damaged, kinds)
    other.load_state_dict(state)
    assert (other.steps, other.edges.keys()) == ([3], state["edges"].keys())
    for wrong in (
        state | {"edges": {"weight": state["edges"]["weight"]}},
        state | {"steps": [3, 4]},
        state | {"steps": []},
        state | {"counts": state["counts"] | {"bias": np.zeros((2, 4), np.int64)}},
    ):
        with pytest.raises(CheckpointError, match="do not belong together"):
            other.load_state_dict(wrong)
    other.load_state_dict({})
    assert (other.steps, other.edges, other.counts) == ([], {}, {})
    other.load_state_dict({"steps": [], "edges": {}, "counts": {}})
    assert other.state_dict() == {"steps": [], "edges": {}, "counts": {}}


def test_pictures_need_a_folder_and_histograms(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from minitrain.plotting import by_kind

    drawn: list[Any] = []
    monkeypatch.setattr(by_kind, "plot_histograms", lambda *arguments: drawn.append(arguments))
    for folder, pattern in ((None, "*"), (tmp_path, "no such"), (tmp_path, "*")):
        histograms = Histograms(parameters=pattern)
        histograms.on_train_begin(a_view(), a_setup(), RunContext(folder=folder))
        histograms.on_train_end(a_view())
    ((steps, edges, counts, place),) = drawn
    assert (steps, edges, counts) == (histograms.steps, histograms.edges, histograms.counts)
    assert place == tmp_path / "plots" / "histograms.png"
