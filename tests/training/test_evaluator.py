"""The evaluator: equal values for any batches, measures that are no means, weights as asked, samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.precision import current_precision
from minitrain.distributed import Group, run_ranks
from minitrain.errors import ConfigError, DataError
from minitrain.losses import CrossEntropyLoss
from minitrain.measures import Accuracy, ConfusionMatrix, ErrorRate, Perplexity, TopK, accuracy, intervals
from minitrain.models import GPT, MLP, GPTConfig, MLPConfig
from minitrain.optim import ExponentialAverage
from minitrain.training import EMA, Evaluator, Trainer, TrainingConfig
from tests.helpers.measuring.measured import cuts
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS, rows

ROWS = 6
LOSS, VALUES = "val_loss", ("val_loss", "val_tokens")


def parts_of(batch: Any, bounds: list[int]) -> list[Any]:
    """A batch of six rows in parts."""
    edges = [0, *bounds, ROWS]
    return [rows(batch, start, stop) for start, stop in pairwise(edges)]


def whole(name: str, dtype: Any = np.float32) -> Any:
    """Six rows for a model, of which some targets do not count."""
    batch = KINDS[name].batch(ROWS, dtype=dtype)
    if hasattr(batch, "targets") and batch.targets.dtype.kind == "i":
        targets = np.array(batch.targets)
        targets.reshape(-1)[1::3] = -100
        batch = batch._replace(targets=targets)
    return batch


@pytest.mark.parametrize("name", ["gpt", "mlp", "encoder", "seq2seq"])
@settings(max_examples=10)
@given(data=st.data())
def test_any_batches_give_the_same_values(name: str, data: Any) -> None:
    model, batch = stir(KINDS[name].build(dtype=np.float64)), whole(name, np.float64)
    parts = parts_of(batch, data.draw(cuts(ROWS)))
    metrics = None if name == "seq2seq" else {"accuracy": accuracy, "top2": TopK(2), "perplexity": Perplexity}
    at_once, split = (Evaluator(model, one, metrics=metrics).run() for one in ([batch], parts))
    assert split == pytest.approx(at_once, rel=1e-12)
    assert at_once["val_loss"] == pytest.approx(model.loss(batch)[0].mean, rel=1e-12)
    if metrics:
        assert at_once["val_perplexity"] == pytest.approx(np.exp(at_once["val_loss"]), rel=1e-9)


class Weights:
    """Stands for averaged weights: notes how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        self.asked += 1
        yield


class Largest:
    """A measure that is no sum: the highest logit."""

    def __init__(self) -> None:
        self.value = -np.inf

    def update(self, outputs: Any, batch: Any) -> None:
        self.value = max(self.value, float(outputs.max()))

    def result(self) -> dict[str, float]:
        return {"": self.value}


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("most", [None, 4])
def test_ranks_share_the_batches_and_have_the_values_of_all(ranks: int, most: int | None) -> None:
    """To the last bit, with the weights that are asked for. A measure that is no sum is taken by each of them."""
    model, batches = stir(KINDS["gpt"].build()), parts_of(whole("gpt"), [1, 2, 3, 4, 5])
    places, measured = [batch.inputs.tobytes() for batch in batches], [0] * 6

    def seen(outputs: Any, batch: Any) -> tuple[float, int]:
        measured[places.index(batch.inputs.tobytes())] += 1
        return float(outputs.sum()), 1

    metrics = {"accuracy": accuracy, "seen": seen}
    expected = Evaluator(model, batches, metrics=metrics).run(most)
    measured[:] = [0] * 6
    averages = [Weights() for _ in range(ranks)]

    def run(group: Group) -> dict[str, float]:
        return Evaluator(model, batches, metrics=metrics, group=group).run(most, average=averages[group.rank])

    assert run_ranks(ranks, run) == [expected] * ranks
    assert measured == ([1] * 4 + [0] * 2 if most else [1] * 6)
    assert [one.asked for one in averages] == [1] * ranks
    alone = {"largest": Largest, "confusion": ConfusionMatrix(11)}
    every = Evaluator(model, batches, metrics=alone).run(most)
    found = run_ranks(ranks, lambda group: Evaluator(model, batches, metrics=alone, group=group).run(most))
    assert found == [every] * ranks
    assert np.isfinite(every["val_largest"])


def test_losses_of_float32_are_summed_in_float64() -> None:
    model, batch = stir(KINDS["gpt"].build()), whole("gpt")
    each = model.losses(batch)
    assert each.outputs is None
    assert each.losses.dtype == np.float32
    found = Evaluator(model, [batch]).run()
    assert found["val_loss"] == each.losses.sum(dtype=np.float64) / each.counts.sum()
    assert found["val_tokens"] == (batch.targets != -100).sum()


