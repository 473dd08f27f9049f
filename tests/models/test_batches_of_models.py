"""Each model documents the batch fields it expects: attributes, keys, or a plain tuple in their order."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain.data import ArrayDataset, TokenLoader, pad_collate
from minitrain.errors import DataError, ShapeError
from minitrain.models import DualEncoder, Encoder, EncoderConfig, ImageTextBatch, ViT, ViTConfig
from minitrain.nn import create_padding_mask
from minitrain.ops import attention_forward, linear_forward, mean_pool_forward
from minitrain.trainers import train_model
from tests.helpers.model_checks import KEY, gradients_of
from tests.helpers.model_zoo import KINDS, Kind


def dual_encoder(**options: Any) -> DualEncoder:
    shape: dict[str, Any] = {"n_classes": 6, "n_layer": 1, "n_head": 2, "n_embd": 8}
    image = ViT(ViTConfig(image_size=4, patch=2, channels=1, **shape), seed=1)
    return DualEncoder(image, Encoder(EncoderConfig(vocab_size=7, block_size=5, **shape), seed=2))


def images_and_texts(rng: np.random.Generator, B: int, config: Any) -> ImageTextBatch:
    return ImageTextBatch(rng.standard_normal((B, 1, 4, 4)), rng.integers(0, 7, (B, 5)), rng.integers(1, 6, B))


class DualKind(Kind):
    """The pair of encoders, as the other kinds are built and fed."""

    def build(self, **_: Any) -> Any:
        return dual_encoder()

    def batch(self, B: int = 3, *, seed: int = 0, **_: Any) -> Any:
        batch = images_and_texts(np.random.default_rng(seed), B, None)
        return batch._replace(images=batch.images.astype(np.float32))


ALL = KINDS | {"dual encoder": DualKind(DualEncoder, None, {}, images_and_texts)}
kinds = pytest.mark.parametrize("kind", ALL.values(), ids=ALL)


def batch_of(kind: Any) -> Any:
    """A batch whose fields are all arrays."""
    batch = kind.batch(4)
    return SimpleNamespace(**{name: value for name, value in batch._asdict().items() if value is not None})


FORMS = {
    "keys": lambda model, batch: dict(vars(batch)),
    "a plain tuple": lambda model, batch: in_order(model, batch),
    "a list": lambda model, batch: list(in_order(model, batch)),
}


def in_order(model: Any, batch: Any) -> tuple[Any, ...]:
    return tuple(getattr(batch, name) for name in model.batch_fields.names if hasattr(batch, name))


@kinds
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_any_form_gives_the_same_loss(kind: Any, form: str) -> None:
    model, batch = kind.build(), batch_of(kind)
    other = FORMS[form](model, batch)
    for key in (None, KEY):
        assert model.loss(other, key=key)[0] == model.loss(batch, key=key)[0]
    assert model.loss_and_outputs(other)[0] == model.loss_and_outputs(batch)[0]


@kinds
def test_the_gradients_of_plain_tuples_are_the_same(kind: Any) -> None:
    model, batch = kind.build(), kind.batch(4)
    expected = gradients_of(model, [batch])
    for path, gradient in gradients_of(model, [in_order(model, batch)]).items():
        np.testing.assert_array_equal(gradient, expected[path])


@kinds
@pytest.mark.parametrize("wrong", ["one array", "too many", "other names", "a missing key", "an array", "None"])
def test_a_batch_that_does_not_fit_is_told_the_fields(kind: Any, wrong: str) -> None:
    model, batch = kind.build(), batch_of(kind)
    first, second, *_ = model.batch_fields.required
    arrays = in_order(model, batch)[:2]
    Other = namedtuple("Other", "left right")
    given = {
        "one array": arrays[:1],
        "too many": (*arrays, *arrays, *arrays),
        "other names": Other(*arrays),
        "a missing key": {first: arrays[0]},
        "an array": arrays[0],
        "None": None,
    }[wrong]
    with pytest.raises(
        DataError, match=rf"{type(model).__name__}.loss: the batch is a .*; it needs {first} and {second}"
    ):
        model.loss(given)
    if wrong != "None":
        with pytest.raises(DataError, match=f"it needs {first} and {second}"):
            model.loss_and_outputs(given)


@kinds
def test_a_field_that_is_no_array_is_named(kind: Any) -> None:
    model, batch = kind.build(), batch_of(kind)
    for name in model.batch_fields.names:
        if hasattr(batch, name):
            changed = SimpleNamespace(**vars(batch) | {name: getattr(batch, name).tolist()})
            with pytest.raises(ShapeError, match=rf"loss: {name} must be a NumPy or CuPy array, got list"):
                model.loss(changed)


def test_pairs_train_the_librarys_own_models() -> None:
    rng = np.random.default_rng(0)
    data = [(rng.standard_normal((8, 3)).astype(np.float32), rng.integers(0, 5, 8)) for _ in range(3)]
    history = train_model(KINDS["mlp"].build(), data, data, epochs=2, progress=False)
    assert len(history["val_accuracy"]) == 2


# Masked arrays and matrices.

X = np.ones((2, 3), np.float32)
MASKED = np.ma.masked_array(X, mask=X > 2)
IDS = np.ma.masked_array(np.ones((2, 3), np.int64), mask=False)
LAYER = mt.nn.Linear(3, 3, np.random.default_rng(0))
DOORS = {
    "an operation": (lambda: linear_forward(MASKED, np.ones((3, 3), np.float32)), "linear_forward: x"),
    "a weight": (lambda: linear_forward(X, np.ma.masked_array(np.ones((3, 3), np.float32))), "linear_forward: weight"),
    "a layer": (lambda: LAYER.forward(MASKED), "linear_forward: x"),
    "an attention mask": (
        lambda: attention_forward(*[np.ones((1, 2, 1, 4), np.float32)] * 3, mask=np.ma.masked_array([[True, False]])),
        "attention_forward: mask",
    ),
    "lengths": (lambda: mean_pool_forward(X[None], key_lengths=np.ma.masked_array([1])), "mean_pool_forward: key_len"),
    "padding": (lambda: create_padding_mask(IDS), "create_padding_mask: tokens"),
    "tokens of a model": (lambda: KINDS["gpt"].build().forward(IDS), "GPT.forward: tokens"),
    "a batch": (lambda: KINDS["gpt"].build().loss((IDS, np.ones((2, 3), int))), "GPT.loss: inputs"),
    "targets": (lambda: KINDS["gpt"].build().loss((np.ones((2, 3), int), IDS)), "GPT.loss: targets"),
    "a data set": (lambda: ArrayDataset(inputs=MASKED, targets=np.ones(2, int)), "ArrayDataset: inputs"),
    "a loader": (lambda: TokenLoader(np.ma.masked_array([1, 2, 3]), 1, 1, seed=0), "TokenLoader: tokens"),
    "a sample": (lambda: pad_collate([(np.ma.masked_array([1, 2]), np.array(1))]), "sample 0 of the batch"),
    "a prompt": (lambda: mt.generate(KINDS["gpt"].build(), IDS, 1, temperature=0), "tokens"),
    "weights": (lambda: LAYER.load_state_dict({"weight": MASKED[:1].T * MASKED[:1], "bias": X[0]}), "the array"),
}


@pytest.mark.parametrize("door", DOORS)
def test_masked_arrays_are_refused_where_they_come_in(door: str) -> None:
    """The operations do not know masks: NumPy would drop one without a word."""
    call, what = DOORS[door]
    with pytest.raises((ShapeError, DataError), match=rf"{what}.* is a masked array, and its mask would be lost: fill"):
        call()


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"linear_forward: x is a numpy.matrix, whose \* is a matrix product"):
        linear_forward(np.asmatrix(X), np.ones((3, 3), np.float32))


def test_arrays_from_files_are_plain(tmp_path: Any) -> None:
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (2, 3))
    mapped[...] = 1
    assert LAYER.forward(mapped)[0].tolist() == LAYER.forward(X)[0].tolist()
