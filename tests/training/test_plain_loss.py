"""An evaluation measures the plain loss: label smoothing belongs to training, and perplexity is of the plain loss."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.folder.names import METRICS
from minitrain.losses import (
    CrossEntropyLoss,
    FocalLoss,
    LabelSmoothing,
    LinearCrossEntropy,
    LossFunction,
    MeanSquaredError,
)
from minitrain.models import GPT, MLP, GPTConfig, MLPConfig
from minitrain.nn import Linear
from minitrain.ops.contract.loss import Loss
from minitrain.optim import SGD
from minitrain.runs import evaluate_run, start_run
from minitrain.runs.report import history_of, smooths
from minitrain.testing import CheckSettings, check_module
from minitrain.trainers import LanguageModelTrainer, TransformerTrainer, train_model
from minitrain.training import Evaluator, ModelWithLoss, Trainer, TrainingConfig
from tests.helpers.model_checks import KEY, LossOf, gradients_of, stir
from tests.helpers.model_zoo import KINDS, Labelled
from tests.helpers.small_runs import small_config

SMOOTHING = 0.3
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def smoothed_by_hand(logits: Any, targets: Any, ignored: int) -> tuple[float, float]:
    """The totals of the smoothed and of the plain cross-entropy."""
    logits = logits.astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    counts = targets != ignored
    own = np.take_along_axis(logs, np.where(counts, targets, 0)[..., None], axis=-1)[..., 0]
    smoothed = (1 - SMOOTHING) * own + SMOOTHING * logs.mean(axis=-1)
    return -smoothed[counts].sum(), -own[counts].sum()


@kinds
def test_models_smooth_in_training_alone(kind: Any) -> None:
    model, batch = stir(kind.build(dtype=np.float64, label_smoothing=SMOOTHING)), kind.batch(dtype=np.float64)
    plain, logits = model.loss_and_outputs(batch)
    (targets,) = (getattr(batch, name) for name in ("target", "texts", "targets") if hasattr(batch, name))
    targets = batch.targets if hasattr(batch, "targets") else targets[:, 1:]
    trained, measured = smoothed_by_hand(logits, targets, model.ignore_index)
    assert abs(trained - measured) > 1e-3
    assert float(plain.total) == pytest.approx(measured, rel=1e-12)
    assert float(model.loss(batch)[0].total) == pytest.approx(measured, rel=1e-12)
    assert float(model.loss(batch, key=KEY)[0].total) == pytest.approx(trained, rel=1e-12)
    assert plain.count == model.loss(batch, key=KEY)[0].count
    assert model.smooths
    assert not kind.build(label_smoothing=0.0).smooths


@kinds
def test_gradients_of_the_smoothed_loss(kind: Any) -> None:
    model = stir(kind.build(dtype=np.float64, label_smoothing=SMOOTHING))
    check_module(LossOf(model, kind.batch(dtype=np.float64)), settings=CheckSettings(elementwise=0), key=KEY)


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_a_chunked_head_smooths_alike(name: str) -> None:
    whole, chunked = (
        stir(KINDS[name].build(dtype=np.float64, label_smoothing=SMOOTHING, loss_chunk=chunk)) for chunk in (None, 4)
    )
    batch = KINDS[name].batch()
    for key in (None, KEY):
        a, b = (model.loss(batch, key=key)[0] for model in (whole, chunked))
        assert float(a.total) == pytest.approx(float(b.total), rel=1e-12)
        expected, actual = (gradients_of(model, [batch], key=key) for model in (whole, chunked))
        for path, gradient in expected.items():
            np.testing.assert_allclose(actual[path], gradient, rtol=1e-9, atol=1e-12, err_msg=path)


@kinds
def test_the_evaluator_and_the_trainer_measure_the_plain_loss(kind: Any) -> None:
    """Of the same weights, whatever the smoothing; a training step minimises the smoothed loss."""
    batch = kind.batch(4)
    values = []
    for smoothing in (SMOOTHING, 0.0):
        model = stir(kind.build(label_smoothing=smoothing))
        trainer = Trainer(
            model=model,
            train_data=[batch],
            val_data=[batch],
            optimizer=SGD(model, lr=1e-9),
            config=TrainingConfig(epochs=1),
            progress=False,
        )
        evaluated = Evaluator(model, [batch]).run()["val_loss"]
        assert trainer.validate()["val_loss"] == evaluated
        values.append((evaluated, trainer.train().history.get_metric("train_loss")[0]))
    (smoothed_val, smoothed_train), (plain_val, plain_train) = values
    assert smoothed_val == plain_val == pytest.approx(plain_train, rel=1e-5)
    assert abs(smoothed_train - plain_train) > 1e-3


def test_a_regression_cannot_be_smoothed() -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing = 0.1: a regression has no labels to smooth; use 0"):
        MLPConfig((2, 1), task="regression", label_smoothing=0.1)
    with pytest.raises(ConfigError, match=r"label_smoothing = 1.0 must be at least 0 and less than 1"):
        GPTConfig(9, label_smoothing=1.0)


# Loss functions.


LOGITS = np.random.default_rng(0).standard_normal((6, 4))
CLASSES = np.array([0, 1, 2, 3, 1, 2])


class Identity(Linear):
    """A model that gives back its inputs."""

    def __init__(self) -> None:
        super().__init__(4, 4, np.random.default_rng(0), bias=False, dtype=np.float64)
        self.weight.data[...] = np.eye(4)


@pytest.mark.parametrize(
    ("loss_fn", "plain"),
    [
        (CrossEntropyLoss(SMOOTHING), CrossEntropyLoss()),
        (CrossEntropyLoss(z_loss=0.5), CrossEntropyLoss()),
        (CrossEntropyLoss(SMOOTHING, weight=[1.0, 2, 3, 4]), CrossEntropyLoss(weight=[1.0, 2, 3, 4])),
        (LabelSmoothing(SMOOTHING, 0), CrossEntropyLoss(ignore_index=0)),
        (LabelSmoothing(SMOOTHING, 0, others_only=True), CrossEntropyLoss(ignore_index=0)),
        (FocalLoss(), FocalLoss()),
    ],
    ids=["smoothed", "z-loss", "weighted", "padded", "others only", "focal"],
)
@pytest.mark.parametrize("reduction", [None, "mean"])
def test_a_model_with_a_loss_function(loss_fn: Any, plain: Any, reduction: str | None) -> None:
    loss_fn.reduction = reduction
    objective = ModelWithLoss(Identity(), loss_fn)
    trained, measured = loss_fn.summed().forward(LOGITS, CLASSES)[0], plain.forward(LOGITS, CLASSES)[0]
    assert objective.loss((LOGITS, CLASSES), key=KEY)[0] == trained
    assert objective.loss((LOGITS, CLASSES))[0] == measured
    assert objective.loss_and_outputs((LOGITS, CLASSES))[0] == measured
    assert objective.smooths == (trained != measured)


def test_plain_changes_nothing_else() -> None:
    loss_fn = LinearCrossEntropy(SMOOTHING, "mean", ignore_index=3, weight=[1.0, 2, 3, 4], z_loss=0.1, chunk=7)
    plain = loss_fn.plain()
    assert plain.options == loss_fn.options | {"label_smoothing": 0.0, "z_loss": 0.0}
    assert (plain.reduction, plain.weight is loss_fn.weight) == ("mean", True)
    assert loss_fn.options["label_smoothing"] == SMOOTHING
    assert plain.plain() is plain
    assert MeanSquaredError().plain().plain().reduction is None


def test_a_loss_of_ones_own_says_what_its_plain_form_is() -> None:
    class Penalised(LossFunction):
        penalty = 1.0

        def plain(self) -> Any:
            other = Penalised()
            other.penalty = 0.0
            return other

        def _forward(self, outputs: Any, targets: Any, each: bool) -> Any:
            losses = (outputs[:, 0] - targets) ** 2 + self.penalty
            return Loss(losses if each else losses.sum(), losses.size), (outputs, targets)

        def _backward(self, dtotal: Any, cache: Any) -> Any:
            outputs, targets = cache
            return dtotal * 2 * (outputs[:, 0] - targets)[:, None] * np.eye(4)[0]

    objective = ModelWithLoss(Identity(), Penalised())
    difference = objective.loss((LOGITS, CLASSES), key=KEY)[0].total - objective.loss((LOGITS, CLASSES))[0].total
    assert difference == pytest.approx(6.0)
    assert objective.smooths


# Perplexities.


def train(kind: str, **options: Any) -> tuple[Any, dict[str, list[float]]]:
    model = stir(KINDS[kind].build())
    batches = [KINDS[kind].batch(4, seed=seed) for seed in range(2)]
    trainer = TransformerTrainer(model, batches, batches[:1], warmup_steps=2, progress=False, **options)
    return model, trainer.train(2)


@pytest.mark.parametrize("kind", ["gpt", "llama", "encoder", "vit", "seq2seq"])
def test_the_transformer_trainer_reports_the_perplexity_of_the_plain_loss(kind: str) -> None:
    """At its own smoothing, of any model that owns its loss."""
    model, history = train(kind)
    assert model.config.label_smoothing == 0.1
    plain = KINDS[kind].build()
    plain.load_state_dict(model.state_dict())
    loss = plain.loss(KINDS[kind].batch(4))[0].mean
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-6)
    assert history["val_perplexity"] == [math.exp(value) for value in history["val_loss"]]
    assert "train_perplexity" not in history, "the loss of training is smoothed"
    assert ("val_accuracy" in history) == model.classifies
    assert history["train_loss"][0] != history["val_loss"][0]


def test_without_smoothing_both_losses_have_a_perplexity() -> None:
    _, history = train("gpt", label_smoothing=0.0)
    assert history["train_perplexity"] == [math.exp(value) for value in history["train_loss"]]
    assert "val_perplexity" in history


def test_a_model_without_label_smoothing_is_refused() -> None:
    class Own:
        def loss(self, batch: Any) -> Any: ...

        def loss_backward(self, cache: Any) -> None: ...

    with pytest.raises(ConfigError, match="Own has a loss of its own without label smoothing: pass label_smoothing=0"):
        TransformerTrainer(Own(), [])


def test_language_models_smooth_in_training_alone() -> None:
    model, batch = stir(KINDS["gpt"].build(label_smoothing=SMOOTHING)), KINDS["gpt"].batch(4)
    trainer = LanguageModelTrainer(model, [batch], [batch], learning_rate=1e-9, progress=False)
    history = trainer.train(1)
    plain = KINDS["gpt"].build()
    plain.load_state_dict(model.state_dict())
    loss = plain.loss(batch)[0].mean
    assert trainer.evaluate() == pytest.approx({"loss": loss, "perplexity": math.exp(loss)}, rel=1e-5)
    assert history["val_perplexity"][0] == pytest.approx(math.exp(loss), rel=1e-5)
    assert "train_perplexity" not in history


def test_other_losses_have_no_perplexity() -> None:
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((4, 2)).astype(np.float32), rng.standard_normal((4, 1)).astype(np.float32))]
    for model, loss_fn in (
        (MLP(MLPConfig((2, 1), task="regression")), None),
        (Linear(2, 1, rng), MeanSquaredError()),
    ):
        history = train_model(model, data, data, epochs=1, loss_fn=loss_fn, progress=False)
        assert history.keys() == {"train_loss", "val_loss", "learning_rate"}


def test_a_run_says_whether_it_smooths(tmp_path: Path) -> None:
    (tmp_path / METRICS).touch()
    assert not smooths(tmp_path), "a run without a configuration"
    for smoothing in (0.0, 0.1):
        (tmp_path / "config.yaml").write_text(
            f"model: {{name: gpt, label_smoothing: {smoothing}}}\ndata: {{path: x}}\n", encoding="utf-8"
        )
        assert smooths(tmp_path) == (smoothing > 0)


def test_the_record_of_a_smoothed_run_has_no_perplexity_of_its_training() -> None:
    records = [{"step": 1, "loss": 2.0}, {"step": 1, "val_loss": 1.0}]
    assert history_of(records).get_metric("train_perplexity") == [math.exp(2)]
    smoothed = history_of(records, smoothed=True)
    assert smoothed.get_metric("val_perplexity") == [math.exp(1)]
    assert "train_perplexity" not in smoothed.names()


# Accuracy.


@pytest.mark.parametrize("kind", [kind for name, kind in KINDS.items() if name.startswith(("mlp", "vit", "encoder"))])
def test_every_classifier_reports_its_accuracy(kind: Any) -> None:
    model = stir(kind.build())
    batches = [kind.batch(5), kind.batch(3, seed=1)]
    history = train_model(model, batches, batches, epochs=1, learning_rate=1e-9, progress=False)
    right = []
    for batch in batches:
        options = {} if batch.lengths is None else {"lengths": batch.lengths}
        right.append(model.forward(batch.inputs, **options)[0].argmax(-1) == batch.targets)
    assert history["val_accuracy"] == [np.concatenate(right).mean()]


@pytest.mark.parametrize("form", [tuple, lambda batch: batch._asdict()], ids=["tuples", "dictionaries"])
def test_accuracy_reads_a_batch_in_any_form(form: Any) -> None:
    kind = KINDS["encoder"]
    model, batch = stir(kind.build()), kind.batch(5)
    expected = Evaluator(model, [batch]).run()
    assert Evaluator(model, [form(batch)]).run() == expected
    assert "val_accuracy" in expected


def test_accuracy_leaves_out_what_the_loss_ignores() -> None:
    """With padding 0, a target of 0 is neither right nor wrong."""
    data = [(LOGITS, CLASSES)]
    hits = LOGITS.argmax(axis=1) == CLASSES
    for loss_fn, counts in ((LabelSmoothing(0.1, 0), CLASSES != 0), (FocalLoss(ignore_index=2), CLASSES != 2)):
        measured = Evaluator(ModelWithLoss(Identity(), loss_fn), data).run()
        assert measured["val_accuracy"] == pytest.approx(hits[counts].mean())
    assert "val_accuracy" not in Evaluator(ModelWithLoss(Identity(), CrossEntropyLoss()), data, metrics={}).run()
    pair = (CrossEntropyLoss().forward, CrossEntropyLoss().backward)
    assert "val_accuracy" not in Evaluator(ModelWithLoss(Identity(), pair), data).run()


def test_language_models_and_regressions_do_not_classify() -> None:
    assert not GPT(GPTConfig(9, n_layer=1, n_head=1, n_embd=2)).classifies
    assert not KINDS["seq2seq"].build().classifies
    assert not MLP(MLPConfig((2, 1), task="regression")).classifies
    batch = Labelled(np.ones((2, 2), np.float32), np.ones((2, 1), np.float32))
    assert Evaluator(MLP(MLPConfig((2, 1), task="regression")), [batch]).run().keys() == {"val_loss", "val_tokens"}


def test_saved_configurations_of_earlier_versions_smooth_nothing() -> None:
    for kind in KINDS.values():
        fields = {field.name: field.default for field in dataclasses.fields(kind.config)}
        assert fields["label_smoothing"] == 0.0


def test_a_run_on_a_text_trains_on_smoothed_labels_and_evaluates_on_plain_ones(
    tmp_path: Path, no_pictures: None
) -> None:
    run = start_run(small_config(tmp_path, model_label_smoothing=0.5, model_dropout=0.0))
    result = run.train()
    assert run.trainer.setup.objective.smooths
    plain = GPT(dataclasses.replace(run.trainer.model.config, label_smoothing=0.0))
    plain.load_state_dict(run.trainer.model.state_dict())
    measured = Evaluator(plain, run.trainer.run.evaluator.data).run()  # type: ignore[union-attr]
    assert measured["val_loss"] == result.validation.loss
    assert evaluate_run(run.run_dir).loss == pytest.approx(result.validation.loss, rel=1e-6)
    assert "val_perplexity" in (run.run_dir / "report.html").read_text(encoding="utf-8")
    assert "train_perplexity" not in (run.run_dir / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_function_leaves_padding_out_as_the_model_does(seed: int) -> None:
    """What stands in the padding changes neither loss nor gradient, whatever the batch is."""
    model, batch = KINDS["encoder"].build(dtype=np.float64), KINDS["encoder"].batch(seed=seed, dtype=np.float64)
    objective = ModelWithLoss(model, CrossEntropyLoss())
    expected = model.loss(batch)[0].total
    other = np.where(np.arange(batch.inputs.shape[1]) < batch.lengths[:, None], batch.inputs, 1)
    for form in (batch, batch._asdict(), batch._replace(inputs=other)):
        assert objective.loss(form)[0].total == pytest.approx(expected, rel=1e-12)
