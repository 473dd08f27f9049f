"""Cleaning: every record is accounted for, no personal data is left, and the results depend on the files alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import read_corpus, read_records
from minitrain.data.hygiene import (
    Blocklist,
    CleanReport,
    Finding,
    HeldOut,
    NearDuplicates,
    PersonalData,
    Quality,
    clean,
)
from minitrain.data.hygiene import clean as the_function
from minitrain.data.hygiene import steps as steps_module
from minitrain.data.hygiene.sources import Item
from minitrain.data.hygiene.steps import Steps, _chunks
from minitrain.errors import ConfigError, DataError
from minitrain.files import FileError

pytest.importorskip("datasketch")
pytest.importorskip("stdnum")
pytest.importorskip("phonenumbers")

ALL: dict[str, Any] = {"personal": PersonalData(), "near": NearDuplicates(permutations=32)}
SENTENCE = "the quick brown fox jumps over the lazy dog and then it runs away as fast as it can go {}"
SECRETS = ["anna@example.org", "+49 30 901820", "4111 1111 1111 1111", "DE89370400440532013000", "111222333"]


class Shouting(NamedTuple):
    """A filter of one's own: texts in capital letters."""

    reason: str = "shouting"

    def __call__(self, text: str) -> Finding | None:
        return Finding("capitals") if text.isupper() else None


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_goes_and_what_stays(here: Path) -> None:
    texts = [
        SENTENCE.format("a"),
        SENTENCE.format("A").upper() + "  ",
        SENTENCE.format("b"),
        "LOUD",
        "a forbidden word, mark it",
        f"write to {SECRETS[0]}",
        f"write to {SECRETS[0].upper()}",
        "in the held out set",
        "short",
    ]
    Path("t.txt").write_text("\n\n".join(texts) + "\n\n\0\n")
    report = clean(
        "t.txt",
        "out",
        filters=[Shouting(), Blocklist.of(["forbidden word"]), HeldOut.of(["In the HELD out set!"])],
        mark=["blocklist"],
        **ALL,
    )
    removed = lines(here / "out" / "removed.jsonl")
    assert [(one["number"], one["place"], one["reason"]) for one in removed] == [
        (2, "t.txt:3", "shouting"),
        (3, "t.txt:5", "near duplicate"),
        (4, "t.txt:7", "shouting"),
        (7, "t.txt:13", "duplicate"),
        (8, "t.txt:15", "held_out"),
        (10, "t.txt:19", "broken"),
    ]
    assert removed[1]["detail"]["of"] == 1
    assert removed[1]["detail"]["similarity"] >= 0.8
    assert removed[1]["record"] == {"text": texts[2]}
    assert removed[3]["detail"] == {"of": 6, "of_place": "t.txt:11"}
    assert removed[3]["record"] == {"text": "write to <EMAIL>"}
    assert removed[-1]["raw"] == "\0"
    (marked,) = lines(here / "out" / "marked.jsonl")
    assert (marked["number"], marked["reason"], marked["rule"]) == (5, "blocklist", "line 1 of the list")
    assert lines(here / "out" / "masked.jsonl") == [{"number": 6, "place": "t.txt:11", "kinds": {"email": 1}}]
    kept = "\n\n".join([texts[0], texts[4], "write to <EMAIL>", "short"]) + "\n"
    assert (here / "out" / "data.txt").read_text() == kept
    assert read_corpus("out/data.txt") == kept
    assert (report.read, report.kept, report.removed.total(), report.masked_records) == (10, 4, 6, 1)
    assert report.masked == Counter({"email": 1})
    assert json.loads((here / "out" / "report.json").read_text()) == report.to_dict()
    assert report.to_dict()["removed"]["shouting"] == {"capitals": 2}
    assert report.to_dict()["marked"] == {"blocklist": {"line 1 of the list": 1}}
    assert sum(report.similarities.values()) == 1
    assert "| shouting | 2 | 2 capitals |" in (here / "out" / "report.md").read_text()
    assert "near duplicate" in report.describe()


PARTS = st.sampled_from([*SECRETS, "one", "two", "three", "Straße", "<b>", "12", "\n\n"])
ROWS = st.lists(st.lists(PARTS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8)


@settings(max_examples=15)
@given(rows=ROWS)
def test_every_record_is_in_one_file_and_no_secret_in_any(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    base = tmp_path_factory.mktemp("clean")
    source = base / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text, "n": number}) + "\n" for number, text in enumerate(rows)))
    report = clean(source, base / "out", filters=[Quality(min_words=2, max_repeated_ngrams=1e9)], **ALL)
    kept, removed = lines(report.data), lines(base / "out" / "removed.jsonl")
    numbers = [one.get("n", -1) for one in kept] + [(one.get("record") or {}).get("n", -1) for one in removed]
    broken = [number for number, text in enumerate(rows) if not text.strip()]
    assert sorted(number for number in numbers if number >= 0) == [n for n in range(len(rows)) if n not in broken]
    assert len(kept) + len(removed) == report.read == len(rows)
    assert (report.kept, report.removed.total()) == (len(kept), len(removed))
    everything = b"".join(contents(base / "out").values())
    assert not any(secret.encode() in everything for secret in SECRETS)
    texts = [one["text"].casefold().split() for one in kept]
    assert len({tuple(text) for text in texts}) == len(texts)
    if kept:  # what is clean stays as it is
        again = clean(report.data, base / "again", filters=[Quality(min_words=2, max_repeated_ngrams=1e9)], **ALL)
        assert (again.kept, again.sha256, again.masked.total()) == (report.kept, report.sha256, 0)
        assert [row["n"] for row in read_records(report.data)] == [one["n"] for one in kept]


