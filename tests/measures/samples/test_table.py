"""Tables of samples: values, slices, and a file that is read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import DataError
from minitrain.files import FileError
from minitrain.measures import Accuracy, ConfusionMatrix, SampleTable
from minitrain.measures.samples import Collector, table
from tests.helpers.measuring.measured import classified, measured, value_of

LOGITS, TARGETS = classified(0, 9)
LANGUAGES = np.array(["de", "en", "en", "fr", "de", "en", "de", "en", "fr"])


def collected(cuts: tuple[int, ...] = (4,), data: str = "d") -> SampleTable:
    measures = {"accuracy": Accuracy(), "confusion": ConfusionMatrix(4)}
    collector = Collector(measures, {"language": "language", "length": lambda batch: (batch["targets"] + 200) % 7})
    for start, end in zip((0, *cuts), (*cuts, 9), strict=True):
        batch = {"inputs": None, "targets": TARGETS[start:end], "language": LANGUAGES[start:end].tolist()}
        collector.update(LOGITS[start:end], batch)
    return collector.table(data)


def test_values_are_those_of_the_measures() -> None:
    found = collected()
    assert len(found) == 9
    expected = measured(Accuracy, LOGITS, (TARGETS, TARGETS))["m"]
    assert found.values()["accuracy"] == found.values()["confusion_accuracy"] == expected
    assert collected((1, 5)).values() == found.values()
    assert found.data == "d"


def test_slices_by_a_key_or_a_function() -> None:
    found = collected()
    parts = found.by("language")
    assert list(parts) == ["de", "en", "fr"]
    for language, part in parts.items():
        here = language == LANGUAGES
        assert part.values()["accuracy"] == value_of(Accuracy(), LOGITS[here], (None, TARGETS[here])).get("", 0)
        assert set(part.keys["language"]) == {language}
    halves = found.by(lambda keys: keys["length"] > 3)
    assert sum(map(len, halves.values())) == 9
    assert len(found.where(np.array([0, 0, 1]))) == 3
    with pytest.raises(DataError, match="the samples have no key 'class'; there are: language, length"):
        found.by("class")
    with pytest.raises(DataError, match="there are: none"):
        SampleTable({}, {}).by("class")


def test_a_table_of_nothing() -> None:
    empty = Collector({"accuracy": Accuracy()}).table()
    assert len(empty) == len(SampleTable({}, {})) == 0
    assert empty.values() == {}
    assert empty.rows["accuracy"].shape == (0, 0)
    assert len(Collector({"accuracy": Accuracy()}, {"key": "key"}).table()) == 0
    only_keys = Collector({}, {"x": lambda batch: batch})
    only_keys.update(None, [1, 2])
    assert len(only_keys.table()) == 2


def test_all_samples_have_everything() -> None:
    with pytest.raises(DataError, match="one row and one key each, but there are: a 2, language 3"):
        SampleTable({"a": Accuracy()}, {"a": np.zeros((2, 2))}, {"language": np.zeros(3)})


def test_a_file_gives_the_same_table(tmp_path: Path) -> None:
    found, path = collected(), tmp_path / "samples.jsonl"
    found.save(path)
    again = SampleTable.load(path)
    assert again.values() == found.values()
    assert again.data == "d"
    for name, rows in found.rows.items():
        np.testing.assert_array_equal(again.rows[name], rows)
        assert again.measures[name].settings() == found.measures[name].settings()
    for name, keys in found.keys.items():
        np.testing.assert_array_equal(again.keys[name], keys)
    head, first, *_ = path.read_text().splitlines()
    assert json.loads(head)["measures"]["accuracy"] == {"kind": "accuracy"}
    assert json.loads(first)["language"] == "de"


def test_an_empty_table_is_kept_too(tmp_path: Path) -> None:
    Collector({"accuracy": Accuracy()}).table("x").save(tmp_path / "empty.jsonl")
    again = SampleTable.load(tmp_path / "empty.jsonl")
    assert (len(again), again.values(), again.data) == (0, {}, "x")
    assert again.rows["accuracy"].shape == (0, 0)


HEAD = {"data": "d", "measures": {"a": {"kind": "accuracy"}}}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "its first line names no measures"),
        ([{"measures": []}], "its first line names no measures"),
        ([3], "line 1 is no JSON object"),
        ([HEAD, "[" * 2000], "line 2: it has more than"),
        ([HEAD, "{"], "line 2: "),
        ([HEAD, {"a": [1, 2]}, {"a": [1]}], "line 3 has no row of numbers for 'a'"),
        ([HEAD, {"a": 1}], "line 2 has no row of numbers for 'a'"),
        ([HEAD, {"a": [True, 1]}], "line 2 has no row of numbers for 'a'"),
        ([HEAD, {"b": 1}], "line 2 has no row of numbers for 'a'"),
        ([HEAD, '{"a": [NaN, 1]}'], "line 2 has no row of numbers for 'a'"),
        ([HEAD, {"a": [1, 2], "k": 1}, {"a": [1, 2]}], "line 3 has no text or number for 'k'"),
        ([HEAD, {"a": [1, 2], "k": [1]}], "line 2 has no text or number for 'k'"),
        ([{"measures": {"a": {"kind": "accuracy", "x": 1}}}], "the settings of 'a' are wrong"),
        ([{"measures": {"a": {"kind": "top_k", "k": "x"}}}], "the settings of 'a' are wrong"),
    ],
)
def test_what_is_no_table_is_refused_by_its_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    with pytest.raises(DataError, match=f"samples.jsonl is no table of samples: .*{message}"):
        SampleTable.load(path)


def test_unknown_measures_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    head = {"data": 3, "measures": {"a": {"kind": "accuracy"}, "b": {"kind": "of others"}, "c": 1}}
    path.write_text(f"{json.dumps(head)}\n{json.dumps({'a': [1, 1], 'b': 1, 'k': 'x'})}\n")
    found = SampleTable.load(path)
    assert (list(found.measures), list(found.keys), found.data) == (["a"], ["k"], "")


@pytest.mark.parametrize(("lists", "fits"), [(997, True), (998, False)])
def test_a_line_has_at_most_a_thousand_lists(tmp_path: Path, lists: int, fits: bool) -> None:
    path = tmp_path / "samples.jsonl"
    head = {"measures": {"a": {"kind": "accuracy"}, "b": {"kind": "of others"}}}
    path.write_text(f"{json.dumps(head)}\n{json.dumps({'a': [1, 1], 'b': [[]] * lists})}\n")
    if fits:
        assert len(SampleTable.load(path)) == 1
    else:
        with pytest.raises(DataError, match="line 2: it has more than 1,000 lists"):
            SampleTable.load(path)


def test_files_of_absurd_size_and_missing_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.jsonl"
    collected().save(path)
    monkeypatch.setattr(table, "LARGEST_FILE", path.stat().st_size)
    assert len(SampleTable.load(path)) == 9
    monkeypatch.setattr(table, "LARGEST_FILE", path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"is larger than .* bytes"):
        SampleTable.load(path)
    with pytest.raises(FileError, match="there is no such file"):
        SampleTable.load(tmp_path / "nothing")
    with pytest.raises(FileError, match="a folder"):
        SampleTable.load(tmp_path)
