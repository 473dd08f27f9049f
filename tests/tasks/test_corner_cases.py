"""What cannot be used, for every task: it is refused by its place, or left out and counted; and a batch may be of one.

Each row of a table damages one of forty good records. With ``broken=refuse`` (or ``overlong=refuse``), nothing is made
and the message names the file and what to do; with ``skip``, the rest is used and the run says how much was left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minitrain.errors import DataError
from minitrain.runs import RunConfig, load_run, start_run
from tests.helpers.measuring.captions import halves
from tests.helpers.measuring.classes import png

COUNT = 40
Damage = Callable[[dict[str, Any], Path], object]
SMALL: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16}
IMAGE = SMALL | {"patch": 4}
CLIP = IMAGE | {"text_layer": 1, "text_head": 2, "text_embd": 16, "n_features": 8}


class Kind(NamedTuple):
    """A task on one kind of data.

    Attributes:
        task: its name.
        model: settings of its model.
        data: settings of its data.
        images: whether its inputs are images.
    """

    task: str
    model: dict[str, Any]
    data: dict[str, Any]
    images: bool = False


PAIRS = {"source": "label", "target": "text", "tokenizer": "word", "block_size": 6}
TEXTS = {"name": "labelled_text", "tokenizer": "byte", "block_size": 20}
CAPTIONS = {"caption": "text", "tokenizer": "word", "block_size": 8, "label": "label"}
KINDS = {
    "pairs": Kind("sequence_to_sequence", SMALL, PAIRS),
    "texts": Kind("classification", SMALL, TEXTS),
    "images": Kind("classification", IMAGE, {"name": "images"}, images=True),
    "contrastive": Kind("contrastive", CLIP, CAPTIONS, images=True),
    "captioning": Kind("captioning", IMAGE | {"decoder_layer": 1}, CAPTIONS, images=True),
    "language_model": Kind("language_model", SMALL, {"tokenizer": "char", "block_size": 8}),
    "masked": Kind("masked_language_model", SMALL, {"tokenizer": "char", "block_size": 8}),
}
RECORDS = {name: kind for name, kind in KINDS.items() if "language_model" not in kind.task}
TEXT_OF = {"pairs", "texts", "contrastive", "captioning"}


def records(folder: Path) -> list[dict[str, Any]]:
    """Forty good ones: an image file, a text of four words, and a class."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (image, texts) in enumerate(halves(COUNT)):
        (folder / f"{number:02}.png").write_bytes(png(image))
        rows.append({"file": f"{number:02}.png", "text": texts[0], "label": texts[0].split()[0]})
    return rows


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows") -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(kind: Kind, folder: Path, path: Path, **data: Any) -> RunConfig:
    """Two steps with batches of one."""
    return RunConfig.from_dict(
        {
            "task": kind.task,
            "run_dir": str(folder / "run"),
            "model": kind.model,
            "data": {**kind.data, "path": str(path), **data},
            "scheduler": {"warmup_steps": 1},
            "trainer": {"max_steps": 2, "batch_size": 1, "validation_frequency": 2, "eval_batches": 1},
        }
    )


def corrupt(row: dict[str, Any], folder: Path) -> None:
    path = folder / row["file"]
    path.write_bytes(path.read_bytes()[:40])


def change(**values: Any) -> Damage:
    return lambda row, _: row.update(values)


EMPTY = r"rows\.jsonl:.*21.*: column '(text|caption)' is empty.*; correct it, or pass"
LONG = " ".join(["red on the left"] * 3)
CASES: dict[str, tuple[set[str], Damage, str]] = {
    "a corrupt image": ({"images", "contrastive", "captioning"}, corrupt, r"20\.png.*image"),
    "a missing image": ({"images", "contrastive", "captioning"}, change(file="gone.png"), r"gone\.png"),
    "an empty text": (
        TEXT_OF,
        change(text=""),
        EMPTY,
    ),
    "a blank text": (
        TEXT_OF,
        change(text=" \t "),
        EMPTY,
    ),
    "a text that is none": (TEXT_OF, change(text=3), r"rows\.jsonl.*21.*: column '(text|caption)' is"),
    "no text at all": (TEXT_OF, lambda row, _: row.pop("text"), r"rows\.jsonl:21: there is no column 'text'"),
    "an empty class": ({"texts", "images"}, change(label=""), r"rows\.jsonl:21: column 'label' is empty"),
}
BROKEN = [(case, name) for case, (names, _, _) in CASES.items() for name in sorted(names)]


def used(prepared: Any) -> int:
    """How many samples there are in all: the test samples are the validation samples."""
    return len(prepared.data.train) + len(prepared.data.val)