def test_the_order_of_files_does_not_matter(here: Path) -> None:
    for name, count in (("b.jsonl", 5), ("a.txt", 3), ("c.tsv", 2)):
        texts = [SENTENCE.format(f"{name} {number} {'x ' * number}") for number in range(count)]
        rows = {"b.jsonl": [json.dumps({"text": text}) for text in texts], "c.tsv": ["text", *texts]}
        Path(name).write_text("\n\n".join(rows.get(name, texts)) if name == "a.txt" else "\n".join(rows[name]))
    first = clean(["a.txt", "b.jsonl", "c.tsv"], "one", **ALL)
    second = clean(["c.tsv", "b.jsonl", "./a.txt", "b.jsonl"], "two", **ALL)
    assert contents(here / "one") == contents(here / "two")
    assert first.read == second.read == 10
    assert first.data.name == "data.jsonl"
    assert lines(first.data)[0] == {"text": SENTENCE.format("a.txt 0 ")}


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SENTENCE.format(f"{number % 37} {'x ' * (number % 11)} {SECRETS[number % 5]}") for number in range(600)]
    Path("t.txt").write_text("\n".join(rows))
    filters = [Blocklist.of(["13 x"]), HeldOut.of([rows[3]])]
    for workers in (0, 2):
        clean("t.txt", f"out{workers}", unit="line", filters=filters, workers=workers, **ALL)
    assert contents(here / "out0") == contents(here / "out2")
    with pytest.raises(ConfigError, match="cannot be given to another process"):
        clean("t.txt", "out", unit="line", filters=[type("Local", (Shouting,), {})()], workers=1)
    assert not (here / "out").exists()


def test_processes_get_records_in_order_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "_AT_ONCE", 3)
    monkeypatch.setattr(steps_module, "_LETTERS_AT_ONCE", 10)
    items = [Item(str(number), {"text": "x" * (6 * (number % 2))}) for number in range(9)]
    items.append(Item("9", None, "broken", "y" * 20))
    chunks = list(_chunks(items))
    assert [item for chunk in chunks for item in chunk] == items
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
    assert list(map(len, _chunks([Item("", {"text": "x" * 10})] * 2))) == [1, 1]
    assert list(map(len, _chunks([Item("", {"text": "xxxx"})] * 5))) == [3, 2]  # twelve letters are enough, eight not
    assert list(map(len, _chunks([Item("", {"text": "xxxxx"})] * 5))) == [2, 2, 1]
    assert list(map(len, _chunks([Item("", {"text": "x" * 9})] * 4))) == [2, 2]
    assert list(map(len, _chunks([Item("", None, "broken", "")] * 4))) == [3, 1]
    assert [outcome.item.place for outcome in Steps().all(items)] == [item.place for item in items]


