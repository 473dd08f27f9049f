"""A model that writes about images: who sees what, and that writing is the forward again and again."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.inside import capture
from minitrain.models import build_model
from minitrain.models.summary import summarize
from tests.helpers.model_checks import stir
from tests.helpers.model_zoo import KINDS

KIND = KINDS["captioner"]


def test_the_decoder_sees_no_later_token_and_all_of_the_image() -> None:
    model, batch = stir(KIND.build(dtype=np.float64)), KIND.batch(2, dtype=np.float64)
    texts = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
    before = model.forward(batch.images, texts)[0]
    later = texts.copy()
    later[:, 3] = 7
    moved = abs(model.forward(batch.images, later)[0] - before).max(axis=-1) > 1e-9
    assert moved.tolist() == [[False] * 3 + [True] * 2] * 2
    other = batch.images.copy()
    other[:, :, -1, -1] += 1
    assert (abs(model.forward(other, texts)[0] - before).max(axis=-1) > 1e-9).all()


@pytest.mark.parametrize("name", ["captioner", "captioner, tied"])
def test_writing_takes_the_most_likely_token_of_the_forward(name: str) -> None:
    model = stir(KINDS[name].build(dtype=np.float64))
    images = KINDS[name].batch(3, dtype=np.float64).images
    found = model.generate(images, start=1, end=None, max_new_tokens=4)
    texts = np.full((3, 1), 1)
    for _ in range(4):
        scores = model.forward(images, texts)[0][:, -1]
        scores[:, 0] = -np.inf
        texts = np.concatenate([texts, scores.argmax(axis=-1)[:, None]], axis=1)
    np.testing.assert_array_equal(found, texts)
    end = int(found[0, 2])
    ended = model.generate(images, start=1, end=end, max_new_tokens=4)
    place = found[0].tolist().index(end, 1)
    assert ended[0, : place + 1].tolist() == found[0, : place + 1].tolist()
    assert not ended[0, place + 1 :].any()


def test_attention_to_patches_can_be_seen() -> None:
    model, batch = stir(KIND.build()), KIND.batch(2, dtype=np.float32)
    with capture(model, "decoder.*.cross.*") as seen:
        model.loss(batch)
    for i in range(2):
        weights, v = seen[f"decoder.{i}.cross.weights"], seen[f"decoder.{i}.cross.v"]
        assert weights.shape == (2, 2, 6, 4)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        mixed = np.einsum("bhts,bshd->bthd", weights, v)
        np.testing.assert_allclose(seen[f"decoder.{i}.cross.mixed"], mixed, atol=1e-5)


def test_wrong_inputs_are_named() -> None:
    model, batch = KIND.build(), KIND.batch(2)
    with pytest.raises(ShapeError, match=r"there are 1 images and 2 texts; each image needs one text"):
        model.forward(batch.images[:1], batch.texts)
    with pytest.raises(ShapeError, match=r"inputs has shape \(2, 2, 5, 6\), expected \(B, 2, 6, 6\)"):
        model.forward(batch.images[:, :, 1:], batch.texts[:, :-1])
    with pytest.raises(ShapeError, match=r"texts has shape \(2, 7\), expected \(B, T\) with T <= block_size = 6"):
        model.forward(batch.images, batch.texts)
    with pytest.raises(DataError, match=r"texts: a row has padding"):
        model.forward(batch.images, np.array([[1, 0, 2], [1, 2, 3]]))
    for changes, says in (({"patch": 4}, "does not divide"), ({"pad_idx": 11}, "not in the vocabulary")):
        with pytest.raises(ConfigError, match=says):
            KIND.configure(**changes)


def test_a_preset_is_counted() -> None:
    model = build_model("captioner-shapes")
    found = summarize(model)
    assert found.parameter_count == model.parameter_count()
    assert set(found.parameters) == {"embedding", "attention", "feed-forward", "norms"}