@pytest.mark.parametrize(("case", "name"), BROKEN)
def test_what_is_broken_is_refused_by_its_place_or_left_out(case: str, name: str, tmp_path: Path) -> None:
    _, damage, says = CASES[case]
    kind, rows = KINDS[name], records(tmp_path)
    damage(rows[20], tmp_path)
    path = written(tmp_path, rows)
    refusing = config(kind, tmp_path, path)
    with pytest.raises(DataError, match=says) as refused:
        refusing.the_task.prepare(refusing)
    assert "skip" in str(refused.value)
    skipping = config(kind, tmp_path, path, broken="skip", max_broken=0.1)
    prepared = skipping.the_task.prepare(skipping)
    assert used(prepared) == COUNT - 1
    assert "1 left out" in skipping.the_task.describe(skipping, prepared)


@pytest.mark.parametrize("name", sorted(TEXT_OF))
def test_an_overlong_text_is_refused_left_out_or_cut(name: str, tmp_path: Path) -> None:
    kind, rows = KINDS[name], records(tmp_path)
    rows[20]["text"] = LONG
    path = written(tmp_path, rows)
    counts = {}
    for how in ("skip", "truncate"):
        made = config(kind, tmp_path, path, overlong=how)
        prepared = made.the_task.prepare(made)
        counts[how] = used(prepared)
        assert {"skip": "; 1 left out", "truncate": "; 1 cut"}[how] in made.the_task.describe(made, prepared)
        assert max(part.lengths.max() for part in (prepared.data.train, prepared.data.val)) <= kind.data["block_size"]
    assert counts == {"skip": COUNT - 1, "truncate": COUNT}
    refusing = config(kind, tmp_path, path, overlong="refuse")
    with pytest.raises(DataError, match=r"column '\w+' has \d+ tokens, more than \d+: raise the limit, or pass"):
        refusing.the_task.prepare(refusing)


@pytest.mark.parametrize("name", ["texts", "images"])
def test_a_class_that_training_has_not_is_named_or_left_out(name: str, tmp_path: Path) -> None:
    kind, rows = KINDS[name], records(tmp_path)
    unseen = [*rows[:5], rows[5] | {"label": "violet"}]
    paths = {"path": written(tmp_path, rows), "val_path": str(written(tmp_path, unseen, "other"))}
    refusing = config(kind, tmp_path, **paths)
    with pytest.raises(DataError, match=r"other\.jsonl.*the class 'violet' is not one of the 3 classes"):
        refusing.the_task.prepare(refusing)
    skipping = config(kind, tmp_path, **paths, broken="skip", max_broken=0.5)
    assert len(skipping.the_task.prepare(skipping).data.val) == 5


@pytest.mark.parametrize("name", ["pairs", "contrastive", "captioning"])  # the others read bytes, which know all
def test_a_held_out_word_that_training_has_not_is_named_or_left_out(name: str, tmp_path: Path) -> None:
    kind, rows = KINDS[name], records(tmp_path)
    unseen = [*rows[:5], rows[5] | {"text": "violet on the left"}]
    paths = {"path": written(tmp_path, rows), "val_path": str(written(tmp_path, unseen, "other"))}
    refusing = config(kind, tmp_path, **paths)
    with pytest.raises(DataError, match=r"column '\w+' cannot be encoded: 'violet'"):
        refusing.the_task.prepare(refusing)
    skipping = config(kind, tmp_path, **paths, broken="skip", max_broken=0.5)
    assert len(skipping.the_task.prepare(skipping).data.val) == 5


@pytest.mark.parametrize("name", ["language_model", "masked"])
@pytest.mark.parametrize("text", ["", "abc"])
def test_a_text_of_nothing_or_too_little_is_refused(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text)
    made = config(KINDS[name], tmp_path, path)
    with pytest.raises(DataError, match=r"text\.txt|too short|tokens"):
        made.the_task.prepare(made)


@pytest.mark.parametrize("name", KINDS)
def test_batches_of_one(name: str, tmp_path: Path) -> None:
    """Trained, evaluated, kept and used; and what cannot be an input is told."""
    kind = KINDS[name]
    if name in RECORDS:
        path = written(tmp_path, records(tmp_path))
    else:
        path = tmp_path / "text.txt"
        path.write_text("abcdefgh ijkl. " * 20)
    run = start_run(config(kind, tmp_path, path))
    run.trainer.train()
    assert math.isfinite(run.task.evaluate(run.config, run.trainer.model, run.prepared).loss)
    if kind.images:
        loaded = load_run(tmp_path / "run")
        assert loaded.config is not None
        corrupt({"file": "00.png"}, tmp_path)
        with pytest.raises(DataError, match="image"):
            loaded.config.the_task.answer(loaded.config, loaded.model, loaded.processor, str(tmp_path / "00.png"))