class Pool:
    """Stands for processes: works at once, and counts what was asked for."""

    made: list[Pool]

    def __init__(self, workers: int, context: Any, initializer: Any, initargs: Any) -> None:
        assert context.get_start_method() == "spawn"
        initializer(*initargs)
        self.workers, self.submitted, self.cancelled = workers, 0, False
        Pool.made.append(self)

    def submit(self, work: Any, chunk: list[Item]) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        future.set_result(work(chunk))
        return future

    def shutdown(self, *, cancel_futures: bool) -> None:
        self.cancelled = cancel_futures


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_have_work_for_a_while_and_no_more(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Two parts of the records for each process wait for it, so memory does not grow with the records."""
    Pool.made = []
    monkeypatch.setattr(steps_module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(steps_module, "_steps", None)
    monkeypatch.setattr(steps_module, "_AT_ONCE", 2)
    items = [Item(str(number), {"text": f"text {number} of {SECRETS[number % 5]}"}) for number in range(25)]
    steps = Steps(personal=PersonalData())
    outcomes = steps.all(items, workers)
    first = next(outcomes)
    (pool,) = Pool.made
    assert (pool.workers, pool.submitted, pool.cancelled) == (workers, 2 * workers + 1, False)
    assert [first, *outcomes] == list(steps.all(items))
    assert (pool.submitted, pool.cancelled) == (13, True)
    stopped = steps.all(items, workers)
    next(stopped)
    stopped.close()
    assert Pool.made[1].cancelled


def test_columns_are_chosen_and_must_be_there(here: Path) -> None:
    rows = [{"text": f"to {SECRETS[0]}", "id": SECRETS[4]}, {"text": "to <EMAIL>", "id": "2"}, {"id": "3"}]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = clean("t.jsonl", "out", columns=["text"], **ALL)
    assert lines(report.data) == [{"text": "to <EMAIL>", "id": SECRETS[4]}]
    removed = lines(here / "out" / "removed.jsonl")
    assert [(one["reason"], one.get("rule")) for one in removed] == [
        ("duplicate", None),
        ("broken", "there is no column 'text'"),
    ]
    assert json.loads(removed[1]["raw"]) == {"id": "3"}


def test_steps_can_be_left_out(here: Path) -> None:
    Path("t.txt").write_text(f"same {SECRETS[0]}\nsame {SECRETS[0]}\n")
    report = clean("t.txt", "out", unit="line", exact=False)
    assert report.kept == 2
    assert report.data.read_text() == Path("t.txt").read_text()
    assert not (here / "out" / "marked.jsonl").exists()


def test_classes_become_labels(here: Path) -> None:
    for name, text in (("yes/1.txt", "good\n"), ("no/1.txt", "bad"), ("no/2.txt", "bad ")):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_text(text)
    Path("all").mkdir()
    for name in ("yes", "no"):
        os.rename(name, f"all/{name}")
    report = clean("all", "out", unit="label")
    assert lines(report.data) == [{"text": "bad", "label": "no"}, {"text": "good", "label": "yes"}]


def test_a_folder_with_files_is_refused_and_an_empty_one_is_used(here: Path) -> None:
    Path("t.txt").write_text("text")
    for name in ("full", "empty", "texts"):
        Path(name).mkdir()
    Path("full/x").write_text("")
    Path("texts/t.txt").write_text("text")
    with pytest.raises(DataError, match="full is a folder with files in it"):
        clean("t.txt", "full")
    with pytest.raises(DataError, match=r"t.txt is no folder"):
        clean("t.txt", "t.txt")
    with pytest.raises(DataError, match="inside its own source"):
        clean("texts", "texts/out")
    assert clean("t.txt", "empty").kept == 1
    assert sorted(contents(here / "full")) == ["x"]


def test_nothing_is_left_of_what_failed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("empty.txt").write_text("\n\n")
    Path("t.txt").write_text("text")

    def interrupted(text: str) -> Finding | None:
        raise KeyboardInterrupt

    interrupted.reason = "interrupted"  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"there are no records in empty.txt"):
        clean("empty.txt", "out")
    with pytest.raises(KeyboardInterrupt):
        clean("t.txt", "out", filters=[interrupted])  # type: ignore[list-item]
    assert sorted(os.listdir()) == ["empty.txt", "t.txt"]

    def full(file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*out: the disk is full"):
        clean("t.txt", "out")
    assert sorted(os.listdir()) == ["empty.txt", "t.txt"]


def test_wrong_settings_are_named(here: Path) -> None:
    Path("t.txt").write_text("text")
    with pytest.raises(ConfigError, match="workers=-1"):
        clean("t.txt", "out", workers=-1)
    with pytest.raises(ConfigError, match="mark='blocklst' is no filter here: did you mean 'blocklist'"):
        clean("t.txt", "out", filters=[Blocklist.of(["x"])], mark=["blocklst"])
    with pytest.raises(ConfigError, match="columns='text' must be a list"):
        clean("t.txt", "out", columns="text")


def test_a_report_names_the_most_frequent_and_escapes_what_it_shows() -> None:
    report = CleanReport(Path("out"), Path("out/data.txt"), ["a|<b>.txt"], ["Blocklist(3)"], read=20, kept=7)
    for number in range(10):
        report.removed["broken", f"reason {number}"] += 1 + (number == 9)
    report.removed["near duplicate", ""] += 2
    report.add_similarity(0.85)
    report.add_similarity(0.8999)
    report.add_similarity(1.0)
    assert report.similarities == Counter({"0.85": 2, "1.00": 1})
    rows = {name.strip(): (count, detail) for name, count, detail in report.rows()}
    assert rows["broken"][0] == 11
    assert rows["broken"][1].startswith("2 reason 9, 1 reason 0")
    assert rows["broken"][1].endswith("2 other kinds")
    assert rows["near duplicate"] == (2, "")
    assert rows["kept"] == (7, "35.0% of the records")
    assert "- a\\|&lt;b>.txt" in report.to_markdown()


def test_progress_is_told(here: Path) -> None:
    Path("t.txt").write_text("".join(f"{number}\n" for number in range(2500)))
    told: list[int] = []
    the_function("t.txt", "out", unit="line", progress=told.append)
    assert told == [1000, 2000]
