"""Images with texts from tables, folders and archives, and images that stay in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minitrain.data import MemoryRecords, read_captions
from minitrain.data.images.kept import KeptImages
from minitrain.errors import ConfigError, DataError
from tests.helpers.measuring.captions import FORMS, as_folder, as_rows, class_number, halves


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_images_the_texts_and_the_classes(tmp_path: Path, form: str) -> None:
    pairs = halves(6)
    path = FORMS[form](tmp_path, pairs)
    found = read_captions(path, label="label")
    assert found.columns == ("image", "caption", "label")
    for record, (image, texts) in zip(found, pairs, strict=True):
        np.testing.assert_array_equal(record["image"], image.transpose(2, 0, 1))
        assert record["caption"] in (texts, texts[0])
        assert str(record["label"]) == (class_number(texts) if form == "shards" else texts[0].split()[0])
    assert read_captions(path).columns == ("image", "caption")
    assert len({read_captions(path).fingerprint, read_captions(path).fingerprint, found.fingerprint}) == 2


def test_a_fingerprint_depends_on_texts_and_images(tmp_path: Path) -> None:
    pairs = halves(4)
    prints = []
    for name, some in {"a": pairs, "b": pairs, "c": [*pairs[:3], (pairs[3][0], ["other"])], "d": pairs[:3]}.items():
        (tmp_path / name).mkdir()
        prints.append(read_captions(as_rows(tmp_path / name, some)).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    place = as_folder(tmp_path, halves(3))
    (place / "captions.tsv").write_text("file\tcaption\n")
    with pytest.raises(DataError, match=r"has 2 of the files captions\.tsv"):
        read_captions(place)
    with pytest.raises(DataError, match="there is no"):
        read_captions(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cannot tell what"):
        read_captions(place / "png" / "000.png")


def test_kept_images_are_decoded_once_and_cannot_be_changed() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 2, 2), dtype=np.uint8)
    records = MemoryRecords([{"image": image, "caption": f"text {i}"} for i, image in enumerate(images)])
    found = KeptImages(records)
    assert found.fingerprint == records.fingerprint
    assert found.columns == records.columns
    for i in range(3):
        assert found[i]["image"] is found[i]["image"]
        np.testing.assert_array_equal(found[i]["image"], images[i])
        assert found[i]["caption"] == f"text {i}"
        assert found.without_image(i) == {"caption": f"text {i}"}
    with pytest.raises(ValueError, match="read-only"):
        found[0]["image"][:] = 0
    assert found[-1] == found[2]
    with pytest.raises(IndexError):
        found[3]
