"""Images in batches: equal for any number of workers, any split and after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    Classes,
    Compose,
    ImageArrays,
    ImageFolder,
    ImageTextPairs,
    LabelledImages,
    MemoryRecords,
    Normalize,
    PrefetchLoader,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    SymbolTokenizer,
    TarImages,
)
from minitrain.errors import ConfigError, DataError
from minitrain.models import DualEncoder, Encoder, EncoderConfig, ViT, ViTConfig
from tests.data.images.made import encoded, pixels, tar

GREY = Normalize((0.5,), (0.5,))
SMALL = Compose([RandomCrop(1), RandomHorizontalFlip(), RandomErasing(0.5), GREY])
COLOUR = Normalize((0.5,) * 3, (0.5,) * 3)


def numbered(count: int) -> ImageArrays:
    """Image i shows i + 1 in the middle."""
    images = np.zeros((count, 8, 8), np.uint8)
    images[:, 3:5, 3:5] = np.arange(1, count + 1)[:, None, None]
    return ImageArrays(images, label=np.arange(count) % 3)


def equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(
    count=st.integers(1, 12),
    batch_size=st.integers(1, 9),
    workers=st.integers(2, 4),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 9),
    parts=st.integers(1, 3),
)
@settings(max_examples=25)
def test_a_batch_is_a_function_of_the_seed_and_the_step(
    count: int, batch_size: int, workers: int, seed: int, step: int, parts: int
) -> None:
    dataset = LabelledImages(numbered(count), transform=SMALL)
    loader = dataset.loader(batch_size, seed=seed)
    batch = loader.batch(step)
    assert batch.inputs.shape == (batch_size, 1, 8, 8)
    other = dataset.loader(batch_size, seed=seed, workers=workers)
    assert equal(other.batch(step), batch)  # other workers, and resumed at this step
    split = other.micro_batches(step, min(parts, batch_size))
    assert equal(type(batch)(*map(np.concatenate, zip(*(part for _, part in split), strict=True))), batch)
    # The same samples with the same transforms, whatever the size of a batch is.
    single = dataset.loader(1, seed=seed)
    rows = [single.batch(step * batch_size + row) for row in range(batch_size)]
    assert equal(type(batch)(*map(np.concatenate, zip(*rows, strict=True))), batch)


def test_an_epoch_has_every_image_once_and_other_transforms_in_the_next() -> None:
    dataset = LabelledImages(numbered(20), transform=GREY)
    loader = dataset.loader(5, seed=3)
    assert loader.steps_per_epoch == 4
    for epoch in range(2):
        batches = [loader.batch(step) for step in range(4 * epoch, 4 * epoch + 4)]
        seen = np.rint((np.concatenate([batch.inputs[:, 0, 3, 3] for batch in batches]) + 1) * 127.5)
        assert sorted(seen.tolist()) == list(range(1, 21))
    moving = LabelledImages(numbered(1), transform=SMALL).loader(1)
    assert len({moving.batch(step).inputs.tobytes() for step in range(10)}) > 3
    calm = LabelledImages(numbered(4), transform=SMALL)
    assert equal(next(calm.batches(4)), next(calm.batches(4)))  # evaluation
    assert next(calm.batches(1)).inputs.shape == (1, 1, 8, 8)


def test_files_are_decoded_in_the_background(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / f"{'ab'[number % 2]}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(pixels(9 + number, 20 - number, seed=number), "JPEG"))
    transform = Compose([RandomResizedCrop(8), RandomHorizontalFlip(), COLOUR])
    dataset = LabelledImages(ImageFolder(tmp_path), transform=transform)
    plain = dataset.loader(5, seed=1)
    with PrefetchLoader(dataset.loader(5, seed=1, workers=3)) as ahead:
        for step in (0, 1, 2, 6, 3):
            for (_, one), (_, other) in zip(plain.micro_batches(step, 2), ahead.micro_batches(step, 2), strict=True):
                assert equal(one, other)
    model = ViT(ViTConfig(image_size=8, patch=4, n_classes=2, n_layer=1, n_head=1, n_embd=8))
    assert np.isfinite(model.loss(plain.batch(0))[0].total)
    (tmp_path / "a" / "0.jpg").write_bytes(b"no image")
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"a/0\.jpg: the image cannot be decoded"):
            dataset.loader(12, workers=workers).batch(0)


def test_shards_are_read_one_after_another(tmp_path: Path) -> None:
    paths = []
    for shard in range(3):
        members = [
            (f"{i}.{kind}", content)
            for i in range(4)
            for kind, content in (("png", encoded(pixels(4, 4))), ("cls", b"%d" % shard))
        ]
        paths.append(tmp_path / f"{shard}.tar")
        paths[-1].write_bytes(tar(members))
    records = TarImages(paths, ["cls"])
    dataset = LabelledImages(records, transform=COLOUR, label="cls")
    loader = dataset.loader(4, seed=2, shard_sizes=records.shard_sizes)
    epochs = [[loader.batch(3 * epoch + step).targets.tolist() for step in range(3)] for epoch in range(4)]
    assert all(sorted(epoch) == [[0] * 4, [1] * 4, [2] * 4] for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) > 1
    assert sorted(loader.order.of_epoch(5).tolist()) == list(range(12))
    with pytest.raises(DataError, match="the shards have 5 images together, and the data set has 12"):
        dataset.loader(4, shard_sizes=np.array([2, 3]))


def test_what_an_image_loader_refuses() -> None:
    dataset = LabelledImages(numbered(4), transform=GREY)
    with pytest.raises(ConfigError, match="workers=0"):
        dataset.loader(2, workers=0)
    with pytest.raises(ConfigError, match="batch_size"):
        dataset.loader(0)
    with pytest.raises(ConfigError, match="cannot be -1"):
        dataset.loader(2).batch(-1)
    with pytest.raises(DataError, match="no column 'image'"):
        LabelledImages(MemoryRecords([{"label": 1}]), transform=GREY)
    with pytest.raises(DataError, match="record 2: the class '2' is not one of the 2 classes"):
        LabelledImages(numbered(4), Classes("01"), transform=GREY)
    some = LabelledImages(numbered(4), Classes("01"), transform=GREY, broken="skip", max_broken=0.5)
    assert some.targets.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="no images"):
        LabelledImages(numbered(4), Classes("x"), transform=GREY, broken="skip", max_broken=1.0).loader(1)


def test_images_and_texts() -> None:
    tokenizer = SymbolTokenizer("abcdef")
    records = ImageArrays(numbered(3).images[:, 0], caption=["abc", ["d", "ef"], "f"])
    pairs = ImageTextPairs(records, tokenizer, transform=SMALL)
    batch = next(pairs.batches(3))
    assert batch.texts.tolist() == [[4, 5, 6], [7, 0, 0], [9, 0, 0]]
    assert batch.lengths.tolist() == [3, 1, 1]
    loader = pairs.loader(3, seed=1)
    drawn = {tokenizer.decode(row) for step in range(12) for row in loader.batch(step).texts}
    assert drawn == {"abc", "d", "ef", "f"}
    assert equal(loader.batch(7), pairs.loader(3, seed=1, workers=2).batch(7))
    framed = ImageTextPairs(records, tokenizer, transform=SMALL, framed=True, max_tokens=2)
    assert next(framed.batches(3)).texts.tolist() == [[1, 4, 5, 2], [1, 7, 2, 0], [1, 9, 2, 0]]
    assert framed.truncated == 1
    shape = {"n_classes": 4, "n_layer": 1, "n_head": 1, "n_embd": 8}
    model = DualEncoder(
        ViT(ViTConfig(image_size=8, patch=4, channels=1, **shape)),
        Encoder(EncoderConfig(vocab_size=10, block_size=4, **shape)),
    )
    for size in (1, 3):
        assert np.isfinite(model.loss(pairs.loader(size).batch(0))[0].total)
    with pytest.raises(DataError, match="record 1: column 'caption' is empty"):
        ImageTextPairs(ImageArrays(numbered(2).images[:, 0], caption=["a", ""]), tokenizer, transform=SMALL)