def test_a_chunked_head_gives_the_same_losses() -> None:
    a, b = (stir(KINDS["gpt"].build(dtype=np.float64, loss_chunk=chunk)) for chunk in (None, 4))
    batch = whole("gpt")
    first, second, third = a.losses(batch), b.losses(batch), b.losses(batch, outputs=True)
    np.testing.assert_allclose(second.losses, first.losses, rtol=1e-12)
    np.testing.assert_array_equal(second.counts, first.counts)
    assert second.outputs is None
    np.testing.assert_allclose(third.outputs, a.losses(batch, outputs=True).outputs)
    assert Evaluator(b, [batch]).run() == pytest.approx(Evaluator(a, [batch]).run())


def test_a_regression_counts_every_element() -> None:
    model = MLP(MLPConfig((2, 3), task="regression"), dtype=np.float64)
    x, y = np.random.default_rng(0).random((4, 2)), np.full((4, 3), -100.0)
    each = model.losses((x, y))
    assert each.counts.shape == each.losses.shape == (4, 3)
    assert each.counts.all()
    assert Evaluator(model, [(x, y)]).run()[LOSS] == pytest.approx(model.loss((x, y))[0].mean)


def test_a_loss_of_your_own_is_not_passed_over() -> None:
    class Doubled(MLP):
        def loss(self, batch: Any, *, key: Any = None) -> Any:
            loss, cache = super().loss(batch, key=key)
            return loss._replace(total=2 * loss.total), cache

    config, batch = MLPConfig((2, 3)), (np.ones((4, 2), np.float32), np.array([0, 1, 2, 0]))
    plain = Evaluator(MLP(config), [batch], metrics={}).run()[LOSS]
    assert Evaluator(Doubled(config), [batch], metrics={}).run()[LOSS] == pytest.approx(2 * plain)
    patched: Any = MLP(config)
    patched.loss = Doubled(config).loss
    assert Evaluator(patched, [batch], metrics={}).run()[LOSS] == pytest.approx(2 * plain)
    assert "loss" not in Evaluator(patched, [batch]).samples().measures


def test_measures_are_new_for_each_evaluation_and_can_be_kept() -> None:
    model, batch = MLP(MLPConfig((2, 3))), (np.eye(2, dtype=np.float32), np.array([0, 1]))
    evaluator = Evaluator(model, [batch], metrics={"confusion": ConfusionMatrix(3), "accuracy": Accuracy})
    first = evaluator.run()
    assert evaluator.run() == first
    assert first["val_accuracy"] == first["val_confusion_accuracy"]
    measures = evaluator.new_measures()
    assert evaluator.measured(measures) == first
    assert measures["confusion"].sums.sum() == 2  # type: ignore[attr-defined]
    assert Evaluator(model, [batch]).run().keys() == {*VALUES, "val_accuracy"}


