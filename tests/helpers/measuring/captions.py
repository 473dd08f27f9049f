"""Small images with texts, in every form that a run reads."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.runs import RunConfig
from tests.helpers.measuring.classes import png

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
SIDES = ("left", "right")


def halves(count: int, *, size: int = 8, seed: int = 0) -> list[tuple[Any, list[str]]]:
    """Noisy pictures ``(H, W, 3)`` with one coloured half, and two texts for each."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        colour, side = rng.choice(list(COLOURS)), rng.choice(SIDES)
        image = rng.integers(0, 40, (size, size, 3)).astype(np.uint8)
        image[:, : size // 2] = image[:, : size // 2] if side == "right" else COLOURS[colour]
        image[:, size // 2 :] = image[:, size // 2 :] if side == "left" else COLOURS[colour]
        found.append((image, [f"{colour} on the {side}", f"the {side} is {colour}"]))
    return found


def class_number(texts: Sequence[str]) -> str:
    """The number of the colour: classes in archives are numbers."""
    return str([*COLOURS].index(next(colour for colour in COLOURS if colour in texts[0])))


def as_rows(folder: Path, pairs: Sequence[tuple[Any, list[str]]]) -> Path:
    """A table with a row for each text."""
    lines = ["file\tcaption\tlabel"]
    for number, (image, texts) in enumerate(pairs):
        (folder / f"{number:03}.png").write_bytes(png(image))
        lines += [f"{number:03}.png\t{text}\t{texts[0].split()[0]}" for text in texts]
    (folder / "texts.tsv").write_text("\n".join(lines) + "\n")
    return folder / "texts.tsv"


def as_folder(folder: Path, pairs: Sequence[tuple[Any, list[str]]]) -> Path:
    """A folder with a captions file that has lists of texts."""
    place = folder / "pictures"
    (place / "png").mkdir(parents=True)
    lines = []
    for number, (image, texts) in enumerate(pairs):
        (place / "png" / f"{number:03}.png").write_bytes(png(image))
        row = {"file": f"png/{number:03}.png", "caption": texts, "label": texts[0].split()[0]}
        lines.append(json.dumps(row))
    (place / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return place


def as_shards(folder: Path, pairs: Sequence[tuple[Any, list[str]]]) -> Path:
    """Two archives; each image has its first text alone, and its class."""
    (folder / "shards").mkdir()
    half = len(pairs) // 2
    for shard, some in enumerate((range(half), range(half, len(pairs)))):
        with tarfile.open(folder / "shards" / f"{shard}.tar", "w") as archive:
            for number in some:
                image, texts = pairs[number]
                parts = {"png": png(image), "txt": texts[0].encode(), "cls": class_number(texts).encode()}
                for ending, content in parts.items():
                    member = tarfile.TarInfo(f"{number:04}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder / "shards"


FORMS = {"table": as_rows, "folder": as_folder, "shards": as_shards}
"""How to write images with texts into a folder; each returns the path to read."""


def small(folder: Path, path: Path, task: str, **changes: Any) -> RunConfig:
    """A run of six steps, with dropout and random transforms."""
    values: dict[str, Any] = {
        "task": task,
        "run_dir": str(folder),
        "model": {"patch": 4, "n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1},
        "data": {"path": str(path), "tokenizer": "word", "block_size": 8, "shift": 1, **changes.pop("data", {})},
        "trainer": {"max_steps": 6, "batch_size": 8, "validation_frequency": 3, "save_every": 2, "log_every": 1},
        "scheduler": {"warmup_steps": 2},
    }
    if task == "contrastive":
        values["model"] |= {"text_layer": 1, "text_head": 2, "text_embd": 16, "n_features": 8}
    else:
        values["model"] |= {"decoder_layer": 1}
    model = values["model"] | changes.pop("model", {})
    trainer = values["trainer"] | changes.pop("trainer", {})
    return RunConfig.from_dict(values | changes | {"model": model, "trainer": trainer})
