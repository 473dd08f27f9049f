"""What the trainer takes: models and losses of one's own, any batches, the names other trainers use."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.losses import CrossEntropyLoss, MeanSquaredError
from minitrain.models import MLP, GPTConfig, MLPConfig
from minitrain.nn import Linear
from minitrain.ops.contract.loss import Loss
from minitrain.optim import SGD
from minitrain.training import EMA, BatchStream, ModelWithLoss, Trainer, TrainingConfig, accuracy
from minitrain.training.feed import split_batch
from tests.helpers.small_regression import Scale, regression, trainer


def weights(model: Any) -> list[Any]:
    return [parameter.data.copy() for parameter in model.parameters()]


def test_a_layer_of_ones_own_learns() -> None:
    result = trainer(val_data=regression(), config={"max_steps": 300}).train()
    assert result.history.get_metric("train_loss")[0] > 0.2
    assert result.val_loss is not None
    assert result.val_loss < 1e-6


class MeanError:
    """A loss that minitrain does not know, which gives a mean."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        return ((outputs - targets) ** 2).sum(axis=1).mean(), outputs - targets

    def backward(self, dloss: float, cache: Any) -> Any:
        return dloss * 2 * cache / len(cache)


@pytest.mark.parametrize(
    "loss_fn",
    [MeanError(), (MeanError().forward, MeanError().backward)],
    ids=["an object", "a pair of functions"],
)
def test_a_loss_of_ones_own_that_gives_a_mean(loss_fn: Any) -> None:
    """It is weighed by samples: as the total over them, whatever the split."""
    plain, split = trainer(loss_fn=loss_fn), trainer(loss_fn=loss_fn, config={"gradient_accumulation_steps": 3})
    totals = trainer(
        loss_fn=(
            lambda outputs, targets: (Loss(((outputs - targets) ** 2).sum(), float(len(outputs))), outputs - targets),
            lambda dtotal, cache: dtotal * 2 * cache,
        )
    )
    for one in (plain, split, totals):
        one.train()
    for a, b, c in zip(*(weights(one.model) for one in (plain, split, totals)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-14)


class Sample(NamedTuple):
    features: Any
    answer: Any


class Stubborn(Scale):
    """A model with a batch format and a loss of its own."""

    def loss(self, batch: Sample, *, key: Any = None) -> Any:
        out, cache = self.forward(batch.features)
        return Loss(((out - batch.answer) ** 2).sum(), float(out.size)), (out - batch.answer, cache)

    def loss_backward(self, cache: Any) -> None:
        error, inner = cache
        self.backward(2 * error, inner)


def test_a_batch_format_of_ones_own() -> None:
    model = Stubborn()
    data = [Sample(x, y) for x, y in regression()]
    Trainer(
        model=model,
        train_data=data,
        optimizer=SGD(model, lr=0.1),
        config=TrainingConfig(epochs=3, batch_size=4, max_grad_norm=None, gradient_accumulation_steps=2),
        progress=False,
    ).train()
    reference = trainer()
    reference.train()
    for a, b in zip(weights(model), weights(reference.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_pairs_dictionaries_and_objects_are_batches() -> None:
    results = []
    for kind in (lambda x, y: (x, y), lambda x, y: {"inputs": x, "targets": y}, lambda x, y: [x, y]):
        one = trainer(data=[kind(x, y) for x, y in regression()])
        one.train()
        results.append(weights(one.model))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match=r"a batch is a int: give pairs \(inputs, targets\)"):
        trainer(data=[3]).train()


class Reader:
    """A data loader of another library: a length and an iterator, another order each epoch."""

    def __init__(self, batches: list[Any], length: int | None = None) -> None:
        self.batches, self.length, self.epoch, self.read = batches, length or len(batches), 0, 0

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        for i in range(len(self.batches)):
            self.read += 1
            yield self.batches[(i + self.epoch) % len(self.batches)]


def test_what_can_be_iterated_is_read_epoch_by_epoch_and_taken_up_anywhere() -> None:
    batches = [np.array([i]) for i in range(3)]
    stream = BatchStream(Reader(batches))
    order = [int(stream.micro_batches(step, 1)[0][1][0]) for step in range(8)]
    assert order == [0, 1, 2, 1, 2, 0, 2, 0]
    assert stream.batches.read == 8  # each batch once
    assert int(BatchStream(Reader(batches)).micro_batches(5, 1)[0][1][0]) == order[5]


def test_data_that_cannot_be_read_is_named() -> None:
    with pytest.raises(DataError, match="which cannot be read once an epoch: give a list"):
        trainer(data=iter(regression()))
    with pytest.raises(DataError, match="has no batch"):
        trainer(data=[])
    with pytest.raises(DataError, match=r"ended at batch 5 of epoch 0, where its len\(\) is 7"):
        trainer(data=Reader(regression(), length=7)).train()
    endless = type("Endless", (), {"__iter__": lambda self: iter(regression())})()
    with pytest.raises(ConfigError, match="set max_steps"):
        trainer(data=endless)
    with pytest.raises(DataError, match=r"ended after 5 batches: give it a len\(\)"):
        trainer(data=endless, config={"max_steps": 9}).train()


def test_splitting_a_batch() -> None:
    batch = Sample({"a": np.arange(5), "b": [np.arange(10).reshape(5, 2)]}, "same for all")
    parts = split_batch(batch, 2)
    assert [first for first, _ in parts] == [0, 2]
    assert [len(part.features["a"]) for _, part in parts] == [2, 3]
    np.testing.assert_array_equal(np.concatenate([part.features["b"][0] for _, part in parts]), batch.features["b"][0])
    assert {part.answer for _, part in parts} == {"same for all"}
    with pytest.raises(DataError, match=r"\[5\] samples cannot be split in 6 parts"):
        split_batch(batch, 6)
    with pytest.raises(DataError, match=r"\[2, 3\] samples"):
        split_batch((np.zeros(2), np.zeros(3)), 2)


def test_other_names_of_the_arguments(tmp_path: Path) -> None:
    model = Scale()
    one = Trainer(
        model=model,
        train_dataloader=regression(),
        val_dataloader=regression(2),
        checkpoint_dir=tmp_path / "run",
        schedule=lambda step: 0.1,
        loss_fn=MeanSquaredError(),
        optimizer=SGD(model, lr=0.1),
        config=TrainingConfig(epochs=2, max_grad_norm=None),
        progress=False,
    )
    assert one.train().checkpoint == tmp_path / "run" / "checkpoints" / "step-00000010"
    with pytest.raises(ConfigError, match="has no argument val_datloader; did you mean val_dataloader"):
        Trainer(model=model, train_data=regression(), loss_fn=MeanSquaredError(), val_datloader=[])
    with pytest.raises(ConfigError, match="given both train_data and dataset"):
        Trainer(model=model, train_data=regression(), dataset=regression(), loss_fn=MeanSquaredError())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Scale has no loss.* give the trainer a loss_fn"):
        Trainer(model=Scale(), train_data=regression())
    with pytest.raises(ConfigError, match="no train_data"):
        Trainer(model=Scale(), loss_fn=MeanSquaredError())
    with pytest.raises(ConfigError, match="loss_fn is a int"):
        Trainer(model=Scale(), loss_fn=3, train_data=regression())
    with pytest.raises(ConfigError, match="no val_data"):
        trainer().validate()
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        trainer().generate_text("x")


def test_a_step_by_hand() -> None:
    """``train_step(x, y)`` is what the loop does."""
    whole, by_hand = trainer(), trainer()
    whole.train()
    for _ in range(3):
        for x, y in regression():
            loss = by_hand.train_step(x, y)
    assert by_hand.state.step == whole.state.step == 15
    assert loss == pytest.approx(whole.history.get_latest("train_loss"), rel=0.5)
    for a, b in zip(weights(whole.model), weights(by_hand.model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_accuracy_is_measured_over_all_targets() -> None:
    rng = np.random.default_rng(3)
    model = Linear(4, 3, rng, dtype=np.float64)
    data = [(rng.standard_normal((n, 4)), rng.integers(0, 3, n)) for n in (2, 5, 7)]
    one = Trainer(
        model=model,
        train_data=data,
        val_data=data,
        loss_fn=CrossEntropyLoss(),
        metrics={"accuracy": accuracy},
        config=TrainingConfig(epochs=1),
        progress=False,
    )
    x, y = (np.concatenate(part) for part in zip(*data, strict=True))
    logits = model.forward(x)[0]
    measured = one.validate()
    assert measured["val_accuracy"] == (logits.argmax(axis=1) == y).mean()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert measured["val_loss"] == pytest.approx(-logs[np.arange(14), y].mean(), rel=1e-12)


def test_a_model_with_a_loss_keeps_its_key() -> None:
    """The objective hands the dropout key to a forward that takes one, and to no other."""
    seen: list[Any] = []

    class Dropping(Scale):
        def forward(self, x: Any, *, key: Any = None) -> Any:
            seen.append(key)
            return super().forward(x)

    (x, y), key = regression()[0], object()
    ModelWithLoss(Dropping(), MeanSquaredError()).loss((x, y), key=key)  # type: ignore[arg-type]
    ModelWithLoss(Scale(), MeanSquaredError()).loss((x, y), key=key)  # type: ignore[arg-type]
    assert seen == [key]


@pytest.mark.parametrize("loss_fn", [None, MeanSquaredError()], ids=["its own loss", "a loss function"])
def test_the_keys_earlier_name_is_refused(loss_fn: Any) -> None:
    """A model written for 0.1 would train without dropout if its ``rng`` were not passed."""

    class Earlier(Scale):
        def forward(self, x: Any, *, rng: Any = None) -> Any: ...

        def loss(self, batch: Any, *, rng: Any = None) -> Any: ...

        def loss_backward(self, cache: Any) -> None: ...

    with pytest.raises(ConfigError, match=r"takes rng; the random key is called key since 0\.2: rename it"):
        Trainer(model=Earlier(), train_data=regression(), loss_fn=loss_fn)


class NoOptimizer:
    pass


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a name of an optimizer": ({"optimizer": "adamw"}, r"^optimizer is a str: give an optimizer of this model, AdamW"),
    "the class of an optimizer": ({"optimizer": SGD}, r"^optimizer is the class SGD: give an optimizer"),
    "something else": ({"optimizer": NoOptimizer()}, r"^optimizer is a NoOptimizer: give"),
    "one callback": ({"callbacks": EMA(0.9)}, r"^callbacks is one EMA: give a list, callbacks=\[...\]"),
    "the class of a callback": (
        {"callbacks": [EMA]},
        r"^callbacks has the class EMA: give an object of it, EMA\(...\)",
    ),
    "a misspelt argument": ({"optimiser": None}, r"^Trainer has no argument optimiser; did you mean optimizer\?"),
    "an argument like no other": ({"zzz": 1}, r"^Trainer has no argument zzz; there are model, train_data, optimizer"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_arguments(mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        Trainer(**{"model": Scale(), "train_data": regression(), "loss_fn": MeanSquaredError(), **arguments})


def test_a_path_is_no_training_data() -> None:
    with pytest.raises(DataError, match=r"the training data is a path, 'rows\.csv': read the file first"):
        Trainer(model=Scale(), loss_fn=MeanSquaredError(), train_data="rows.csv")


def test_what_does_not_fit_a_classifier_is_said_in_the_words_of_the_data() -> None:
    model = MLP(MLPConfig((3, 4, 2)))
    labels = np.zeros(8, int)
    for rows, message in (
        (np.zeros((8, 2), np.float32), r"^MLP: the inputs \(\d+, 2\) must have widths\[0\] = 3 features"),
        (np.zeros((8, 3)), r"^MLP: the inputs are float64 and the model is float32: inputs.astype\('float32'\)"),
        (np.zeros((8, 3), int), r"^MLP: the inputs are int64 and the model is float32"),
    ):
        with pytest.raises(ShapeError, match=message):
            Trainer(model=model, train_data=(rows, labels), progress=False).train()


def test_a_misspelt_field_of_a_model_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^GPTConfig has no field n_layers; did you mean 'n_layer'\? it has n_layer"):
        GPTConfig(vocab_size=8, n_layers=2)  # type: ignore[call-arg]
    config = GPTConfig(vocab_size=8)
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config) == replace(config)