def test_wrong_settings_are_told_before_the_first_evaluation() -> None:
    with pytest.raises(DataError, match="this is 'accuracy'"):
        Evaluator(MLP(MLPConfig((2, 3))), [], metrics={"a": "accuracy"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="classes"):
        Evaluator(MLP(MLPConfig((2, 3))), [], metrics={"a": ConfusionMatrix})
    with pytest.raises(ConfigError, match="1 classes"):
        Evaluator(MLP(MLPConfig((2, 3))), [], metrics={"a": lambda: ConfusionMatrix(1)()})


def test_a_part_of_the_data_is_the_first_batches_or_what_is_spread() -> None:
    model = MLP(MLPConfig((2, 3)))
    batches = [(np.eye(2, dtype=np.float32), np.array([0, i])) for i in range(3)]
    assert Evaluator(model, batches).run(2) == Evaluator(model, batches[:2]).run()
    assert Evaluator(model, batches).run() == Evaluator(model, batches).run(3)

    class Spread(list):  # type: ignore[type-arg]
        def spread(self, count: int) -> list[Any]:
            return self[-count:]

    assert Evaluator(model, Spread(batches)).run(1) == Evaluator(model, batches[2:]).run()


def test_an_objective_with_a_loss_and_a_forward_alone() -> None:
    class Own:
        def __init__(self) -> None:
            self.model = MLP(MLPConfig((2, 3)))

        def loss(self, batch: Any, *, key: Any = None) -> Any:
            return self.model.loss(batch)

        def forward(self, inputs: Any) -> Any:
            return self.model.forward(inputs)

    own, batch = Own(), (np.eye(2, dtype=np.float32), np.array([0, 1]))
    metrics = {"perplexity": Perplexity}
    found = Evaluator(own, [batch], metrics=metrics).run()
    assert found == pytest.approx(Evaluator(own.model, [batch], metrics=metrics).run(), rel=1e-6)
    loose = SimpleNamespace(loss=own.model.loss, forward=own.model.forward)
    assert Evaluator(loose, [batch], metrics=metrics).run() == found, "whose class has no loss"
    del Own.forward
    assert Evaluator(own, [batch], metrics={}).run()[LOSS] == found[LOSS], "no outputs are needed"


def test_the_precision_is_that_of_the_products_alone() -> None:
    model, batch = stir(KINDS["gpt"].build()), whole("gpt")
    seen = []

    def metric(outputs: Any, batch: Any) -> tuple[float, float]:
        seen.append(current_precision())
        return 0.0, 1.0

    rounded = Evaluator(model, [batch], metrics={"m": metric}, precision="bfloat16").run()[LOSS]
    assert seen == [current_precision()]
    assert rounded != Evaluator(model, [batch]).run()[LOSS] == pytest.approx(rounded, rel=0.05)


def test_metrics_may_see_texts() -> None:
    model = MLP(MLPConfig((2, 3)))
    data = [{"inputs": np.eye(2, dtype=np.float32), "targets": np.array([0, 1]), "references": ["a b", "c"]}]
    evaluator = Evaluator(model, data, metrics={"wer": ErrorRate}, predict=lambda batch: ["a", "c"])
    assert evaluator.run()["val_wer"] == 1 / 3
    assert evaluator.samples(keys={"text": "references"}).by("text")["c"].values()["wer"] == 0
    plain = Evaluator(model, data, metrics={}, predict=lambda batch: pytest.fail("nobody asks")).run()
    assert plain[LOSS] == evaluator.run()[LOSS]


def test_an_average_is_measured_if_it_is_given() -> None:
    model, batch = MLP(MLPConfig((2, 3))), (np.eye(2, dtype=np.float32), np.array([0, 1]))
    average = ExponentialAverage(model, decay=0.5)
    evaluator = Evaluator(model, [batch])
    before = evaluator.run()
    model.layers[0].bias.data[...] += [5, 0, 0]
    after = evaluator.run()
    assert evaluator.run(average=average) == before != after
    assert evaluator.samples(average=average).values()["loss"] == before[LOSS]
    assert evaluator.run() == after


def test_a_trainer_measures_trained_or_averaged_weights() -> None:
    model, batch = MLP(MLPConfig((2, 3))), (np.eye(2, dtype=np.float32), np.array([0, 1]))
    config = TrainingConfig(epochs=8, learning_rate=0.1, validation_frequency=0)
    trainer = Trainer(
        model=model, train_data=[batch], val_data=[batch], config=config, callbacks=[EMA(0.9)], progress=False
    )
    averaged = trainer.train().val_loss
    kept = len(trainer.history.get_metric(LOSS))
    trained = trainer.validate(averaged=False)[LOSS]
    assert trained == Evaluator(model, [batch]).run()[LOSS] < averaged
    assert trainer.validate([batch], averaged=False)[LOSS] == trained
    assert trainer.validate([batch])[LOSS] == averaged
    assert len(trainer.history.get_metric(LOSS)) == kept, "nothing of these is kept"
    assert trainer.validate()[LOSS] == averaged
    assert trainer.validate(averaged=False, max_batches=1)[LOSS] == trained


def test_samples_give_the_values_of_the_run() -> None:
    model, batch = stir(KINDS["gpt"].build()), whole("gpt")
    metrics = {"accuracy": Accuracy, "mean": accuracy, "perplexity": Perplexity()}
    evaluator = Evaluator(model, parts_of(batch, [2, 3]), metrics=metrics)
    table = evaluator.samples(keys={"first": lambda part: part.inputs[:, 0]}, data="mine")
    found = evaluator.run()
    assert len(table) == ROWS
    assert table.data == "mine"
    assert table.values() == pytest.approx({name: found[f"val_{name}"] for name in ("loss", "accuracy", "perplexity")})
    np.testing.assert_array_equal(table.keys["first"], batch.inputs[:, 0])
    for row, one in zip(table.rows["loss"], parts_of(batch, [1, 2, 3, 4, 5]), strict=True):
        assert row[0] == pytest.approx(float(model.loss(one)[0].total), rel=1e-6)
    assert intervals(table, resamples=20)["loss"].low < found[LOSS]


def test_a_loss_function_has_no_losses_of_samples() -> None:
    batch = (np.eye(2, dtype=np.float32), np.array([0, 1]))
    model = MLP(MLPConfig((2, 3)))
    trainer = Trainer(model=model, loss_fn=CrossEntropyLoss(), train_data=[batch], val_data=[batch], progress=False)
    assert trainer.run.evaluator is not None
    assert list(trainer.run.evaluator.samples().measures) == ["accuracy"]


def test_without_targets_there_is_nothing_to_measure() -> None:
    model = GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4))
    nothing = (np.zeros((1, 4), int), np.full((1, 4), -100))
    some, none = Evaluator(model, [nothing]), Evaluator(model, [])
    for measure in (some.run, some.samples, partial(none.run, 3)):
        with pytest.raises(DataError, match="no target that counts"):
            measure()
